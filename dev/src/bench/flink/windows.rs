//! The windows that a run has written, one JSON object a line, and what differs between two runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// What a window is of: its start in s since 1970, agent, step type, tool, model.
type Key = (u64, String, String, String, String);

/// What both jobs compute of a window; a line may say more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Sums {
    count: u64,
    errors: u64,
    duration_sum_us: u64,
    duration_max_us: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost_nanousd: u64,
    /// Bucket and count, ascending.
    duration_buckets: Vec<(i16, u64)>,
}

#[derive(Deserialize)]
struct Line {
    window_start: u64,
    agent: String,
    step_type: String,
    tool_name: String,
    model: String,
    #[serde(flatten)]
    sums: Sums,
}

/// All windows of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Windows(BTreeMap<Key, Sums>);

impl Windows {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("the windows in {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut windows = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line: Line =
                serde_json::from_str(line).with_context(|| format!("line {number}"))?;
            let key = (
                line.window_start,
                line.agent,
                line.step_type,
                line.tool_name,
                line.model,
            );
            if windows.insert(key.clone(), line.sums).is_some() {
                bail!("line {number}: a second row of {key:?}");
            }
        }
        Ok(Self(windows))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Spans in all windows.
    pub(super) fn spans(&self) -> u64 {
        self.0.values().map(|sums| sums.count).sum()
    }

    /// What is not the same in `other`, a sentence for every row.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let missing = self
            .0
            .iter()
            .filter_map(|(key, sums)| match other.0.get(key) {
                None => Some(format!("{key:?} is missing; expected {sums:?}")),
                Some(found) if found != sums => {
                    Some(format!("{key:?} is {found:?}; expected {sums:?}"))
                }
                Some(_) => None,
            });
        let unexpected = other
            .0
            .iter()
            .filter(|(key, _)| !self.0.contains_key(*key))
            .map(|(key, sums)| format!("{key:?} is not expected; it is {sums:?}"));
        missing.chain(unexpected).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(start: u64, agent: &str, count: u64, buckets: &str) -> String {
        format!(
            r#"{{"agent":"{agent}","step_type":"act","tool_name":"t","model":"","window_start":{start},"window_end":{},"count":{count},"errors":1,"duration_sum_us":9,"duration_max_us":5,"input_tokens":0,"output_tokens":0,"cost_nanousd":0,"duration_buckets":{buckets},"rev":7}}"#,
            start + 60
        ) + "\n"
    }

    fn windows(lines: &[String]) -> Windows {
        Windows::parse(&lines.concat()).unwrap()
    }

    #[test]
    fn rows_in_another_order_and_with_more_fields_are_equal() {
        let (a, b) = (
            line(60, "a", 2, "[[-1,1],[70,1]]"),
            line(120, "a", 3, "[[70,3]]"),
        );
        let plain = a.replace(r#","rev":7"#, "");
        let left = windows(&[a, b.clone()]);
        let right = windows(&[b, plain]);
        assert!(left.differences(&right).is_empty());
        assert_eq!((left.len(), left.spans()), (2, 5));
    }

    #[test]
    fn a_changed_sum_bucket_or_key_and_a_missing_or_further_row_are_told() {
        let one = windows(&[line(60, "a", 2, "[[70,2]]")]);
        let told = |other: &[String]| one.differences(&windows(other)).len();
        assert_eq!(told(&[line(60, "a", 3, "[[70,2]]")]), 1);
        assert_eq!(told(&[line(60, "a", 2, "[[71,2]]")]), 1);
        assert_eq!(told(&[line(60, "b", 2, "[[70,2]]")]), 2);
        assert_eq!(told(&[]), 1);
        let further = [line(60, "a", 2, "[[70,2]]"), line(120, "a", 2, "[[70,2]]")];
        assert_eq!(told(&further), 1);
    }

    #[test]
    fn a_key_that_comes_twice_or_a_torn_line_is_an_error() {
        let twice = line(60, "a", 2, "[]").repeat(2);
        let error = format!("{:#}", Windows::parse(&twice).unwrap_err());
        assert!(error.contains("line 2: a second row"), "{error}");
        let torn = &twice[..twice.len() - 9];
        assert!(format!("{:#}", Windows::parse(torn).unwrap_err()).contains("line 2"));
    }
}
