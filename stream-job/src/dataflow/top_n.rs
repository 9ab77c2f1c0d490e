//! Top lists per agent and minute: slowest steps, dearest steps, most frequent errors.
//!
//! The owner of an agent keeps the top of each of its lists, and tells only what enters and leaves; differential dataflow
//! says which ranks change by that. Error counts are the multiplicities of a collection.
//! Whole turns and chains are left out: they hold the steps that are meant to be seen, and would always be first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use differential_dataflow::AsCollection;
use differential_dataflow::consolidation::consolidate;
use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};

use super::epochs::{Epoch, EpochTable, PerEpoch};
use super::keeper::Keeper;
use super::window::MINUTE_S;
use super::windowing::{Lifecycle, Stage};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{Changes, owner};

#[path = "top_n_parts.rs"]
mod parts;
#[path = "top_n_saved.rs"]
mod saved;

pub use parts::{PreTop, TopPartial};

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TopList {
    /// By duration.
    Slow,
    /// By cost.
    Cost,
    /// By count of equal errors.
    Error,
}

/// One list of one agent and minute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopKey {
    /// Start of the minute, s since 1970.
    pub window_start_s: i64,
    /// Agent.
    pub agent: String,
    /// Which list.
    pub list: TopList,
}

impl TopKey {
    fn new(window_start_s: i64, agent: &str, list: TopList) -> Self {
        Self {
            window_start_s,
            agent: agent.to_owned(),
            list,
        }
    }
}

/// A step that may be on a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopSpan {
    /// Start, µs since 1970.
    pub start_us: i64,
    /// Trace id.
    pub trace_id: u128,
    /// Span id.
    pub span_id: u64,
    /// Session id, as the span itself says.
    pub session_id: String,
    /// Name.
    pub name: String,
    /// Step type.
    pub step_type: String,
    /// Tool.
    pub tool_name: String,
    /// Model.
    pub model: String,
    /// Status.
    pub status: String,
    /// Duration, µs.
    pub duration_us: u64,
    /// Cost, nano-dollars.
    pub cost_nanousd: u64,
}

/// A kind of error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ErrorKind {
    /// Step type.
    pub step_type: String,
    /// Tool.
    pub tool_name: String,
    /// Model.
    pub model: String,
    /// Type of the error.
    pub error_type: String,
}

/// An entry of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TopItem {
    /// Of the slow and cost lists.
    Span(TopSpan),
    /// Of the error list.
    Error(ErrorKind),
}

/// An entry with what it is ranked by; the best one is the least, ties go by the item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ranked {
    /// µs, nano-dollars or count.
    pub measure: Reverse<u64>,
    /// The entry.
    pub item: TopItem,
}

/// A rank of a list as it stands; `entry` is `None` where the rank is empty now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopChange {
    /// The list.
    pub key: TopKey,
    /// From 1.
    pub rank: u16,
    /// What stands there.
    pub entry: Option<Ranked>,
}

type Update<D> = (D, Epoch, isize);

/// The lists of one worker: what is in them, and so what has to be taken back when a window is over.
pub(super) struct LocalTop {
    n: usize,
    allowed_lateness_us: i64,
    spans: BTreeMap<TopKey, BTreeSet<Ranked>>,
    errors: BTreeMap<TopKey, BTreeMap<ErrorKind, isize>>,
    /// Lists that changed or went since the last checkpoint.
    changes: Changes<TopKey>,
}

/// What goes into the collections: spans ranked already, errors to be counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Input {
    Span(TopKey, Ranked),
    Error(TopKey, ErrorKind),
}

impl LocalTop {
    /// All that is held, as if it came at this epoch.
    fn held(&self, epoch: Epoch) -> Vec<Update<Input>> {
        let spans = self.spans.iter().flat_map(|(key, held)| {
            held.iter()
                .map(|entry| (Input::Span(key.clone(), entry.clone()), epoch, 1))
        });
        let errors = self.errors.iter().flat_map(|(key, counts)| {
            counts
                .iter()
                .map(|(kind, count)| (Input::Error(key.clone(), kind.clone()), epoch, *count))
        });
        spans.chain(errors).collect()
    }

