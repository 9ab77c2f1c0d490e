//! The operator of pass 2: it waits for the batches of an epoch and the verdicts on them, and sends what they come to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::{Admission, AdmitRules, RawSink};
use crate::dataflow::dedup::Duplicate;
use crate::dataflow::epochs::{Epoch, EpochCursor, EpochTable, least_time, stash_at};
use crate::dataflow::freshness::EpochCounts;
use crate::dataflow::resource::ResourcePartial;
use crate::dataflow::scan::ScannedBatch;
use crate::dataflow::top_n::TopPartial;
use crate::dataflow::trace::TracePartial;
use crate::dataflow::window::StepPartial;

/// What pass 2 sends on.
pub(in crate::dataflow) struct Admitted<'scope> {
    /// Sums per step key and minute.
    pub windows: StreamVec<'scope, Epoch, StepPartial>,
    /// Sums per trace.
    pub traces: StreamVec<'scope, Epoch, TracePartial>,
    /// Candidates for the top lists.
    pub top: StreamVec<'scope, Epoch, TopPartial>,
    /// Sums per process and minute.
    pub resources: StreamVec<'scope, Epoch, ResourcePartial>,
    /// What was counted.
    pub counts: StreamVec<'scope, Epoch, EpochCounts>,
}

/// Builds pass 2.
pub(in crate::dataflow) fn admit<'scope>(
    scanned: StreamVec<'scope, Epoch, Rc<ScannedBatch>>,
    duplicates: StreamVec<'scope, Epoch, Duplicate>,
    epochs: EpochTable,
    rules: AdmitRules,
    sink: Rc<dyn RawSink>,
) -> Admitted<'scope> {
    let busy = epochs.busy("admit");
    let scope = scanned.scope();
    let place = (scope.index(), scope.peers());
    let mut builder = OperatorBuilder::new("admit".to_owned(), scope);
    let mut scanned_in = builder.new_input(scanned, Pipeline);
    let to_worker = Exchange::new(|duplicate: &Duplicate| u64::from(duplicate.worker));
    let mut duplicates_in = builder.new_input(duplicates, to_worker);
    let (windows_out, windows) = builder.new_output();
    let (traces_out, traces) = builder.new_output();
    let (top_out, top) = builder.new_output();
    let (resources_out, resources) = builder.new_output();
    let (counts_out, counts) = builder.new_output();
    let mut windows_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<StepPartial>>>::from(windows_out);
    let mut traces_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<TracePartial>>>::from(traces_out);
    let mut top_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<TopPartial>>>::from(top_out);
    let mut resources_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<ResourcePartial>>>::from(resources_out);
    let mut counts_out =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<EpochCounts>>>::from(counts_out);
    builder.build(move |caps| {
        // One cursor a port: each holds its own right to send.
        let mut cursors: Vec<EpochCursor> = caps
            .into_iter()
            .map(|cap| EpochCursor::new(epochs.clone(), cap))
            .collect();
        let mut admission = Admission::new(rules, sink, place);
        let scanned_stash: RefCell<BTreeMap<Epoch, Vec<Rc<ScannedBatch>>>> = RefCell::default();
        let duplicates_stash: RefCell<BTreeMap<Epoch, Vec<Duplicate>>> = RefCell::default();
        move |frontiers| {
            scanned_in.for_each(|cap, data| {
                stash_at(
                    &mut scanned_stash.borrow_mut(),
                    least_time(cap.stamp().least()),
                    data,
                );
            });
            duplicates_in.for_each(|cap, data| {
                stash_at(
                    &mut duplicates_stash.borrow_mut(),
                    least_time(cap.stamp().least()),
                    data,
                );
            });
            let complete = |at: usize| frontiers[at].frontier();
            while let Some(first) = cursors[0].next_within(complete(0), complete(1)) {
                let _busy = busy.time();
                let (record, windows_cap) = first;
                let batches = scanned_stash
                    .borrow_mut()
                    .remove(&record.epoch)
                    .unwrap_or_default();
                let duplicates = duplicates_stash
                    .borrow_mut()
                    .remove(&record.epoch)
                    .unwrap_or_default();
                admission.admit(&record, batches, duplicates);
                let mut rest = cursors[1..]
                    .iter_mut()
                    .filter_map(|cursor| cursor.advance_to(&record));
                let (Some(traces_cap), Some(top_cap), Some(resources_cap), Some(counts_cap)) =
                    (rest.next(), rest.next(), rest.next(), rest.next())
                else {
                    unreachable!("the cursors of all ports move together");
                };
                let partials = &mut admission.partials;
                windows_out
                    .activate()
                    .session(&windows_cap)
                    .give_container(&mut partials.windows.take());
                traces_out
                    .activate()
                    .session(&traces_cap)
                    .give_container(&mut partials.traces.take());
                top_out
                    .activate()
                    .session(&top_cap)
                    .give_container(&mut partials.top.take());
                resources_out
                    .activate()
                    .session(&resources_cap)
                    .give_container(&mut partials.resources.take());
                counts_out
                    .activate()
                    .session(&counts_cap)
                    .give(std::mem::take(&mut partials.counts));
            }
            for cursor in &mut cursors {
                cursor.finish(complete(0), complete(1));
            }
        }
    });
    Admitted {
        windows,
        traces,
        top,
        resources,
        counts,
    }
}
