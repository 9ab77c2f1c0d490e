//! The cases of docs/windows.md as transcripts.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::transcript::{Late, Step, Transcript, Trigger, Windows};
use crate::paths;

#[derive(Deserialize)]
struct Case {
    windows: Windows,
    lateness: i64,
    late: Late,
    epochs: Vec<Epoch>,
}

#[derive(Deserialize)]
struct Epoch {
    watermark: i64,
    times: Vec<i64>,
}

/// All of them, with both triggers, numbered from `first`.
///
/// # Errors
/// When their file can't be read.
pub(super) fn transcripts(first: u64) -> Result<Vec<Transcript>> {
    let path = paths::checkout().join("stream-job/tests/fixtures/windows/cases.json");
    let what = || format!("read {}", path.display());
    let text = std::fs::read_to_string(&path).with_context(what)?;
    let cases: Vec<Case> = serde_json::from_str(&text).with_context(what)?;
    let triggers = [Trigger::EventTime, Trigger::EveryElement];
    let both = cases
        .iter()
        .flat_map(|case| triggers.map(|trigger| (case, trigger)));
    Ok((first..)
        .zip(both)
        .map(|(id, (case, trigger))| case.transcript(id, trigger))
        .collect())
}

impl Case {
    fn transcript(&self, id: u64, trigger: Trigger) -> Transcript {
        let mut steps = Vec::new();
        let mut elements = 0..;
        for epoch in &self.epochs {
            let watermark = epoch.watermark;
            steps.push(Step::Watermark { watermark });
            let comes = epoch.times.iter().zip(&mut elements);
            steps.extend(comes.map(|(&time, element)| Step::Element {
                key: "a".to_owned(),
                time,
                element,
            }));
        }
        Transcript {
            id,
            windows: self.windows,
            lateness: self.lateness,
            trigger,
            late: self.late,
            of_job: false,
            steps,
        }
    }
}
