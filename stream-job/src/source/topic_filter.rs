//! Which topics a setting means: one by its name, or all that a pattern matches.

use regex::Regex;

/// Where metrics come by default: no pattern of spans or documents means it.
const METRICS: &str = "otlp_metrics";
/// The job's other topic: no pattern means it.
const RULES: &str = "agent.rules";

/// One topic, or a pattern that begins with `^`, as librdkafka's subscriptions have it.
#[derive(Clone, Debug)]
pub enum TopicFilter {
    /// The topic of this name.
    Name(String),
    /// Every topic whose name the expression matches.
    Pattern(Regex),
}

impl TopicFilter {
    /// Reads a setting.
    ///
    /// # Errors
    /// It begins with `^` and is no regular expression.
    pub fn parse(text: &str) -> Result<Self, regex::Error> {
        if text.starts_with('^') {
            Regex::new(text).map(TopicFilter::Pattern)
        } else {
            Ok(TopicFilter::Name(text.to_owned()))
        }
    }

    /// As [`Self::parse`], for a setting that was checked before; a broken pattern names no topic.
    #[must_use]
    pub fn of(setting: &str) -> Self {
        Self::parse(setting).unwrap_or_else(|_| TopicFilter::Name(setting.to_owned()))
    }

    /// The name, where it is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            TopicFilter::Name(name) => Some(name),
            TopicFilter::Pattern(_) => None,
        }
    }

    /// Whether it means this topic. A pattern never means Kafka's internal topics.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            TopicFilter::Name(name) => name == topic,
            TopicFilter::Pattern(pattern) => !topic.starts_with("__") && pattern.is_match(topic),
        }
    }
}

/// What the job reads.
#[derive(Clone, Debug)]
pub struct TopicFilters {
    /// Topics with spans and documents.
    filters: Vec<TopicFilter>,
    /// Topics with metrics, where they are read.
    metrics: Option<TopicFilter>,
    /// Topics that a pattern must not find: what the job writes itself.
    written: Vec<String>,
}

impl TopicFilters {
    /// Reads what `filters` mean, but for what the job writes itself.
    #[must_use]
    pub fn new(filters: Vec<TopicFilter>, written: Vec<String>) -> Self {
        Self {
            filters,
            metrics: None,
            written,
        }
    }

    /// Reads metrics too.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Option<TopicFilter>) -> Self {
        self.metrics = metrics;
        self
    }

    fn all(&self) -> impl Iterator<Item = &TopicFilter> {
        self.filters.iter().chain(&self.metrics)
    }

    /// The topics that are meant by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all().filter_map(TopicFilter::name)
    }

    /// Whether topics have to be looked for.
    #[must_use]
    pub fn has_patterns(&self) -> bool {
        self.all().any(|filter| filter.name().is_none())
    }

    /// Whether a topic is read.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        if self.names().any(|name| name == topic) {
            return true;
        }
        if topic == RULES || self.written.iter().any(|written| written == topic) {
            return false;
        }
        let means = |filter: &TopicFilter| filter.matches(topic);
        self.metrics.as_ref().is_some_and(means)
            || (topic != METRICS && self.filters.iter().any(means))
    }
}

impl std::fmt::Display for TopicFilters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, filter) in self.all().enumerate() {
            let between = if at == 0 { "" } else { ", " };
            match filter {
                TopicFilter::Name(name) => write!(f, "{between}{name}")?,
                TopicFilter::Pattern(pattern) => write!(f, "{between}{pattern}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn filters(texts: &[&str]) -> TopicFilters {
        let filters = texts.iter().map(|text| TopicFilter::parse(text).unwrap());
        TopicFilters::new(filters.collect(), vec!["agent.deadletter".to_owned()])
    }

    #[test]
    fn a_name_means_one_topic_and_dots_in_it_mean_dots() {
        let name = TopicFilter::parse("agent.conversations").unwrap();
        assert!(name.matches("agent.conversations"));
        assert!(!name.matches("agentXconversations"));
        assert_eq!(name.name(), Some("agent.conversations"));
    }

    #[test]
    fn a_pattern_means_every_topic_that_it_matches_but_internal_ones_and_the_jobs_own() {
        let read = filters(&["^otlp_.*", "^(agent|__).*"]);
        assert!(read.has_patterns() && read.matches("otlp_spans_eu"));
        assert!(read.matches("agent.conversations"));
        for other in [
            "otlp_metrics",
            "agent.rules",
            "agent.deadletter",
            "__consumer_offsets",
        ] {
            assert!(!read.matches(other), "{other}");
        }
        assert!(!read.matches("my_otlp_spans"), "it begins where it says");
    }

    #[test]
    fn what_is_named_is_read_whatever_it_is_called() {
        assert!(filters(&["otlp_metrics"]).matches("otlp_metrics"));
    }

    #[test]
    fn a_broken_pattern_is_refused() {
        assert!(TopicFilter::parse("^(").is_err());
    }

    #[test]
    fn a_pattern_of_metrics_means_the_topic_that_no_other_pattern_does() {
        let metrics = TopicFilter::parse("^(otlp_metrics|agent).*").unwrap();
        let read = filters(&["^otlp_.*"]).with_metrics(Some(metrics));
        for topic in ["otlp_spans", "otlp_metrics", "otlp_metrics_eu"] {
            assert!(read.matches(topic), "{topic}");
        }
        for other in ["agent.rules", "agent.deadletter"] {
            assert!(!read.matches(other), "{other}");
        }
        assert_eq!(read.to_string(), "^otlp_.*, ^(otlp_metrics|agent).*");
        let named = TopicFilter::parse("otlp_metrics").unwrap();
        let read = filters(&["otlp_spans"]).with_metrics(Some(named));
        assert!(read.matches("otlp_metrics") && !read.has_patterns());
        assert_eq!(
            read.names().collect::<Vec<_>>(),
            ["otlp_spans", "otlp_metrics"]
        );
    }
}
