//! A trace as a tree that people can read: steps with start offsets, durations, bars, tokens and errors.

mod find;
mod render;
mod text;
mod tree;

pub use find::{TraceError, find};
pub use render::{Style, render};
pub use tree::{Line, lines};

use serde::Deserialize;

/// What of a span the tree shows. Times are µs since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Span {
    /// Span id.
    pub span_id: String,
    /// Span id of the parent, empty at a root.
    pub parent_span_id: String,
    /// Start, µs.
    pub start_us: i64,
    /// End, µs.
    pub end_us: i64,
    /// Duration, µs.
    pub duration_us: u64,
    /// Agent.
    pub agent: String,
    /// Name of the span.
    pub name: String,
    /// Step type.
    pub step_type: String,
    /// Tool, empty where none.
    pub tool_name: String,
    /// Model, empty where none.
    pub model: String,
    /// `ok`, `error` or `unset`.
    pub status: String,
    /// Kind of the error.
    pub error_type: String,
    /// Message of the error.
    pub error_message: String,
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
}

/// A trace with its spans in no particular order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Trace id.
    pub trace_id: String,
    /// Session, empty where it is not known yet.
    pub session_id: String,
    /// The spans that have landed.
    pub spans: Vec<Span>,
}
