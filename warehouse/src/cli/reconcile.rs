//! `warehouse reconcile`: do the counts of the layers agree?

use std::fmt::Write as _;

use warehouse::{ClientOptions, ReconcileOptions, Reconciliation, reconcile};

/// Check that the counts of all layers agree, up to the last epoch that has landed; fails when they don't
#[derive(Debug, clap::Args)]
pub(crate) struct Reconcile {
    #[command(flatten)]
    client: ClientOptions,
    /// All that was sent has been worked off: compare every window, not only the final ones
    #[arg(long)]
    drained: bool,
    /// Records that were sent, by topic, such as `otlp_spans=1200,agent.conversations=80`
    #[arg(long, value_name = "TOPIC=N,…", value_delimiter = ',', value_parser = topic_count)]
    topic_counts: Vec<(String, u64)>,
}

impl Reconcile {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let options = ReconcileOptions {
            drained: self.drained,
            topic_counts: self.topic_counts,
        };
        let result = reconcile(&self.client, &options).await?;
        print!("{}", table(&result));
        let wrong = result.checks.iter().filter(|c| c.difference > 0).count();
        anyhow::ensure!(
            wrong == 0,
            "{wrong} of {} checks disagree",
            result.checks.len()
        );
        Ok(())
    }
}

fn topic_count(text: &str) -> Result<(String, u64), String> {
    let form = || format!("`{text}` is not TOPIC=N");
    let (topic, records) = text.split_once('=').ok_or_else(form)?;
    Ok((topic.to_owned(), records.parse().map_err(|_| form())?))
}

fn table(result: &Reconciliation) -> String {
    let mut out = String::new();
    let width = result
        .checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    let _ = writeln!(
        out,
        "{:width$}  {:>20}  {:>20}  {:>12}",
        "check", "left", "right", "difference"
    );
    for check in &result.checks {
        let _ = write!(
            out,
            "{:width$}  {:>20}  {:>20}  {:>12}",
            check.name, check.left, check.right, check.difference
        );
        let _ = match &*check.example {
            "" => writeln!(out),
            example => writeln!(out, "  {example}"),
        };
    }
    for note in &result.left_out {
        let _ = writeln!(out, "left out: {note}");
    }
    let _ = writeln!(out, "up to epoch {}", result.last_epoch);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use warehouse::reconcile::Check;

    #[test]
    fn a_disagreement_is_shown_with_its_place() {
        let check = |name: &str, right, example: &str| Check {
            name: name.into(),
            left: 5,
            right,
            difference: 5 - right,
            example: example.into(),
        };
        let text = table(&Reconciliation {
            last_epoch: 9,
            checks: vec![check("a = b", 5, ""), check("a = c", 3, "epoch 7")],
            left_out: vec!["ODS: old".into()],
        });
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[1].ends_with('0') && lines[2].ends_with("2  epoch 7"),
            "{text}"
        );
        assert_eq!(lines[3..], ["left out: ODS: old", "up to epoch 9"]);
    }

    #[test]
    fn topic_counts_are_read() {
        assert_eq!(
            topic_count("otlp_spans=12").unwrap(),
            ("otlp_spans".into(), 12)
        );
        assert!(topic_count("otlp_spans").is_err() && topic_count("a=b").is_err());
    }
}
