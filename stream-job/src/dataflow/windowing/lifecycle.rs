//! When a window closes, when it is final, and what is late. Every operator that keeps windows asks here.

use serde::{Deserialize, Serialize};

/// Where a window stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// The watermark has not reached its end.
    Open,
    /// The watermark has reached its end: only what comes late changes it.
    Closed,
    /// The watermark has reached its end and the allowed lateness: nothing changes it.
    Final,
}

/// Which events are turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateRule {
    /// One that is older than the watermark less the allowed lateness, whatever windows it has. It is decided once, so
    /// an event is in all of its windows or in none, and what is counted in windows of different lengths adds up.
    ByEvent,
    /// One of which every window is final. That is Flink's rule: an event too old for one window may still count in
    /// another that is longer, or in a session that it extends.
    ByWindow,
}

/// How far event time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    allowed_lateness_us: i64,
    watermark_us: i64,
}

impl Lifecycle {
    /// At a watermark.
    #[must_use]
    pub const fn new(allowed_lateness_us: i64, watermark_us: i64) -> Self {
        Self {
            allowed_lateness_us,
            watermark_us,
        }
    }

    /// The watermark, µs since 1970.
    #[must_use]
    pub const fn watermark_us(&self) -> i64 {
        self.watermark_us
    }

    /// Moves to a watermark, and returns where it was. One that falls is taken as one that stands: `None`, as for one that
    /// does.
    pub fn advance(&mut self, watermark_us: i64) -> Option<Lifecycle> {
        let before = *self;
        self.watermark_us = watermark_us.max(before.watermark_us);
        (*self != before).then_some(before)
    }

    /// Where a window with this end stands.
    #[must_use]
    pub const fn stage(&self, end_us: i64) -> Stage {
        if end_us > self.closed_up_to() {
            Stage::Open
        } else if end_us > self.final_up_to() {
            Stage::Closed
        } else {
            Stage::Final
        }
    }

    /// The latest end of a window that is closed.
    #[must_use]
    pub const fn closed_up_to(&self) -> i64 {
        self.watermark_us
    }

    /// The latest end of a window that is final. At the end of time that is every one.
    #[must_use]
    pub const fn final_up_to(&self) -> i64 {
        match self.watermark_us {
            i64::MAX => i64::MAX,
            watermark_us => watermark_us.saturating_sub(self.allowed_lateness_us),
        }
    }

    /// Whether an event is late by [`LateRule::ByEvent`]: the shortest window that could hold it would be final.
    #[must_use]
    pub const fn is_late(&self, event_us: i64) -> bool {
        matches!(self.stage(event_us.saturating_add(1)), Stage::Final)
    }
}
