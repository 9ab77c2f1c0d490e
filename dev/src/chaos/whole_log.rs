//! Keeps every segment of an epoch log that is pruned while it is written.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A segment lives for a checkpoint at the least, which is much longer.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Gives every segment a second name as soon as it is there: what is deleted by the first one is still there by the
/// second, and both grow.
#[derive(Debug)]
pub(crate) struct WholeLog {
    log: PathBuf,
    kept: PathBuf,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl WholeLog {
    /// Keeps the segments of the folder `log`, which need not be there yet, in the new folder `kept` on the same disk.
    ///
    /// # Errors
    /// When the folder or the thread can't be made.
    pub(crate) fn of(log: PathBuf, kept: PathBuf) -> io::Result<WholeLog> {
        fs::create_dir_all(&kept)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (from, to, stopped) = (log.clone(), kept.clone(), stop.clone());
        let thread = std::thread::Builder::new()
            .name("whole-log".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    link_all(&from, &to)?;
                    std::thread::sleep(LOOK_EVERY);
                }
                Ok(())
            })?;
        Ok(WholeLog {
            log,
            kept,
            stop,
            thread,
        })
    }

    /// The folder with all segments, once nobody writes to the log any more.
    ///
    /// # Errors
    /// When a segment could not be kept.
    pub(crate) fn end(self) -> io::Result<PathBuf> {
        self.stop.store(true, Ordering::Relaxed);
        let kept = self.thread.join();
        kept.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        link_all(&self.log, &self.kept)?;
        Ok(self.kept)
    }
}

fn link_all(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_string_lossy().ends_with(".log") {
            continue;
        }
        match fs::hard_link(entry.path(), to.join(name)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            // Pruned since the folder was listed: it is kept already.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            linked => linked?,
        }
    }
    Ok(())
}
