//! Epochs in the dataflow: every operator sees every [`EpochRecord`], in order, with all data of that epoch.
//!
//! A stateful operator must act in epochs that bring it no data, too: a watermark closes windows of keys that are
//! silent. So the records do not travel as data. Each worker keeps them in an [`EpochTable`], and an operator built with
//! [`PerEpoch`] holds a capability of its own that trails its input frontier, one epoch at a time.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::progress::frontier::AntichainRef;

use crate::checkpoint::record::EpochRecord;
use crate::ops::metrics::{Metrics, Seconds};

/// The logical time of the dataflow.
pub type Epoch = u64;

/// The records that a worker knows, oldest first and without gaps. Shared by the operators of one worker.
#[derive(Clone, Default)]
pub struct EpochTable {
    records: Rc<RefCell<VecDeque<Arc<EpochRecord>>>>,
    metrics: Option<Arc<Metrics>>,
}

impl EpochTable {
    /// A table whose operators tell how long they work.
    #[must_use]
    pub fn timed(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics: Some(metrics),
            ..Self::default()
        }
    }

    /// Where the operator of that name adds the time that it works.
    #[must_use]
    pub fn busy(&self, operator: &str) -> Arc<Seconds> {
        let metrics = self.metrics.as_ref();
        metrics.map_or_else(Arc::default, |m| m.operator_busy.with(&[operator]))
    }

    /// Where it adds the time in which it has data and can't give it on.
    #[must_use]
    pub fn blocked(&self, operator: &str) -> Arc<Seconds> {
        let metrics = self.metrics.as_ref();
        metrics.map_or_else(Arc::default, |m| m.operator_blocked.with(&[operator]))
    }

    /// Adds the next record. It must be made known before the source gives up its capability for the epoch, so that an
    /// operator whose frontier has passed an epoch always finds its record here.
    ///
    /// # Panics
    /// When an epoch was left out: operators would skip its timers.
    pub fn push(&self, record: Arc<EpochRecord>) {
        let mut records = self.records.borrow_mut();
        if let Some(last) = records.back() {
            assert_eq!(
                last.epoch + 1,
                record.epoch,
                "epochs follow each other without a gap"
            );
        }
        records.push_back(record);
    }

    /// The record of an epoch, if it is known and not yet forgotten.
    #[must_use]
    pub fn get(&self, epoch: Epoch) -> Option<Arc<EpochRecord>> {
        let records = self.records.borrow();
        let first = records.front()?.epoch;
        let at = usize::try_from(epoch.checked_sub(first)?).ok()?;
        records.get(at).cloned()
    }

    /// The first known record at or above `epoch`.
    #[must_use]
    pub fn next_from(&self, epoch: Epoch) -> Option<Arc<EpochRecord>> {
        let first = self.records.borrow().front()?.epoch;
        self.get(epoch.max(first))
    }

    /// Forgets the records below `epoch`; no operator may still need them.
    pub fn forget_below(&self, epoch: Epoch) {
        let mut records = self.records.borrow_mut();
        while records.front().is_some_and(|r| r.epoch < epoch) {
            records.pop_front();
        }
    }
}

/// An operator's own place in the sequence of epochs: which one comes next, and the right to send at it.
pub struct EpochCursor {
    table: EpochTable,
    cap: Option<Capability<Epoch>>,
}

impl EpochCursor {
    /// Starts at the first epoch of the table.
    #[must_use]
    pub fn new(table: EpochTable, cap: Capability<Epoch>) -> Self {
        Self {
            table,
            cap: Some(cap),
        }
    }

    /// The next epoch that is complete at `frontier`, with a capability for it. Call until `None`.
    pub fn next(
        &mut self,
        frontier: AntichainRef<'_, Epoch>,
    ) -> Option<(Arc<EpochRecord>, Capability<Epoch>)> {
        let cap = self.cap.as_mut()?;
        let Some(record) = self.table.next_from(*cap.time()) else {
            if frontier.is_empty() {
                self.cap = None;
            }
            return None;
        };
        if frontier.less_equal(&record.epoch) {
            return None;
        }
        let at = cap.delayed(&record.epoch);
        cap.downgrade(&(record.epoch + 1));
        Some((record, at))
    }
}

/// For operators with several ports: one cursor a port, all of them moved together.
impl EpochCursor {
    /// As [`Self::next`], for an operator with two inputs.
    pub fn next_within(
        &mut self,
        first: AntichainRef<'_, Epoch>,
        second: AntichainRef<'_, Epoch>,
    ) -> Option<(Arc<EpochRecord>, Capability<Epoch>)> {
        let open = self.table.next_from(*self.cap.as_ref()?.time())?;
        if first.less_equal(&open.epoch) || second.less_equal(&open.epoch) {
            return None;
        }
        self.next(first)
    }