    fn apply(&mut self, record: &EpochRecord, partials: Vec<TopPartial>) -> Vec<Update<Input>> {
        let mut changes = self.retire(record.watermark_us);
        for partial in partials {
            match partial {
                TopPartial::Span(key, entry) => {
                    self.changes.note(key.clone());
                    let held = self.spans.entry(key.clone()).or_default();
                    if !held.insert(entry.clone()) {
                        continue;
                    }
                    changes.push((Input::Span(key.clone(), entry), 1));
                    if held.len() > self.n
                        && let Some(worst) = held.pop_last()
                    {
                        changes.push((Input::Span(key, worst), -1));
                    }
                }
                TopPartial::Error(key, kind, count) => {
                    self.changes.note(key.clone());
                    let count = isize::try_from(count).unwrap_or(isize::MAX);
                    *self
                        .errors
                        .entry(key.clone())
                        .or_default()
                        .entry(kind.clone())
                        .or_default() += count;
                    changes.push((Input::Error(key, kind), count));
                }
            }
        }
        changes
            .into_iter()
            .map(|(input, diff)| (input, record.epoch, diff))
            .collect()
    }

    /// Takes back all of the windows that are final: their rows stand, and nothing changes them.
    fn retire(&mut self, watermark_us: i64) -> Vec<(Input, isize)> {
        let mut gone = Vec::new();
        let is_over = |key: &TopKey| is_final(key, watermark_us, self.allowed_lateness_us);
        while let Some(entry) = self
            .spans
            .first_entry()
            .filter(|entry| is_over(entry.key()))
        {
            let (key, held) = entry.remove_entry();
            self.changes.note(key.clone());
            gone.extend(
                held.into_iter()
                    .map(|ranked| (Input::Span(key.clone(), ranked), -1)),
            );
        }
        while let Some(entry) = self
            .errors
            .first_entry()
            .filter(|entry| is_over(entry.key()))
        {
            let (key, counts) = entry.remove_entry();
            self.changes.note(key.clone());
            gone.extend(
                counts
                    .into_iter()
                    .map(|(kind, count)| (Input::Error(key.clone(), kind), -count)),
            );
        }
        gone
    }
}

fn is_final(key: &TopKey, watermark_us: i64, allowed_lateness_us: i64) -> bool {
    let end_us = (key.window_start_s + MINUTE_S).saturating_mul(1_000_000);
    Lifecycle::new(allowed_lateness_us, watermark_us).stage(end_us) == Stage::Final
}

/// Keeps the top lists.
pub(super) trait TopN<'scope> {
    /// Emits, at the end of each block, the ranks that changed.
    fn top_n(
        self,
        epochs: &EpochTable,
        keeper: &Keeper,
        n: usize,
        allowed_lateness_us: i64,
    ) -> StreamVec<'scope, Epoch, TopChange>;
}

impl<'scope> TopN<'scope> for StreamVec<'scope, Epoch, TopPartial> {
    fn top_n(
        self,
        epochs: &EpochTable,
        keeper: &Keeper,
        n: usize,
        allowed_lateness_us: i64,
    ) -> StreamVec<'scope, Epoch, TopChange> {
        let mut local = LocalTop {
            n,
            allowed_lateness_us,
            spans: BTreeMap::new(),
            errors: BTreeMap::new(),
            changes: Changes::default(),
        };
        keeper.restore(&mut local);
        let held = keeper.restored_epoch();
        let held = held.map(|epoch| (epoch, local.held(epoch)));
        let workers = self.scope().peers();
        let by_agent =
            Exchange::new(move |partial: &TopPartial| owner(partial.group(), workers) as u64);
        let keeper = keeper.clone();
        let inputs = self
            .per_epoch_after(
                by_agent,
                "top_local",
                epochs,
                held,
                move |record, partials| {
                    let changes = local.apply(record, partials);
                    keeper.save(record, &mut local);
                    changes
                },
            )
            .as_collection();
        let spans = inputs.clone().flat_map(|input| match input {
            Input::Span(key, ranked) => Some((key, ranked)),
            Input::Error(..) => None,
        });
        let errors = inputs
            .flat_map(|input| match input {
                Input::Error(key, kind) => Some((key, kind)),
                Input::Span(..) => None,
            })
            .count()
            .map(|((key, kind), count): ((TopKey, ErrorKind), isize)| {
                let measure = Reverse(u64::try_from(count).unwrap_or(0));
                (
                    key,
                    Ranked {
                        measure,
                        item: TopItem::Error(kind),
                    },
                )
            });
        let ranked = spans.concat(errors).reduce(
            move |_key, entries, out: &mut Vec<((u16, Ranked), isize)>| {
                let best = entries.iter().filter(|(_, diff)| *diff > 0).take(n);
                out.extend(
                    (1..)
                        .zip(best)
                        .map(|(rank, (entry, _))| ((rank, (*entry).clone()), 1)),
                );
            },
        );
        let mut pending: BTreeMap<(TopKey, u16), Option<Ranked>> = BTreeMap::new();
        ranked
            .inner
            .per_epoch_by_time(epochs, move |record, updates| {
                follow(
                    &mut pending,
                    record.watermark_us,
                    allowed_lateness_us,
                    updates,
                );
                if !record.dws_block_ends {
                    return Vec::new();
                }
                let changes = std::mem::take(&mut pending).into_iter();
                changes
                    .map(|((key, rank), entry)| TopChange { key, rank, entry })
                    .collect()
            })
    }
}

