//! What operators do with a job, and what they keep of it: stops, and state that an earlier release has written.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../kills/against_reference.rs"]
mod against_reference;
mod drain;
#[path = "../log_entries/mod.rs"]
mod log_entries;
mod object_store;
mod recorded;
#[path = "../reference/mod.rs"]
mod reference;
#[path = "../kills/runs.rs"]
mod runs;
#[path = "../stage/mod.rs"]
mod stage;
mod time_zone;
#[path = "../warehouse_process/mod.rs"]
mod warehouse_process;
