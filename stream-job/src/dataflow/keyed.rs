//! What every operator with state by key has in common: its changes go to the workers that own their keys, its state is
//! restored before and saved after, and a gauge shows how many keys it holds.

use std::cell::RefCell;

use timely::ExchangeData;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;

use super::build::Shared;
use super::collect::Row;
use super::epochs::{Epoch, EpochTable, PerEpoch};
use super::keeper::Keeper;
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{KeyedState, owner};

/// What operators are built with.
#[derive(Clone, Copy)]
pub(super) struct Operators<'a> {
    pub epochs: &'a EpochTable,
    pub shared: &'a Shared,
    pub keeper: &'a Keeper,
}

impl Operators<'_> {
    /// An operator of this name, whose `state` takes a `step` each epoch. `group` is the key group of a change, `held` how
    /// many keys there are.
    pub(super) fn keyed<'scope, S, D, R>(
        self,
        changes: StreamVec<'scope, Epoch, D>,
        name: &'static str,
        mut state: S,
        group: impl Fn(&D) -> u16 + 'static,
        held: fn(&S) -> usize,
        mut step: impl FnMut(&mut S, &EpochRecord, Vec<D>) -> Vec<R> + 'static,
    ) -> StreamVec<'scope, Epoch, R>
    where
        S: KeyedState + 'static,
        D: ExchangeData,
        R: Clone + 'static,
    {
        self.keeper.restore(&mut state);
        let keeper = self.keeper.clone();
        let tell = state_gauge(self.shared, name);
        let workers = changes.scope().peers();
        let by_key = Exchange::new(move |change: &D| owner(group(change), workers) as u64);
        changes.per_epoch(by_key, name, self.epochs, move |record, changes| {
            let out = step(&mut state, record, changes);
            keeper.save(record, &mut state);
            tell(held(&state));
            out
        })
    }
}

/// The step of an operator whose updates become a row each.
pub(super) fn rows_of<S, D, U>(
    apply: fn(&mut S, &EpochRecord, Vec<D>) -> Vec<U>,
    row: fn(U, Epoch) -> Row,
) -> impl FnMut(&mut S, &EpochRecord, Vec<D>) -> Vec<Row> {
    move |state, record, changes| {
        let updates = apply(state, record, changes).into_iter();
        updates.map(|update| row(update, record.epoch)).collect()
    }
}

/// Tells how many keys of a kind this worker holds; the gauge shows the sum over workers.
pub(super) fn state_gauge(shared: &Shared, state: &'static str) -> impl Fn(usize) + 'static {
    let metrics = shared.metrics.clone();
    let told = RefCell::new(0i64);
    move |size| {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let before = told.replace(size);
        metrics.state_keys.with(&[state]).add(size - before);
    }
}
