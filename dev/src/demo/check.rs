//! Whether what the agents say they sent is what the warehouse holds.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;

use crate::simulator::Report;
use crate::sql::Sql;

use super::summary::grouped;

/// Counts of the warehouse. Those of one run are the difference of two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts(BTreeMap<String, u64>);

/// One count that was sent and one that landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    what: String,
    sent: u64,
    landed: u64,
}

impl Counts {
    /// Counts everything, up to the newest epoch that has landed.
    pub(super) fn ask(sql: &Sql) -> Result<Self> {
        #[derive(Deserialize)]
        struct Row {
            what: String,
            number: u64,
        }
        let rows: Vec<Row> = sql.rows(
            "WITH (SELECT max(epoch) FROM ops_epoch) AS landed
             SELECT 'records' AS what, count() AS number FROM ods_record WHERE _epoch <= landed
             UNION ALL
             SELECT 'spans landed', count() FROM dwd_span WHERE _epoch <= landed
             UNION ALL
             SELECT 'spans in error', countIf(status = 'error') FROM dwd_span WHERE _epoch <= landed
             UNION ALL
             SELECT 'spans dropped as copies', sum(spans_duplicate) FROM ods_record WHERE _epoch <= landed
             UNION ALL
             SELECT 'metric points landed', count() FROM dwd_metric_point WHERE _epoch <= landed
             UNION ALL
             SELECT 'step ' || step_type, count() FROM dwd_span WHERE _epoch <= landed GROUP BY step_type
             UNION ALL
             SELECT 'rejected ' || unit || ' ' || error_code, count() FROM ods_dead_letter
             WHERE _epoch <= landed GROUP BY unit, error_code",
        )?;
        Ok(Self(
            rows.into_iter().map(|row| (row.what, row.number)).collect(),
        ))
    }

    /// What a report asks for.
    fn expected(report: &Report) -> Self {
        let expected = &report.expected;
        let mut counts = BTreeMap::from([
            ("records".to_owned(), expected.records),
            ("spans landed".to_owned(), expected.spans_landed),
            ("spans in error".to_owned(), report.spans.errors),
            ("metric points landed".to_owned(), expected.points_landed),
            (
                "spans dropped as copies".to_owned(),
                expected.spans_duplicate,
            ),
        ]);
        for (step, &number) in &report.spans.by_step_type {
            counts.insert(format!("step {step}"), number);
        }
        for (unit, codes) in &expected.dead_letters {
            for (code, &number) in codes {
                counts.insert(format!("rejected {unit} {code}"), number);
            }
        }
        Self(counts)
    }

    /// Every count that was sent or has landed since `before`.
    pub(super) fn compare(&self, before: &Self, report: &Report) -> Vec<Line> {
        let sent = Self::expected(report).0;
        let names: std::collections::BTreeSet<&String> = sent.keys().chain(self.0.keys()).collect();
        names
            .into_iter()
            .map(|what| {
                let of = |counts: &Self| counts.0.get(what).copied().unwrap_or(0);
                Line {
                    what: what.clone(),
                    sent: sent.get(what).copied().unwrap_or(0),
                    landed: of(self).saturating_sub(of(before)),
                }
            })
            .filter(|line| line.sent > 0 || line.landed > 0)
            .collect()
    }
}

impl Line {
    pub(super) fn agrees(&self) -> bool {
        self.sent == self.landed
    }
}

/// The lines as a table, with a mark at those that disagree.
pub(super) fn table(lines: &[Line]) -> String {
    let width = lines.iter().map(|l| l.what.len()).max().unwrap_or(0).max(4);
    let mut text = format!("  {:<width$} {:>12} {:>12}\n", "", "sent", "landed");
    for line in lines {
        let mark = if line.agrees() { "" } else { "  <-- differs" };
        text.push_str(&format!(
            "  {:<width$} {:>12} {:>12}{mark}\n",
            line.what,
            grouped(line.sent),
            grouped(line.landed)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::{Expected, SentSpans};

    fn counts(list: &[(&str, u64)]) -> Counts {
        Counts(list.iter().map(|&(what, n)| (what.to_owned(), n)).collect())
    }

    fn report(landed: u64, acts: u64) -> Report {
        Report {
            spans: SentSpans {
                by_step_type: BTreeMap::from([("act".to_owned(), acts)]),
                errors: 0,
            },
            expected: Expected {
                records: 3,
                spans_landed: landed,
                ..Expected::default()
            },
        }
    }

    #[test]
    fn only_what_landed_since_the_start_counts() {
        let before = counts(&[("records", 10), ("spans landed", 50), ("step act", 20)]);
        let after = counts(&[("records", 13), ("spans landed", 60), ("step act", 24)]);
        let lines = after.compare(&before, &report(10, 4));
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(Line::agrees), "{lines:?}");
    }

    #[test]
    fn a_count_that_nobody_sent_disagrees_as_one_that_is_missing_does() {
        let after = counts(&[("records", 3), ("spans landed", 10), ("step think", 10)]);
        let lines = after.compare(&Counts::default(), &report(10, 4));
        let differing: Vec<&str> = lines
            .iter()
            .filter(|line| !line.agrees())
            .map(|line| line.what.as_str())
            .collect();
        assert_eq!(differing, ["step act", "step think"]);
        assert!(table(&lines).contains("differs"));
    }
}
