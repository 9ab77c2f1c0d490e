//! The binary `stream-job`.

use std::process::ExitCode;

use clap::Parser as _;
use stream_job::ops::{cli, job};

fn main() -> ExitCode {
    keep_freed_memory();
    end_on_panic();
    match cli::main(cli::Cli::parse()) {
        Ok(()) => ExitCode::from(job::exit::DONE),
        Err(error) => {
            eprintln!("stream-job: {error:#}");
            ExitCode::from(job::exit_code(&error))
        }
    }
}

/// A worker that panics would leave the others waiting for it for ever. Ending the process at once is safe: the next
/// start goes on from the epoch log.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        eprintln!(
            "stream-job: an invariant is broken, see above; the process ends, and a restart goes on from the epoch log"
        );
        std::process::abort();
    }));
}

/// Epochs allocate and free the same megabytes again and again. By default glibc gives large blocks back to the kernel at
/// each free, and pays for their pages at each allocation: a tenth of the job's CPU time. A global allocator of our own
/// would do too, but functions loaded as libraries share the host's.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_freed_memory() {
    // The most that glibc takes.
    const MMAP_FROM: libc::c_int = 32 << 20;
    const AT_ONCE: libc::c_int = 16 << 20;
    const ARENAS: libc::c_int = 4;
    // SAFETY: sets four numbers before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_FROM);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 8 * AT_ONCE);
        libc::mallopt(libc::M_TOP_PAD, AT_ONCE);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_freed_memory() {}
