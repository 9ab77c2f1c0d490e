//! Users by day: the sum of the traces that ended on a day of the business time zone.
//!
//! What a trace says now takes the place of what it said before, in the day where it now ended; nothing is ever subtracted.
//! So a trace that this state has never heard of can change or leave as it likes, and the earliest start and latest end
//! come right when one leaves. A trace that was forgotten changes no more, and goes into the sums of its day.

use std::sync::Arc;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::epochs::Epoch;
use super::trace::{TraceForgotten, TraceUpdate};
use super::trace_summary::{TraceId, TraceUser};
use crate::checkpoint::record::EpochRecord;
use crate::checkpoint::state::{Changes, Grouped};

#[path = "user_day_calendar.rs"]
mod calendar;
#[path = "user_day_parts.rs"]
mod parts;
#[path = "user_day_saved.rs"]
mod saved;

pub use calendar::{Day, day_of};
pub use parts::{DaySums, Said};
use parts::{Settled, Traces};
pub use saved::group_of_user;

/// A user's day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UserDay {
    /// Day in the business time zone.
    pub day: Day,
    /// `service.namespace`.
    pub namespace: String,
    /// The user.
    pub user_id: String,
}

impl UserDay {
    fn of(user: TraceUser, zone: Tz) -> Self {
        Self {
            day: day_of(user.last_us, zone),
            namespace: user.namespace,
            user_id: user.user_id,
        }
    }
}

/// What happens to a trace of a user's day, in the order in which it can within an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceChange {
    /// It belongs to another day or user now.
    Left,
    /// It says this.
    Says(Said),
    /// It was forgotten: it changes no more.
    Settled,
}

/// What happens to a user's day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserChange {
    /// The user's day.
    pub key: UserDay,
    /// The trace.
    pub trace_id: TraceId,
    /// The segment of the trace.
    pub trace_segment: Epoch,
    /// What happens to it.
    pub change: TraceChange,
}

impl UserChange {
    /// The changes that a trace's update means. A trace without a user is nobody's.
    pub fn of(update: &TraceUpdate, zone: Tz) -> impl Iterator<Item = UserChange> {
        let change = |key, change| UserChange {
            key,
            trace_id: update.trace_id,
            trace_segment: update.segment,
            change,
        };
        let key_of = |user: Option<TraceUser>| user.map(|user| UserDay::of(user, zone));
        let (before, now) = (key_of(update.user_before.clone()), key_of(update.user()));
        let left = before.filter(|before| now.as_ref() != Some(before));
        let left = left.map(|before| change(before, TraceChange::Left));
        let says = now.map(|now| change(now, TraceChange::Says(Said::of(update))));
        left.into_iter().chain(says)
    }

    /// What a forgotten trace means to its user's day.
    #[must_use]
    pub fn settled(forgotten: TraceForgotten, zone: Tz) -> UserChange {
        UserChange {
            key: UserDay::of(forgotten.user, zone),
            trace_id: forgotten.trace_id,
            trace_segment: forgotten.segment,
            change: TraceChange::Settled,
        }
    }
}

/// A user's day as it stands at the end of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserDayUpdate {
    /// The user's day.
    pub key: UserDay,
    /// The epoch its state was opened at.
    pub segment: Epoch,
    /// The sums; `None` takes the row back, as all traces left.
    pub sums: Option<DaySums>,
}

/// The rules for users' days.
#[derive(Clone, Copy, Debug)]
pub struct UserDayRules {
    /// Time zone of a day.
    pub zone: Tz,
    /// How long after its end a day is kept, µs: as long as a trace.
    pub kept_us: i64,
}

struct Tracked {
    segment: Epoch,
    /// The sums over traces that change no more.
    settled: Settled,
    /// The traces that may change.
    traces: Traces,
    /// Whether a row shows it.
    is_shown: bool,
    /// Whether its row is to be written at the end of the block.
    is_due: bool,
}

impl Tracked {
    fn new(segment: Epoch) -> Self {
        Self {
            segment,
            settled: Settled::default(),
            traces: Traces::default(),
            is_shown: false,
            is_due: false,
        }
    }

    fn take(&mut self, trace: (TraceId, Epoch), change: TraceChange) {
        let traces = self.traces.open();
        match change {
            TraceChange::Says(said) => {
                self.is_due |= traces.insert(trace, said) != Some(said);
            }
            TraceChange::Left => self.is_due |= traces.remove(&trace).is_some(),
            TraceChange::Settled => {
                if let Some(said) = traces.remove(&trace) {
                    self.settled.take(said);
                }
            }
        }
    }
}

