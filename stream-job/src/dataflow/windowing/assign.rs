//! Which windows an event time falls into.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A stretch of event time; its end is not in it. In µs since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimeWindow {
    /// Its start.
    pub start_us: i64,
    /// Its end, the first time that is not in it.
    pub end_us: i64,
}

impl TimeWindow {
    /// Whether the two overlap or meet. Two sessions that meet are one: a silence of exactly the gap ends none.
    #[must_use]
    pub fn touches(&self, other: &TimeWindow) -> bool {
        self.start_us <= other.end_us && other.start_us <= self.end_us
    }

    /// The shortest window over both.
    #[must_use]
    pub fn cover(&self, other: &TimeWindow) -> TimeWindow {
        TimeWindow {
            start_us: self.start_us.min(other.start_us),
            end_us: self.end_us.max(other.end_us),
        }
    }
}

/// Lengths that make no windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadWindows {
    /// A length of nothing.
    #[error("a window's size, hop or gap must be above 0, but one is {0} µs")]
    NotPositive(i64),
    /// An offset that says the same as a smaller one.
    #[error("an offset must be shorter than the hop of {hop_us} µs, but it is {offset_us} µs")]
    OffsetTooLarge {
        /// The offset.
        offset_us: i64,
        /// The distance from one window to the next.
        hop_us: i64,
    },
}

/// A kind of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigner(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A window of `size_us` starts every `hop_us`, one of them at `offset_us`.
    Aligned {
        size_us: i64,
        hop_us: i64,
        offset_us: i64,
    },
    Session {
        gap_us: i64,
    },
}

impl Assigner {
    /// Windows of `size_us`, one after the other, of which one starts at `offset_us`.
    ///
    /// # Errors
    /// When the size is not above 0, or the offset not shorter than it.
    pub const fn tumbling(size_us: i64, offset_us: i64) -> Result<Self, BadWindows> {
        Self::hopping(size_us, size_us, offset_us)
    }

    /// Windows of `size_us`, one every `hop_us`, of which one starts at `offset_us`. With a hop longer than the size there
    /// are times that are in no window.
    ///
    /// # Errors
    /// When size or hop are not above 0, or the offset is not shorter than the hop.
    pub const fn hopping(size_us: i64, hop_us: i64, offset_us: i64) -> Result<Self, BadWindows> {
        if size_us <= 0 {
            return Err(BadWindows::NotPositive(size_us));
        }
        if hop_us <= 0 {
            return Err(BadWindows::NotPositive(hop_us));
        }
        if offset_us <= -hop_us || offset_us >= hop_us {
            return Err(BadWindows::OffsetTooLarge { offset_us, hop_us });
        }
        Ok(Self(Kind::Aligned {
            size_us,
            hop_us,
            offset_us,
        }))
    }

    /// Windows that end after a silence longer than `gap_us`: each event opens one of that length, and windows that touch
    /// are merged.
    ///
    /// # Errors
    /// When the gap is not above 0.
    pub const fn session(gap_us: i64) -> Result<Self, BadWindows> {
        if gap_us <= 0 {
            return Err(BadWindows::NotPositive(gap_us));
        }
        Ok(Self(Kind::Session { gap_us }))
    }

    /// Whether windows that touch are one.
    #[must_use]
    pub const fn merges(&self) -> bool {
        matches!(self.0, Kind::Session { .. })
    }

    /// The windows of an event time, latest first.
    pub fn windows(&self, event_us: i64) -> impl Iterator<Item = TimeWindow> + use<> {
        // A session is the one window that starts with its event.
        let (size_us, hop_us, last_us) = match self.0 {
            Kind::Aligned {
                size_us,
                hop_us,
                offset_us,
            } => (size_us, hop_us, start_of(event_us, hop_us, offset_us)),
            Kind::Session { gap_us } => (gap_us, gap_us, event_us),
        };
        let starts = std::iter::successors(Some(last_us), move |start| start.checked_sub(hop_us));
        starts
            .map(move |start_us| TimeWindow {
                start_us,
                end_us: start_us.saturating_add(size_us),
            })
            .take_while(move |window| event_us < window.end_us)
    }
}

/// The latest start at or before `time` of windows that start every `hop`, one of them at `offset`; all in one unit.
#[must_use]
#[inline]
pub const fn start_of(time: i64, hop: i64, offset: i64) -> i64 {
    time.saturating_sub(time.saturating_sub(offset).rem_euclid(hop))
}
