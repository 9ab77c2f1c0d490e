//! What the top lists keep over a restart: an entry a list, all that is on it. Differential dataflow's arrangements are
//! built from that again.

use std::collections::{BTreeMap, BTreeSet};

use super::{ErrorKind, LocalTop, Ranked, TopKey};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{
    Entry, KeyedState, StateError, StateWriter, read_version, save_rewritten,
};
use crate::dataflow::window::group_of_agent;

type Saved = (BTreeSet<Ranked>, BTreeMap<ErrorKind, isize>);

impl KeyedState for LocalTop {
    const UID: &'static str = "top-lists";
    const VERSION: u16 = 1;
    const READS: &'static [u16] = &[1];

    fn save(&mut self, out: &mut StateWriter) {
        let LocalTop {
            spans,
            errors,
            changes,
            ..
        } = self;
        let group_of = |key: &TopKey| group_of_agent(&key.agent);
        let none = (BTreeSet::new(), BTreeMap::new());
        changes.save_noted(out, group_of, |key| {
            let held = (spans.get(key), errors.get(key));
            let is_held = held.0.is_some() || held.1.is_some();
            is_held.then_some((held.0.unwrap_or(&none.0), held.1.unwrap_or(&none.1)))
        });
        let listed = spans.iter().map(|(key, held)| (key, (held, &none.1)));
        let counted = errors.iter().map(|(key, held)| (key, (&none.0, held)));
        save_rewritten(out, group_of, listed.chain(counted));
    }

    fn restore(&mut self, version: u16, entry: &Entry<'_>) -> Result<(), StateError> {
        let (key, (spans, errors)) = read_version::<Self, TopKey, Saved>(version, entry)?;
        if !spans.is_empty() {
            self.spans.insert(key.clone(), spans);
        }
        if !errors.is_empty() {
            self.errors.insert(key, errors);
        }
        Ok(())
    }

    fn restored(&mut self, _record: &EpochRecord) {}
}