/// The users' days that one worker owns.
pub struct UserDays {
    rules: UserDayRules,
    watermark_us: i64,
    days: Grouped<Arc<UserDay>, Tracked>,
    /// Those whose traces are open: they changed since the last block.
    changed: Vec<Arc<UserDay>>,
    /// Days before this one were over at the last block.
    over_before: Day,
    /// Users' days that changed or went since the last checkpoint.
    changes: Changes<Arc<UserDay>>,
}

impl UserDays {
    /// Without any.
    #[must_use]
    pub fn new(rules: UserDayRules) -> Self {
        Self {
            rules,
            watermark_us: i64::MIN,
            days: Grouped::default(),
            changed: Vec::new(),
            over_before: Day::MIN,
            changes: Changes::default(),
        }
    }

    /// Takes in one epoch. Returns what changed since the last block where the record ends a block.
    pub fn apply(
        &mut self,
        record: &EpochRecord,
        mut changes: Vec<UserChange>,
    ) -> Vec<UserDayUpdate> {
        self.watermark_us = self.watermark_us.max(record.watermark_us);
        // What a trace says in the epoch in which it is forgotten counts.
        let rank = |change: &TraceChange| matches!(change, TraceChange::Settled);
        changes.sort_by_key(|change| (change.trace_id, change.trace_segment, rank(&change.change)));
        for change in changes {
            self.take(record.epoch, change);
        }
        if record.tells_all {
            for (key, tracked) in self.days.iter_mut() {
                tracked.is_due = true;
                if tracked.traces.is_packed() {
                    tracked.traces.open();
                    self.changed.push(Arc::clone(key));
                }
            }
        }
        if !record.dws_block_ends {
            return Vec::new();
        }
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        let updates = changed.iter().filter_map(|key| self.tell(key)).collect();
        self.forget(changed);
        updates
    }

    fn take(&mut self, epoch: Epoch, change: UserChange) {
        let UserChange {
            key,
            trace_id,
            trace_segment,
            change,
        } = change;
        if matches!(change, TraceChange::Says(_)) && self.days.get(&key).is_none() {
            self.days.insert(Arc::new(key.clone()), Tracked::new(epoch));
        }
        let Some((key, tracked)) = self.days.get_key_value_mut(&key) else {
            return;
        };
        if tracked.traces.is_packed() {
            self.changed.push(Arc::clone(key));
        }
        tracked.take((trace_id, trace_segment), change);
    }

    fn tell(&mut self, key: &Arc<UserDay>) -> Option<UserDayUpdate> {
        self.changes.note(Arc::clone(key));
        let tracked = self.days.get_mut(key)?;
        let sums = tracked.settled.with(tracked.traces.open());
        tracked.traces.pack();
        let (segment, was_shown) = (tracked.segment, tracked.is_shown);
        tracked.is_shown = sums.is_some();
        let is_due = std::mem::take(&mut tracked.is_due);
        if sums.is_none() {
            self.days.remove(key);
        }
        (is_due && (was_shown || sums.is_some())).then(|| UserDayUpdate {
            key: (**key).clone(),
            segment,
            sums,
        })
    }

    /// Drops the days that are over and whose traces change no more. What still comes for them opens a new segment.
    fn forget(&mut self, changed: Vec<Arc<UserDay>>) {
        let over_before = self.over_before();
        let candidates = if over_before > std::mem::replace(&mut self.over_before, over_before) {
            let all = self.days.iter_mut().map(|(key, _)| Arc::clone(key));
            all.filter(|key| key.day < over_before).collect()
        } else {
            changed
        };
        for key in candidates {
            let is_settled = |tracked: &Tracked| tracked.traces.is_empty();
            if key.day < over_before && self.days.get(&key).is_some_and(is_settled) {
                self.days.remove(&key);
                self.changes.note(key);
            }
        }
    }

    /// The day before which all are over.
    fn over_before(&self) -> Day {
        match self.watermark_us {
            i64::MAX => Day::MAX,
            watermark_us => day_of(
                watermark_us.saturating_sub(self.rules.kept_us),
                self.rules.zone,
            ),
        }
    }

    /// Number of users' days held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.days.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }
}

#[cfg(test)]
#[path = "user_day_tests.rs"]
mod tests;
