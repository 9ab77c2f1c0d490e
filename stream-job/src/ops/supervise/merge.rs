//! The metrics of several processes as one exposition: every sample gets the label `process`.
//!
//! Nothing is summed here: a sum of watermarks or of epochs means nothing, and Prometheus sums what can be summed.

use std::collections::BTreeMap;

/// One metric: its comment lines and its samples.
#[derive(Default)]
struct Family {
    head: String,
    samples: String,
}

/// Joins expositions, each with the value of its label. A metric's samples stay together, under the head that came first.
pub(super) fn merge(parts: &[(String, String)]) -> String {
    let mut order: Vec<String> = Vec::new();
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for (process, text) in parts {
        let mut name = String::new();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.split(' ');
                let (kind, of) = (words.next(), words.next().unwrap_or_default());
                if kind == Some("HELP") {
                    name = of.to_owned();
                }
                let family = families.entry(name.clone()).or_insert_with(|| {
                    order.push(name.clone());
                    Family::default()
                });
                if family.samples.is_empty() && !family.head.contains(line) {
                    family.head.push_str(line);
                    family.head.push('\n');
                }
            } else if let Some(sample) = labelled(line, process)
                && let Some(family) = families.get_mut(&name)
            {
                family.samples.push_str(&sample);
                family.samples.push('\n');
            }
        }
    }
    order
        .iter()
        .map(|name| &families[name])
        .map(|family| format!("{}{}", family.head, family.samples))
        .collect()
}

/// `name{a="b"} 1` with `process="…"` as its first label.
fn labelled(sample: &str, process: &str) -> Option<String> {
    let name_ends = sample.find(['{', ' '])?;
    let (name, rest) = sample.split_at(name_ends);
    Some(match rest.strip_prefix('{') {
        Some(rest) => format!("{name}{{process=\"{process}\",{rest}"),
        None => format!("{name}{{process=\"{process}\"}}{rest}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::metrics::Metrics;

    #[test]
    fn samples_of_a_metric_stay_together_under_one_head() {
        let one = "# HELP a An a.\n# TYPE a gauge\na 1\n# HELP b A b.\n# TYPE b counter\nb{t=\"x y\"} 2\n";
        let two = "# HELP a An a.\n# TYPE a gauge\na 3\n# HELP c A c.\n# TYPE c gauge\nc 4\n";
        let parts = [("0", one), ("1", two)].map(|(p, t)| (p.to_owned(), t.to_owned()));
        assert_eq!(
            merge(&parts),
            "# HELP a An a.\n# TYPE a gauge\na{process=\"0\"} 1\na{process=\"1\"} 3\n\
             # HELP b A b.\n# TYPE b counter\nb{process=\"0\",t=\"x y\"} 2\n\
             # HELP c A c.\n# TYPE c gauge\nc{process=\"1\"} 4\n"
        );
    }

    #[test]
    fn every_sample_of_a_job_is_there_once_for_each_process() {
        let metrics = Metrics::default();
        metrics.rows.with(&["dwd_span"]).add(3);
        let text = metrics.render();
        let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        let merged = merge(&[
            ("0".to_owned(), text.clone()),
            ("1".to_owned(), text.clone()),
        ]);
        assert_eq!(samples(&merged), 2 * samples(&text));
        assert!(merged.contains("spanflow_rows_total{process=\"1\",table=\"dwd_span\"} 3\n"));
        assert_eq!(
            merged
                .matches("# TYPE spanflow_insert_seconds histogram")
                .count(),
            1
        );
    }
}
