//! Spanflow's warehouse: the tables of every layer and their migrations, the checks that their counts agree, the embedded
//! ClickHouse engine with its HTTP gateway, and a client that can't tell the two kinds of server apart.

pub mod client;
pub mod embedded;
pub mod fetch;
pub mod file_lock;
pub mod gateway;
pub mod migrate;
pub mod quote;
pub mod reconcile;
pub mod schema;
pub mod trace;

pub use client::{Client, ClientOptions};
pub use file_lock::{FileLock, LockError};
pub use migrate::{MigrateError, MigrateOptions, Report, migrate};
pub use reconcile::{ReconcileOptions, Reconciliation, reconcile};
