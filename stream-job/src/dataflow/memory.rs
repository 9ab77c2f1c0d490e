//! An output that keeps nothing but counts and, if asked to, the last revision of every one-minute window: for the
//! benchmark of the windows alone (`layers = windows`).

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::collect::Row;
use super::epochs::Epoch;
use super::output::Output;
use super::window::{StepKey, WindowKind};
use crate::checkpoint::record::AckTime;
use crate::sink::block::Block;
use crate::sink::dead_letter::DeadLetter;
use crate::sink::tables::EpochRow;
use crate::sink::tables::dws_step::StepRow;
use crate::source::wall_ms;

/// The last revision of every one-minute window, by start and key.
type Minutes = BTreeMap<(u32, StepKey), StepRow>;

/// Takes everything for landed at once.
#[derive(Default)]
pub(super) struct Discard {
    landed: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) spans: AtomicU64,
    /// Epochs whose acknowledgement no record tells of yet: what waits for it is kept until then.
    closed: Mutex<Vec<Epoch>>,
    /// `None` keeps none.
    minutes: Option<Mutex<Minutes>>,
}

impl Discard {
    pub(super) fn starting_at(first_epoch: Epoch, keeps_windows: bool) -> Self {
        Self {
            landed: AtomicU64::new(first_epoch.saturating_sub(1)),
            minutes: keeps_windows.then(Mutex::default),
            ..Self::default()
        }
    }

    /// Writes the windows that were kept, by start and key, one JSON object a line. The file is there only as a whole.
    pub(super) fn write_windows(&self, path: &Path) -> io::Result<()> {
        let part = path.with_extension("part");
        let mut file = io::BufWriter::new(fs::File::create(&part)?);
        if let Some(minutes) = &self.minutes {
            let minutes = minutes.lock().unwrap_or_else(PoisonError::into_inner);
            for row in minutes.values() {
                serde_json::to_writer(&mut file, row)?;
                file.write_all(b"\n")?;
            }
        }
        file.flush()?;
        fs::rename(&part, path)
    }
}

impl Output for Discard {
    fn block(&self, _block: Block) {}

    fn dead_letter(&self, _epoch: Epoch, _letter: DeadLetter) {}

    fn unwritten(&self, rows: Vec<Row>) {
        let Some(minutes) = &self.minutes else { return };
        let mut minutes = minutes.lock().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            if let Row::Step(WindowKind::Minute, row) = row {
                let key = StepKey {
                    agent: row.agent.clone(),
                    step_type: row.step_type.clone(),
                    tool_name: row.tool_name.clone(),
                    model: row.model.clone(),
                };
                minutes.insert((row.window_start, key), row);
            }
        }
    }

    fn counted(&self, row: EpochRow) {
        self.records.fetch_add(row.records, Ordering::Relaxed);
        self.spans.fetch_add(
            row.spans_landed + row.spans_duplicate + row.spans_rejected,
            Ordering::Relaxed,
        );
    }

    fn raw_closed(&self, _epoch: Epoch) {}

    fn closed(&self, epoch: Epoch, _ends_run: bool) {
        self.landed.store(epoch, Ordering::Relaxed);
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.push(epoch);
    }

    fn landed(&self) -> Epoch {
        self.landed.load(Ordering::Relaxed)
    }

    fn landed_whole(&self) -> Epoch {
        self.landed()
    }

    fn take_acks(&self, into: &mut Vec<AckTime>) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let acked_ms = wall_ms();
        into.extend(closed.drain(..).map(|epoch| AckTime { epoch, acked_ms }));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_has_closed_is_acknowledged_once() {
        let output = Discard::starting_at(7, false);
        output.closed(7, false);
        output.closed(8, true);
        let mut acks = Vec::new();
        output.take_acks(&mut acks);
        output.take_acks(&mut acks);
        let epochs: Vec<_> = acks.iter().map(|ack| ack.epoch).collect();
        assert_eq!(epochs, [7, 8]);
    }

    fn row(window_start: u32, agent: &str, count: u64) -> StepRow {
        StepRow {
            agent: agent.to_owned(),
            window_start,
            count,
            ..StepRow::default()
        }
    }

    fn written(output: &Discard) -> Vec<(u64, String, u64)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("windows.jsonl");
        output.write_windows(&path).unwrap();
        let lines = fs::read_to_string(&path).unwrap();
        lines
            .lines()
            .map(|line| {
                let row: serde_json::Value = serde_json::from_str(line).unwrap();
                (
                    row["window_start"].as_u64().unwrap(),
                    row["agent"].as_str().unwrap().to_owned(),
                    row["count"].as_u64().unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn the_last_revision_of_every_minute_is_written_in_order() {
        let output = Discard::starting_at(1, true);
        output.unwritten(vec![
            Row::Step(WindowKind::Minute, row(120, "a", 1)),
            Row::Step(WindowKind::Minute, row(60, "b", 2)),
            Row::Step(WindowKind::Hour, row(0, "a", 3)),
        ]);
        output.unwritten(vec![Row::Step(WindowKind::Minute, row(120, "a", 4))]);
        assert_eq!(
            written(&output),
            [(60, "b".to_owned(), 2), (120, "a".to_owned(), 4)]
        );
    }

    #[test]
    fn nothing_is_kept_where_nobody_asked() {
        let output = Discard::starting_at(1, false);
        output.unwritten(vec![Row::Step(WindowKind::Minute, row(60, "a", 1))]);
        assert!(written(&output).is_empty());
    }
}
