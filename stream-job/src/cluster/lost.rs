//! What a broken link means, and who is told.

use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};

/// Timely's receiving and sending threads panic with a message that begins like this; its authors promise to keep it.
const TIMELY_SAYS: &str = "timely communication error:";
/// Their names end with the number of the peer.
const TIMELY_THREADS: [&str; 2] = ["timely:recv-", "timely:send-"];

/// Addresses of the processes, by number. One cluster at a time lives in a process.
static ADDRESSES: RwLock<Vec<String>> = RwLock::new(Vec::new());
/// This process itself gives the cluster up, for a reason of its own.
static GIVEN_UP: AtomicBool = AtomicBool::new(false);

pub(super) fn remember(addresses: &[String]) {
    *ADDRESSES.write().unwrap_or_else(PoisonError::into_inner) = addresses.to_vec();
}

pub(super) fn give_up() {
    GIVEN_UP.store(true, Relaxed);
}

/// If this panic is that of a broken link, what to say of it. Never returns where the link was broken by this process
/// itself, which is ending with an error of its own.
#[must_use]
pub fn lost_peer(panic: &PanicHookInfo<'_>) -> Option<String> {
    let said = panic.payload_as_str()?;
    let thread = std::thread::current();
    let peer = peer_of(thread.name()?)?;
    let reason = said.strip_prefix(TIMELY_SAYS)?.trim();
    while GIVEN_UP.load(Relaxed) {
        std::thread::park();
    }
    let addresses = ADDRESSES.read().unwrap_or_else(PoisonError::into_inner);
    Some(message(
        peer,
        addresses.get(peer).map(String::as_str),
        reason,
    ))
}

fn peer_of(thread: &str) -> Option<usize> {
    let number = TIMELY_THREADS
        .iter()
        .find_map(|name| thread.strip_prefix(name))?;
    number.parse().ok()
}

fn message(peer: usize, address: Option<&str>, reason: &str) -> String {
    let address = address.unwrap_or("an unknown address");
    format!(
        "process {peer} at {address} is lost ({reason}); all processes restart from the checkpoint"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_of_timely_tell_which_peer_is_lost() {
        assert_eq!(peer_of("timely:recv-2"), Some(2));
        assert_eq!(peer_of("timely:send-10"), Some(10));
        assert_eq!(peer_of("timely:work-1"), None);
        let said = message(1, Some("127.0.0.1:7000"), "reading data: socket closed");
        assert_eq!(
            said,
            "process 1 at 127.0.0.1:7000 is lost (reading data: socket closed); all processes restart from the \
             checkpoint"
        );
    }
}
