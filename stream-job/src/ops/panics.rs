//! A panic ends the process.

use super::job::exit;
use crate::cluster::lost_peer;

/// A worker that panics would leave the others waiting for it for ever, so the process ends at once. That is safe: the
/// next start goes on from the epoch log. A broken link to another process, which timely reports by a panic too, ends
/// it with an exit code of its own.
pub fn end_the_process() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(lost) = lost_peer(panic) {
            eprintln!("stream-job: {lost}");
            // SAFETY: takes a number and does not return. What `exit` would run, such as the destructors of C
            // libraries, must not run beside threads that are at work.
            unsafe { libc::_exit(exit::PEER_LOST.into()) }
        }
        report(panic);
        eprintln!(
            "stream-job: an invariant is broken, see above; the process ends, and a restart goes on from the epoch log"
        );
        std::process::abort();
    }));
}
