//! Epoch logs with other entries than were written.

#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::Value as Json;

/// A segment of a log with what `change` makes of each entry, without those of which it says no.
pub(crate) fn changed(log: &[u8], mut change: impl FnMut(&mut Json) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = log;
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let (frame, next) = after.split_at(length);
        let mut body = String::new();
        for line in std::str::from_utf8(frame).unwrap().lines() {
            let mut entry: Json = serde_json::from_str(line).unwrap();
            if change(&mut entry) {
                body.push_str(&entry.to_string());
                body.push('\n');
            }
        }
        if !body.is_empty() {
            out.extend((body.len() as u32).to_le_bytes());
            out.extend(crc32c::crc32c(body.as_bytes()).to_le_bytes());
            out.extend(body.into_bytes());
        }
        rest = next;
    }
    out
}
