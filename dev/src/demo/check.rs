//! Whether what the agents say they sent is what the warehouse holds.

use std::collections::BTreeMap;

use ::warehouse::quote::quote_text;
use anyhow::Result;
use serde::Deserialize;

use crate::simulator::Report;
use crate::sql::Sql;

use super::summary::grouped;

/// Counts of the warehouse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<String, u64>);

/// One count that was sent and one that landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    what: String,
    sent: u64,
    landed: u64,
}

/// The agents that the report knows nothing of: somebody else has sent to this system, too. In order.
///
/// # Errors
/// When the warehouse does not answer.
pub fn others(sql: &Sql, since: u64, report: &Report) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Row {
        agent: String,
        service_name: String,
    }
    let rows: Vec<Row> = sql.rows(&format!(
        "SELECT DISTINCT agent, service_name FROM dwd_span WHERE _epoch > {since} ORDER BY agent"
    ))?;
    let is_other = |row: &Row| !report.spans.by_agent.contains_key(&row.service_name);
    let others = rows.into_iter().filter(is_other);
    Ok(others.map(|row| row.agent).collect())
}

impl Counts {
    /// Counts everything that has landed after epoch `since`, up to the newest epoch, but for the records of `others`.
    ///
    /// # Errors
    /// When the warehouse does not answer.
    pub fn ask(sql: &Sql, since: u64, others: &[String]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Row {
            what: String,
            number: u64,
        }
        let others: Vec<String> = others.iter().map(|name| quote_text(name)).collect();
        let others = format!("CAST([{}], 'Array(String)')", others.join(", "));
        let landed = format!("_epoch > {since} AND _epoch <= (SELECT max(epoch) FROM ops_epoch)");
        let ours = format!("{landed} AND NOT has({others}, agent)");
        let records = format!(
            "{landed} AND (topic, partition, offset) NOT IN (
                 SELECT topic, partition, offset FROM dwd_span WHERE has({others}, agent)
                 UNION ALL
                 SELECT topic, partition, offset FROM dwd_metric_point WHERE has({others}, agent)
             )"
        );
        let rows: Vec<Row> = sql.rows(&format!(
            "SELECT 'records' AS what, count() AS number FROM ods_record WHERE {records}
             UNION ALL
             SELECT 'spans landed', count() FROM dwd_span WHERE {ours}
             UNION ALL
             SELECT 'spans in error', countIf(status = 'error') FROM dwd_span WHERE {ours}
             UNION ALL
             SELECT 'spans dropped as copies', sum(spans_duplicate) FROM ods_record WHERE {records}
             UNION ALL
             SELECT 'metric points landed', count() FROM dwd_metric_point WHERE {ours}
             UNION ALL
             SELECT 'step ' || step_type, count() FROM dwd_span WHERE {ours} GROUP BY step_type
             UNION ALL
             SELECT 'rejected ' || unit || ' ' || error_code, count() FROM ods_dead_letter
             WHERE {records} GROUP BY unit, error_code"
        ))?;
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

    /// Every count that was sent or has landed.
    #[must_use]
    pub fn compare(&self, report: &Report) -> Vec<Line> {
        let sent = Self::expected(report).0;
        let names: std::collections::BTreeSet<&String> = sent.keys().chain(self.0.keys()).collect();
        let of = |counts: &BTreeMap<String, u64>, what| counts.get(what).copied().unwrap_or(0);
        names
            .into_iter()
            .map(|what| Line {
                what: what.clone(),
                sent: of(&sent, what),
                landed: of(&self.0, what),
            })
            .filter(|line| line.sent > 0 || line.landed > 0)
            .collect()
    }
}

impl Line {
    /// Whether as much landed as was sent.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.sent == self.landed
    }
}

/// The lines as a table, with a mark at those that disagree.
#[must_use]
pub fn table(lines: &[Line]) -> String {
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
                by_agent: BTreeMap::new(),
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
    fn what_landed_as_it_was_sent_agrees() {
        let after = counts(&[("records", 3), ("spans landed", 10), ("step act", 4)]);
        let lines = after.compare(&report(10, 4));
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(Line::agrees), "{lines:?}");
    }

    #[test]
    fn a_count_that_nobody_sent_disagrees_as_one_that_is_missing_does() {
        let after = counts(&[("records", 3), ("spans landed", 10), ("step think", 10)]);
        let lines = after.compare(&report(10, 4));
        let differing: Vec<&str> = lines
            .iter()
            .filter(|line| !line.agrees())
            .map(|line| line.what.as_str())
            .collect();
        assert_eq!(differing, ["step act", "step think"]);
        assert!(table(&lines).contains("differs"));
    }
}
