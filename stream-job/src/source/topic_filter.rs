//! Which topics a setting means: one by its name, or all that a pattern matches.

use regex::Regex;

/// The job's other topics: no pattern means them.
const OTHERS: [&str; 2] = ["otlp_metrics", "agent.rules"];

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
    filters: Vec<TopicFilter>,
    /// Topics that a pattern must not find: what the job writes itself.
    written: Vec<String>,
}

impl TopicFilters {
    /// Reads what `filters` mean, but for what the job writes itself.
    #[must_use]
    pub fn new(filters: Vec<TopicFilter>, written: Vec<String>) -> Self {
        Self { filters, written }
    }

    /// The topics that are meant by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.filters.iter().filter_map(TopicFilter::name)
    }

    /// Whether topics have to be looked for.
    #[must_use]
    pub fn has_patterns(&self) -> bool {
        self.filters.iter().any(|filter| filter.name().is_none())
    }

    /// Whether a topic is read.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        let is_ours =
            self.written.iter().any(|written| written == topic) || OTHERS.contains(&topic);
        self.names().any(|name| name == topic)
            || (!is_ours && self.filters.iter().any(|filter| filter.matches(topic)))
    }
}

impl std::fmt::Display for TopicFilters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, filter) in self.filters.iter().enumerate() {
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
}
