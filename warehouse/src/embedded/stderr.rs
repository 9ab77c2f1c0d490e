//! What the engine writes to standard error while it starts: the only place where it says why it could not.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;

/// Runs `action` with file descriptor 2 pointing to a temporary file, and returns what was written there.
///
/// Lines that other threads log meanwhile are caught too; when `action` succeeds they are written on to the real one.
pub(crate) fn captured<T>(action: impl FnOnce() -> Option<T>) -> (Option<T>, String) {
    let Some((file, saved)) = redirect() else {
        return (action(), String::new());
    };
    let outcome = action();
    // SAFETY: `saved` is a descriptor that we own; it takes the place of 2 again, and is closed once.
    unsafe {
        libc::dup2(saved, 2);
        libc::close(saved);
    }
    let text = read_back(file);
    if outcome.is_some() {
        // Nothing can be done when standard error is closed.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    (outcome, text)
}

/// Points descriptor 2 to a nameless file; returns the file and a copy of the old descriptor.
fn redirect() -> Option<(File, i32)> {
    let file = nameless_file()?;
    // SAFETY: plain descriptor calls on descriptors that are open.
    unsafe {
        let saved = libc::fcntl(2, libc::F_DUPFD_CLOEXEC, 3);
        if saved < 0 {
            return None;
        }
        if libc::dup2(file.as_raw_fd(), 2) < 0 {
            libc::close(saved);
            return None;
        }
        Some((file, saved))
    }
}

fn nameless_file() -> Option<File> {
    let path = std::env::temp_dir().join(format!("warehouse-{}.stderr", std::process::id()));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .ok()?;
    std::fs::remove_file(&path).ok()?;
    Some(file)
}

fn read_back(mut file: File) -> String {
    let mut bytes = Vec::new();
    if file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut bytes))
        .is_err()
    {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
