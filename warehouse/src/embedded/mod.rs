//! The ClickHouse engine itself, in this process: libchdb behind a bounded pool of connections.
//!
//! A process holds one engine, and an engine holds one data folder. All calls block: async code runs them through
//! `tokio::task::spawn_blocking`.

mod connection;
mod engine;
mod error;
mod ffi;
mod library;
mod lock;
mod pool;
mod stderr;

pub use connection::{Connection, Insert, Output, Progress, Query, StatementClass, Stream};
pub use engine::{Engine, EngineOptions, default_memory_bytes};
pub use error::{EngineError, Exception};
pub use library::{Package, VERSION, cache_folder, library_path};
pub use pool::{Admission, Lease};
