//! What the anomaly detectors keep over a restart: an entry a key, its last windows and its open flags.

use std::sync::Arc;

use super::{Anomalies, KeyHistory};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{
    Entry, KeyedState, StateError, StateWriter, read_version, save_rewritten,
};
use crate::dataflow::window::{StepKey, group_of_agent};

impl KeyedState for Anomalies {
    const UID: &'static str = "anomalies";
    const VERSION: u16 = 1;
    const READS: &'static [u16] = &[1];

    fn save(&mut self, out: &mut StateWriter) {
        let Anomalies { keys, changes, .. } = self;
        let group_of = |key: &Arc<StepKey>| group_of_agent(&key.agent);
        changes.save_noted(out, group_of, |key| keys.get(key));
        save_rewritten(out, group_of, keys.iter());
    }

    fn restore(&mut self, version: u16, entry: &Entry<'_>) -> Result<(), StateError> {
        let (key, history) = read_version::<Self, Arc<StepKey>, KeyHistory>(version, entry)?;
        self.keys.insert(key, history);
        Ok(())
    }

    fn restored(&mut self, _record: &EpochRecord) {}
}