type RankUpdate = (TopKey, (u16, Ranked));

/// Takes in the changes of one epoch. What goes away because its window is final changes no row.
fn follow(
    pending: &mut BTreeMap<(TopKey, u16), Option<Ranked>>,
    watermark_us: i64,
    allowed_lateness_us: i64,
    mut updates: Vec<(RankUpdate, isize)>,
) {
    // Within a rank, what goes away comes before what takes its place.
    updates.sort_unstable_by_key(|(_, diff)| *diff);
    for ((key, (rank, entry)), diff) in updates {
        if is_final(&key, watermark_us, allowed_lateness_us) {
            continue;
        }
        pending.insert((key, rank), (diff > 0).then_some(entry));
    }
}

/// Differential's updates carry their times themselves: a message may hold several.
trait PerEpochByTime<'scope, D> {
    fn per_epoch_by_time<D2, L>(
        self,
        epochs: &EpochTable,
        logic: L,
    ) -> StreamVec<'scope, Epoch, D2>
    where
        D2: Clone + 'static,
        L: FnMut(&EpochRecord, Vec<(D, isize)>) -> Vec<D2> + 'static;
}

impl<'scope, D: Clone + Ord + 'static> PerEpochByTime<'scope, D>
    for StreamVec<'scope, Epoch, (D, Epoch, isize)>
{
    fn per_epoch_by_time<D2, L>(
        self,
        epochs: &EpochTable,
        mut logic: L,
    ) -> StreamVec<'scope, Epoch, D2>
    where
        D2: Clone + 'static,
        L: FnMut(&EpochRecord, Vec<(D, isize)>) -> Vec<D2> + 'static,
    {
        use timely::container::CapacityContainerBuilder;
        use timely::dataflow::operators::generic::Operator;

        use super::epochs::EpochCursor;

        let busy = epochs.busy("top_ranks");
        let epochs = epochs.clone();
        self.unary_frontier::<CapacityContainerBuilder<Vec<D2>>, _, _, _>(
            Pipeline,
            "top_ranks",
            move |cap, _info| {
                let mut cursor = EpochCursor::new(epochs, cap);
                let mut stash: BTreeMap<Epoch, Vec<(D, isize)>> = BTreeMap::new();
                move |(input, frontier), output| {
                    input.for_each(|_, updates| {
                        for (update, epoch, diff) in updates.drain(..) {
                            stash.entry(epoch).or_default().push((update, diff));
                        }
                    });
                    while let Some((record, cap)) = cursor.next(frontier.frontier()) {
                        let _busy = busy.time();
                        // Ranks below the first epoch are those that a checkpoint held: their rows are there.
                        let mut updates = stash.remove(&record.epoch).unwrap_or_default();
                        let later = stash.split_off(&record.epoch);
                        let held = std::mem::replace(&mut stash, later);
                        if record.tells_all {
                            // What was held and is taken away at once was never told of.
                            updates.extend(held.into_values().flatten());
                            consolidate(&mut updates);
                        }
                        let mut out = logic(&record, updates);
                        if !out.is_empty() {
                            output.session(&cap).give_container(&mut out);
                        }
                    }
                }
            },
        )
    }
}

#[cfg(test)]
#[path = "top_n_tests.rs"]
mod tests;
