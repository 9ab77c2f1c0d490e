//! What is done to a window operator, and what it does: the lines that the two sides exchange.

use serde::{Deserialize, Serialize};
use stream_job::dataflow::windowing::{Assigner, BadWindows, LateRule};

/// A whole transcript. Times have no unit here: no rule depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transcript {
    /// Its number.
    pub id: u64,
    /// Which windows.
    pub windows: Windows,
    /// Allowed lateness.
    pub lateness: i64,
    /// When windows fire besides at their end.
    pub trigger: Trigger,
    /// What is late.
    pub late: Late,
    /// Whether the job's own windows are run as well; they are among these.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_job: bool,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// Which windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Windows {
    /// One after the other.
    Tumbling {
        /// Length.
        size: i64,
        /// A start.
        offset: i64,
    },
    /// One every `hop`.
    Hopping {
        /// Length.
        size: i64,
        /// From start to start.
        hop: i64,
        /// A start.
        offset: i64,
    },
    /// Merging.
    Session {
        /// The longest silence within one.
        gap: i64,
    },
}

impl Windows {
    /// Ours of this kind.
    ///
    /// # Errors
    /// When there are none of these lengths.
    pub fn assigner(self) -> Result<Assigner, BadWindows> {
        match self {
            Windows::Tumbling { size, offset } => Assigner::tumbling(size, offset),
            Windows::Hopping { size, hop, offset } => Assigner::hopping(size, hop, offset),
            Windows::Session { gap } => Assigner::session(gap),
        }
    }
}

/// When windows fire besides at their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// On what comes late: Flink's default.
    EventTime,
    /// On every element: early firings, too.
    EveryElement,
}

/// What is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Late {
    /// As the job has it.
    ByEvent,
    /// As Flink has it.
    ByWindow,
}

impl Late {
    /// Our name for it.
    #[must_use]
    pub fn rule(self) -> LateRule {
        match self {
            Late::ByEvent => LateRule::ByEvent,
            Late::ByWindow => LateRule::ByWindow,
        }
    }
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Step {
    /// Nothing older is expected any more.
    Watermark {
        /// The first time that is still expected.
        watermark: i64,
    },
    /// An element comes.
    Element {
        /// Its key.
        key: String,
        /// Its event time.
        time: i64,
        /// Its number in the transcript, below 64.
        element: u64,
    },
}

/// What an operator did in a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The transcript's number.
    pub id: u64,
    /// What it did in each step.
    pub steps: Vec<Done>,
}

/// What an operator did in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Done {
    /// Windows that fired.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fired: Vec<Fired>,
    /// Windows that were merged away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Window>,
    /// Windows that became final.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Window>,
    /// Elements that were late.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<u64>,
}

impl Done {
    /// In an order of its own: within a step, the order of firings means nothing.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.fired.sort();
        self.gone.sort();
        self.dropped.sort();
        self.late.sort_unstable();
        self
    }
}

/// A window of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Window {
    /// The key.
    pub key: String,
    /// Its start.
    pub start: i64,
    /// Its end.
    pub end: i64,
}

/// A window that fired.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fired {
    /// Which.
    #[serde(flatten)]
    pub window: Window,
    /// The elements in it, by number.
    pub elements: Vec<u64>,
}
