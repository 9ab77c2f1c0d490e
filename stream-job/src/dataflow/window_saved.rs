//! What the windows keep over a restart: an entry a pane.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{StepKey, StepSums, Windows};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{
    Entry, KeyedState, StateError, StateWriter, key_group, read_version,
};

/// The group of an agent's keys: one worker sees all of them, and can cap their number.
#[must_use]
pub fn group_of_agent(agent: &str) -> u16 {
    key_group(xxh3_64(agent.as_bytes()))
}

/// A pane: one key's minute or hour.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct PaneKey {
    pub(super) key: Arc<StepKey>,
    pub(super) is_hour: bool,
    pub(super) start_s: i64,
}

impl KeyedState for Windows {
    const UID: &'static str = "step-windows";
    const VERSION: u16 = 1;
    const READS: &'static [u16] = &[1];

    fn save(&mut self, out: &mut StateWriter) {
        debug_assert!(
            self.keys.values().all(|windows| windows.changed.is_empty()),
            "a checkpoint is taken where a block ends"
        );
        let Windows { keys, changes, .. } = self;
        let pane = |pane: &PaneKey| {
            let windows = keys.get(&pane.key)?;
            let panes = if pane.is_hour {
                &windows.hours
            } else {
                &windows.minutes
            };
            panes.get(&pane.start_s)
        };
        changes.save_noted(out, |pane| group_of_agent(&pane.key.agent), pane);
        for (key, windows) in keys.iter() {
            let group = group_of_agent(&key.agent);
            if !out.rewrites(group) {
                continue;
            }
            for (panes, is_hour) in [(&windows.minutes, false), (&windows.hours, true)] {
                for (&start_s, sums) in panes {
                    let key = key.clone();
                    let pane = PaneKey {
                        key,
                        is_hour,
                        start_s,
                    };
                    out.put(group, &pane, sums);
                }
            }
        }
    }

    fn restore(&mut self, version: u16, entry: &Entry<'_>) -> Result<(), StateError> {
        let (pane, sums) = read_version::<Self, PaneKey, StepSums>(version, entry)?;
        let windows = self.keys.entry(pane.key).or_default();
        let panes = if pane.is_hour {
            &mut windows.hours
        } else {
            &mut windows.minutes
        };
        panes.insert(pane.start_s, sums);
        Ok(())
    }

    fn restored(&mut self, record: &EpochRecord) {
        self.lifecycle.advance(record.watermark_us);
        for key in self.keys.keys().filter(|key| !key.is_overflow()) {
            *self.keys_of_agent.entry(key.agent.clone()).or_default() += 1;
        }
    }
}
