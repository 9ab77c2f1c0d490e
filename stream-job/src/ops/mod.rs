//! Settings, command line, HTTP and metrics.

pub mod cli;
pub mod http;
pub mod job;
pub mod metrics;
pub mod record;
pub mod settings;
