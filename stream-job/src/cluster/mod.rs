//! Several processes, one dataflow: timely's own cluster mode behind a handshake of ours.
//!
//! ```text
//! process 1 ─ preamble, nonces, proof, Hello ─> process 0     everybody joins the leader first,
//!           <─ Joined … Wait … Welcome + start ─               and learns from it what to do;
//! process 2 ─ preamble, nonces, proof, Hello ─> process 1     then the others link up in pairs;
//! one TCP stream a pair ─> timely
//! ```
//!
//! Timely trusts whoever connects. So both sides prove that they know the job's secret (it never travels) and that they
//! are of one job, code version, settings, shape, and generation. Who is not is refused by name, on both sides, and the
//! listener goes on waiting for the right one. The proof keeps strangers and stale processes out; it does not encrypt
//! what follows, so processes on several machines belong in a private network.
//!
//! A dataflow cannot go on without one of its processes. A lost link ends every process, with exit code
//! [`PEER_LOST`](crate::ops::job::exit::PEER_LOST), and all of them start again from the last checkpoint.

mod config;
mod door;
mod execute;
mod frame;
mod gather;
mod handshake;
mod hello;
mod join;
mod lost;
mod proof;
mod shape;
mod socket;

use std::net::TcpListener;

pub use config::ClusterConfig;
pub use execute::{Ended, Links};
pub use gather::Gathering;
pub use hello::{Identity, Refusal};
pub use join::{Joined, follow};
pub use lost::lost_peer;
pub use proof::Secret;
pub use shape::{Hosts, HostsError, Shape};

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// This process's own address is of no use.
    #[error("process {process} cannot listen on {address}: {source}")]
    Listen {
        /// This process.
        process: usize,
        /// Where it was to listen.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process does not take this one in.
    #[error("process {process} at {address} refused this process: {reason}")]
    Refused {
        /// Who refused.
        process: usize,
        /// Its address.
        address: String,
        /// Why.
        reason: Refusal,
    },
    /// Not all processes came.
    #[error("no cluster after {seconds:.0} s (setting `cluster_timeout`): {missing}")]
    Missing {
        /// How long was waited.
        seconds: f64,
        /// Who is missing, and what was last heard.
        missing: String,
    },
    /// One went away while the cluster came together.
    #[error("process {process} at {address} was lost while the cluster came together: {reason}")]
    Lost {
        /// Who.
        process: usize,
        /// Its address.
        address: String,
        /// What happened to the link.
        reason: String,
    },
    /// The job was asked to stop before there was a cluster.
    #[error("stopped while waiting for the other processes")]
    Stopped,
    /// The system refuses threads, random numbers or socket options.
    #[error("the cluster could not be set up: {0}")]
    System(#[from] std::io::Error),
}

impl ClusterError {
    /// Whether the cure is to start all processes again, rather than to set something right.
    #[must_use]
    pub fn is_for_a_restart(&self) -> bool {
        matches!(
            self,
            ClusterError::Missing { .. } | ClusterError::Lost { .. }
        )
    }
}

/// Opens the port of a process. Done before anything that takes time, so that the others find it.
///
/// # Errors
/// If the address is taken or is none of this machine's.
pub fn listen(config: &ClusterConfig) -> Result<TcpListener, ClusterError> {
    let address = config.hosts.address(config.process);
    let failed = |source| ClusterError::Listen {
        process: config.process,
        address: address.to_owned(),
        source,
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The runtime that the handshake runs on.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

#[cfg(test)]
mod tests;