    /// A capability for the epoch of `record`, which another cursor has just come to.
    pub fn advance_to(&mut self, record: &EpochRecord) -> Option<Capability<Epoch>> {
        let cap = self.cap.as_mut()?;
        let at = cap.delayed(&record.epoch);
        cap.downgrade(&(record.epoch + 1));
        Some(at)
    }

    /// Gives up the right to send where nothing can come any more.
    pub fn finish(&mut self, first: AntichainRef<'_, Epoch>, second: AntichainRef<'_, Epoch>) {
        if first.is_empty() && second.is_empty() {
            self.cap = None;
        }
    }
}

/// Operators that act once an epoch.
pub trait PerEpoch<'scope, D: ExchangeData>: Sized {
    /// Calls `logic` for every epoch in order, once all of its data is there, with that data in no particular order.
    /// `logic` runs in epochs without data too. What it returns is sent at the same epoch.
    fn per_epoch<D2, P, L>(
        self,
        pact: P,
        name: &str,
        epochs: &EpochTable,
        logic: L,
    ) -> StreamVec<'scope, Epoch, D2>
    where
        D2: Clone + 'static,
        P: ParallelizationContract<Epoch, Vec<D>>,
        L: FnMut(&EpochRecord, Vec<D>) -> Vec<D2> + 'static,
    {
        self.per_epoch_after(pact, name, epochs, None, logic)
    }

    /// As [`Self::per_epoch`], and sends `first` before anything else, at an epoch below the first one.
    fn per_epoch_after<D2, P, L>(
        self,
        pact: P,
        name: &str,
        epochs: &EpochTable,
        first: Option<(Epoch, Vec<D2>)>,
        logic: L,
    ) -> StreamVec<'scope, Epoch, D2>
    where
        D2: Clone + 'static,
        P: ParallelizationContract<Epoch, Vec<D>>,
        L: FnMut(&EpochRecord, Vec<D>) -> Vec<D2> + 'static;
}

impl<'scope, D: ExchangeData> PerEpoch<'scope, D> for StreamVec<'scope, Epoch, D> {
    fn per_epoch_after<D2, P, L>(
        self,
        pact: P,
        name: &str,
        epochs: &EpochTable,
        first: Option<(Epoch, Vec<D2>)>,
        mut logic: L,
    ) -> StreamVec<'scope, Epoch, D2>
    where
        D2: Clone + 'static,
        P: ParallelizationContract<Epoch, Vec<D>>,
        L: FnMut(&EpochRecord, Vec<D>) -> Vec<D2> + 'static,
    {
        let busy = epochs.busy(name);
        let epochs = epochs.clone();
        self.unary_frontier::<CapacityContainerBuilder<Vec<D2>>, _, _, _>(
            pact,
            name,
            move |cap, _info| {
                let mut first = first.map(|(epoch, out)| (cap.delayed(&epoch), out));
                let mut cursor = EpochCursor::new(epochs, cap);
                let mut stash: BTreeMap<Epoch, Vec<D>> = BTreeMap::new();
                move |(input, frontier), output| {
                    if let Some((cap, mut out)) = first.take() {
                        output.session(&cap).give_container(&mut out);
                    }
                    input.for_each(|cap, data| {
                        stash_at(&mut stash, least_time(cap.stamp().least()), data)
                    });
                    while let Some((record, cap)) = cursor.next(frontier.frontier()) {
                        let _busy = busy.time();
                        let data = stash.remove(&record.epoch).unwrap_or_default();
                        let mut out = logic(&record, data);
                        if !out.is_empty() {
                            output.session(&cap).give_container(&mut out);
                        }
                    }
                }
            },
        )
    }
}

/// Every message of this dataflow is sent at exactly one epoch.
pub(crate) fn least_time(least: Option<&Epoch>) -> Epoch {
    *least.expect("a message has a time")
}

/// Moves a message's records into the stash of its epoch; the first message of an epoch is taken whole.
pub(crate) fn stash_at<D>(stash: &mut BTreeMap<Epoch, Vec<D>>, epoch: Epoch, data: &mut Vec<D>) {
    let held = stash.entry(epoch).or_default();
    if held.is_empty() {
        *held = std::mem::take(data);
    } else {
        held.append(data);
    }
}

#[cfg(test)]
#[path = "epochs_tests.rs"]
mod tests;
