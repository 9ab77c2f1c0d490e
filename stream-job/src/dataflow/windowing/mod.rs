//! Windows over event time: which windows a time falls into, when they close, and what is late. Nothing here knows of
//! timely but [`WindowByKey`].
//!
//! The rules are those of Apache Flink's `WindowOperator` (`make oracle` holds them against it), with one difference in
//! what is late: see [`LateRule`]. A watermark here is exclusive: "nothing older than this is expected".
//! docs/windows.md has every rule and its cases.

mod assign;
mod keyed;
mod lifecycle;
mod operator;

pub use assign::{Assigner, BadWindows, TimeWindow, start_of};
pub use keyed::{Accumulator, Event, KeyedWindows, Told};
pub use lifecycle::{LateRule, Lifecycle, Stage};
pub use operator::WindowByKey;

#[cfg(test)]
#[path = "cases_tests.rs"]
mod cases;
#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
