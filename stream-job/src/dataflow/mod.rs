//! The timely dataflow: epochs, deduplication, windows, traces, sessions, anomalies, top lists.
//!
//! A span's way: `source` releases records by epoch → `scan` walks and fingerprints → [`dedup`] judges → [`admit`]
//! makes rows and partial sums → [`window`], [`trace`], [`session`], [`user_day`], [`anomaly`], [`top_n`], [`freshness`] keep what is
//! corrected later → [`rows`] → [`collect`] cuts the blocks of their tables. `control` and [`coordinator`] agree on the epochs.

pub mod admit;
pub mod align;
pub mod anomaly;
pub mod buckets;
mod build;
pub mod collect;
mod control;
pub mod coordinator;
pub mod dedup;
mod detector;
pub mod edge;
pub mod epochs;
pub mod fatal;
mod fit;
#[cfg(test)]
pub(crate) mod fixtures;
mod fork;
pub mod freshness;
pub mod graph;
#[doc(hidden)]
pub mod harness;
mod keeper;
mod keyed;
pub mod landing;
mod launch;
mod membership;
mod memory;
mod missing;
pub mod output;
mod own_log;
pub mod owners;
mod packing;
mod pass;
mod plan;
mod points;
mod prepare;
pub mod processes;
mod progress;
pub mod replays;
pub mod resource;
mod resume;
pub mod rows;
mod rules;
mod run;
mod scan;
pub mod session;
mod source;
mod spans;
mod start;
pub mod top_n;
pub mod trace;
pub mod trace_state;
pub mod trace_summary;
pub mod user_day;
pub mod window;
pub mod windowing;
mod windows_only;

pub use plan::workers_of;
pub(crate) use prepare::target_of;
pub(crate) use rules::decode_options;
pub use start::run;

use crate::ops::job::Shutdown;
use crate::ops::settings::Settings;

/// Finds the source as a run does, missing topics made, and tells how many partitions it has.
///
/// # Errors
/// What keeps a run from reading it; or `shutdown`, as long as the broker does not answer.
pub fn find_source(settings: &Settings, shutdown: &Shutdown) -> anyhow::Result<usize> {
    plan::SourcePlan::find(settings, shutdown).map(|(_, positions)| positions.len())
}
