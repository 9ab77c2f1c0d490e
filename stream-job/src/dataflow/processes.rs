//! How far the processes of the job have come, put together: decisions without I/O.
//!
//! Each process lands the rows of its own workers. What the coordinator goes by is what all of them have landed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::epochs::Epoch;
use crate::checkpoint::record::AckTime;

/// What one process says of the rows of its own workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessReport {
    /// The process.
    pub process: usize,
    /// The last epoch of which its ODS and DWD rows, and those of the epochs before, are in the warehouse.
    pub raw: Epoch,
    /// The last epoch of which all of its rows are.
    pub whole: Epoch,
    /// When the last of those was acknowledged, ms since 1970.
    pub whole_ms: i64,
    /// When its ODS and DWD rows of an epoch were, for the epochs that became so since the last report. None up to `raw`
    /// comes later.
    pub acks: Vec<AckTime>,
    /// Whether it was asked to stop.
    pub stopping: bool,
}

#[derive(Clone, Copy, Debug)]
struct Process {
    raw: Epoch,
    whole: Epoch,
    whole_ms: i64,
    stopping: bool,
}

/// What all processes have said.
#[derive(Clone, Debug)]
pub struct Processes {
    all: Vec<Process>,
    /// Acknowledgements by epoch, the latest of all processes, until all have landed it.
    acks: BTreeMap<Epoch, i64>,
}

impl Processes {
    /// So many processes, none of which has landed anything of a run that begins with `first_epoch`.
    #[must_use]
    pub fn new(processes: usize, first_epoch: Epoch) -> Self {
        let before = first_epoch.saturating_sub(1);
        let process = Process {
            raw: before,
            whole: before,
            whole_ms: 0,
            stopping: false,
        };
        Self {
            all: vec![process; processes],
            acks: BTreeMap::new(),
        }
    }

    /// Takes in what a process says.
    pub fn report(&mut self, report: ProcessReport) {
        let process = &mut self.all[report.process];
        process.raw = process.raw.max(report.raw);
        process.whole = process.whole.max(report.whole);
        process.whole_ms = process.whole_ms.max(report.whole_ms);
        process.stopping |= report.stopping;
        for ack in report.acks {
            let latest = self.acks.entry(ack.epoch).or_insert(ack.acked_ms);
            *latest = (*latest).max(ack.acked_ms);
        }
    }

    /// The last epoch whose ODS and DWD rows all processes have landed.
    #[must_use]
    pub fn raw(&self) -> Epoch {
        self.all
            .iter()
            .map(|process| process.raw)
            .min()
            .unwrap_or(0)
    }

    /// The last epoch of which all processes but the first have landed everything, and when the last of it was
    /// acknowledged. Nothing if there are no others.
    #[must_use]
    pub fn others_whole(&self) -> Option<(Epoch, i64)> {
        let others = &self.all[1..];
        let whole = others.iter().map(|process| process.whole).min()?;
        let latest = others.iter().map(|process| process.whole_ms).max()?;
        Some((whole, latest))
    }

    /// Whether one of them was asked to stop.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.all.iter().any(|process| process.stopping)
    }

    /// Moves the acknowledgements of the epochs that all have landed into `into`, ascending.
    pub fn take_acks(&mut self, into: &mut Vec<AckTime>) {
        let later = self.acks.split_off(&(self.raw() + 1));
        let landed = std::mem::replace(&mut self.acks, later);
        into.extend(
            landed
                .into_iter()
                .map(|(epoch, acked_ms)| AckTime { epoch, acked_ms }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(process: usize, raw: Epoch, acks: &[(Epoch, i64)]) -> ProcessReport {
        let ack = |&(epoch, acked_ms): &(Epoch, i64)| AckTime { epoch, acked_ms };
        ProcessReport {
            process,
            raw,
            acks: acks.iter().map(ack).collect(),
            ..ProcessReport::default()
        }
    }

    fn taken(processes: &mut Processes) -> Vec<(Epoch, i64)> {
        let mut acks = Vec::new();
        processes.take_acks(&mut acks);
        acks.iter().map(|ack| (ack.epoch, ack.acked_ms)).collect()
    }

    #[test]
    fn an_epoch_has_landed_when_all_have_landed_it_and_its_ack_is_the_latest() {
        let mut processes = Processes::new(2, 10);
        assert_eq!(processes.raw(), 9);
        processes.report(report(0, 12, &[(10, 100), (11, 110), (12, 120)]));
        assert_eq!((processes.raw(), taken(&mut processes)), (9, vec![]));
        processes.report(report(1, 11, &[(10, 105), (11, 90)]));
        assert_eq!(processes.raw(), 11);
        assert_eq!(taken(&mut processes), [(10, 105), (11, 110)]);
        assert_eq!(taken(&mut processes), []);
        // The other one had no rows in epoch 12.
        processes.report(report(1, 12, &[]));
        assert_eq!(taken(&mut processes), [(12, 120)]);
    }

    #[test]
    fn a_process_alone_waits_for_nobody() {
        let mut alone = Processes::new(1, 10);
        assert_eq!(alone.others_whole(), None);
        alone.report(report(0, 10, &[(10, 1)]));
        assert_eq!((alone.raw(), taken(&mut alone)), (10, vec![(10, 1)]));
    }

    #[test]
    fn the_epochs_are_complete_when_the_last_of_the_others_is() {
        let mut processes = Processes::new(3, 10);
        assert_eq!(processes.others_whole(), Some((9, 0)));
        let whole = |process, whole, whole_ms| ProcessReport {
            process,
            whole,
            whole_ms,
            ..ProcessReport::default()
        };
        processes.report(whole(1, 14, 140));
        assert_eq!(processes.others_whole(), Some((9, 140)));
        processes.report(whole(2, 12, 150));
        assert_eq!(processes.others_whole(), Some((12, 150)));
        assert!(!processes.stopping());
        let asked = ProcessReport {
            stopping: true,
            ..whole(2, 12, 150)
        };
        processes.report(asked);
        assert!(processes.stopping());
    }
}
