//! Paths in a store.

use super::StoreError;

/// Leaves room for what a temporary name adds, within the 255 bytes that file systems allow.
const MAX_NAME_BYTES: usize = 200;

/// Checks the path of an object. What it allows means the same to every store, and cannot lead out of it.
pub(super) fn check(path: &str) -> Result<(), StoreError> {
    match fault(path) {
        None => Ok(()),
        Some(reason) => Err(StoreError::Path {
            path: path.to_owned(),
            reason,
        }),
    }
}

/// Checks a folder, where the empty path is the whole store.
pub(super) fn check_folder(path: &str) -> Result<(), StoreError> {
    if path.is_empty() { Ok(()) } else { check(path) }
}

/// Whether a file name is one that [`check`] allows in a path: others are none of ours.
pub(super) fn is_name(name: &str) -> bool {
    !name.contains('/') && fault(name).is_none()
}

fn fault(path: &str) -> Option<&'static str> {
    path.split('/').find_map(|name| {
        if name.is_empty() {
            Some("a name in it is empty")
        } else if name.starts_with('.') {
            Some("a name in it starts with a dot")
        } else if name.len() > MAX_NAME_BYTES {
            Some("a name in it is over 200 bytes")
        } else if !name.bytes().all(is_plain) {
            Some("a character in it is not allowed")
        } else {
            None
        }
    })
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}
