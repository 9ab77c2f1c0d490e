//! Starts and stops Spanflow's parts on one machine, each on free ports in a folder of its own: Apache Kafka, the
//! embedded warehouse, the stream job and simulated agents. `make demo`, the integration tests and the benchmarks
//! all stand on this crate.
//!
//! Everything here is blocking and every wait has a limit. [`System`] starts the parts together; [`kafka::Broker`],
//! [`warehouse::Warehouse`], [`job::Job`] and [`simulator::Simulator`] are the parts alone. Every process that is
//! started ends with the one that started it, even when that one is killed with `kill -9` ([`process`]).

pub mod bench;
pub mod chaos;
pub mod cost;
pub mod demo;
pub mod drain;
pub mod generate;
pub mod http;
pub mod job;
pub mod kafka;
pub mod oracle;
pub mod paths;
pub mod ports;
pub mod process;
pub mod simulator;
pub mod sql;
pub mod system;
pub mod wait;
pub mod warehouse;

pub use system::{System, SystemOptions};
