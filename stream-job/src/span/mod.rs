//! What a span is: the borrowed view of what was sent ([`view`]), and the clean span that lands ([`clean`](mod@clean)).

pub mod clean;
mod cleaning;
mod convention;
pub mod fingerprint;
pub mod validate;
pub mod view;

pub(crate) use cleaning::agent;
pub use cleaning::{CleanSettings, clean};
pub use fingerprint::fingerprint;
pub use validate::{SpanReject, clean_times, validate};
