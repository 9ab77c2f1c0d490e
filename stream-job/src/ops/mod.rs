//! Settings, command line, HTTP, metrics, and the supervisor of a job's processes.

pub mod allocator;
mod background;
pub mod bounds;
pub mod cli;
pub mod client;
pub mod control;
pub mod failpoint;
pub mod http;
pub mod job;
pub mod metrics;
pub mod panics;
pub mod process_api;
pub mod record;
pub mod remote;
pub mod replay;
pub mod settings;
pub mod status;
pub mod supervise;
