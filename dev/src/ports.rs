//! Ports on loopback.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// Below the range that Linux gives to outgoing connections (from 32768), so that none of those takes a port between
/// its choice and its use.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
const ATTEMPTS: u32 = 200;

/// Whether a port on loopback can be listened on now.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// `N` different ports that are free now. Another process may still take one: retry when the start fails for that.
///
/// # Errors
/// When no free port was found.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = hold_one()?;
        *port = listener.local_addr()?.port();
        // All are held until the last is chosen, so that they differ.
        held.push(listener);
    }
    Ok(ports)
}

/// The port wanted where it is free, else another one.
///
/// # Errors
/// When no free port was found.
pub fn free_or(wanted: u16) -> Result<u16> {
    if is_free(wanted) {
        return Ok(wanted);
    }
    free::<1>().map(|[port]| port)
}

fn hold_one() -> Result<TcpListener> {
    // Keyed by the system's randomness for each call: processes that start together look at different ports.
    let random = RandomState::new();
    for attempt in 0..ATTEMPTS {
        let offset = random.hash_one(attempt) % u64::from(RANGE.end - RANGE.start);
        let port = RANGE.start + offset as u16;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener);
        }
    }
    bail!(
        "no free port on 127.0.0.1 between {} and {}: end what listens there",
        RANGE.start,
        RANGE.end
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_taken_port_is_not_handed_out() {
        let [port] = free::<1>().unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(!is_free(port));
        assert_ne!(free_or(port).unwrap(), port);
    }

    #[test]
    fn ports_chosen_together_differ() {
        let mut ports = free::<8>().unwrap().to_vec();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }
}
