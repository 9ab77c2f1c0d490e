//! Ctrl-C: the first ends the demo in order, the second at once.

use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::wait;

/// Exit code of a program that a Ctrl-C ended.
pub(super) const INTERRUPTED: u8 = 130;

/// Listens for SIGINT, SIGTERM and SIGHUP from now on. The first calls [`wait::interrupt`]; the second removes
/// `demo_env` and ends this process, and the watchdog and the kernel end all that it has started.
pub(super) fn listen(demo_env: PathBuf) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("listen for signals")?;
    // Taken before the thread starts: a Ctrl-C from here on is not lost.
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _runtime = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                        _ = hang_up.recv() => {}
                    }
                    if wait::interrupted() {
                        let _ = std::fs::remove_file(&demo_env);
                        std::process::exit(i32::from(INTERRUPTED));
                    }
                    wait::interrupt();
                }
            });
        })
        .context("start the thread for signals")?;
    Ok(())
}
