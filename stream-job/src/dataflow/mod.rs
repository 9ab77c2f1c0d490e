//! The timely dataflow: epochs, deduplication, windows, traces, sessions, anomalies, top lists.
//!
//! A span's way: `source` releases records by epoch → `scan` walks and fingerprints → [`dedup`] judges → [`admit`]
//! makes rows and partial sums → [`window`], [`trace`], [`session`], [`anomaly`], [`top_n`], [`freshness`] keep what is
//! corrected later → [`collect`] cuts the blocks of their tables. `control` and [`coordinator`] agree on the epochs.

pub mod admit;
pub mod anomaly;
pub mod buckets;
mod build;
pub mod collect;
mod control;
pub mod coordinator;
pub mod dedup;
mod detector;
pub mod epochs;
pub mod fatal;
#[cfg(test)]
mod fixtures;
pub mod freshness;
#[doc(hidden)]
pub mod harness;
pub mod landing;
mod memory;
pub mod output;
mod plan;
mod rules;
mod run;
mod scan;
pub mod session;
mod source;
mod start;
pub mod top_n;
pub mod trace;
pub mod window;

pub use start::run;
