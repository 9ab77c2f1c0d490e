//! Spanflow's dataflow job: spans in from Kafka or a recording, layered tables out to ClickHouse, exactly once.
//!
//! One span's way through this crate follows the modules in this order:
//! [`source`] → [`decode`] → [`span`] → [`dataflow`] → [`sink`], with [`checkpoint`] (the epoch log) beside them
//! and [`ops`] (settings, command line, HTTP, metrics) around them.

pub mod checkpoint;
pub mod cluster;
pub mod dataflow;
pub mod decode;
pub mod metric;
pub mod ops;
pub mod sink;
pub mod source;
pub mod span;
