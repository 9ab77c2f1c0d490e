//! The job's processes killed, at random and at every step that a restart could see, against a real warehouse; and
//! replays that must not go on.

#![allow(clippy::unwrap_used, missing_docs)]

mod against_reference;
mod divergence;
#[path = "../log_entries/mod.rs"]
mod log_entries;
mod matrix;
mod random;
#[path = "../reference/mod.rs"]
mod reference;
mod runs;
#[path = "../stage/mod.rs"]
mod stage;
#[path = "../warehouse_process/mod.rs"]
mod warehouse_process;
// Of the crate that runs whole systems, which depends on this one.
#[path = "../../../dev/src/chaos/whole_log.rs"]
mod whole_log;
