//! Frames: `u32 LE body length, u32 LE CRC-32C of the body, body`, the body being entries as JSON lines.

use crate::checkpoint::record::Entry;

use super::EpochLogError;

/// Length and checksum.
pub(super) const HEADER_BYTES: usize = 8;
/// A body is at most this long; a length above it is damage.
pub(super) const MAX_BODY_BYTES: usize = 256 << 20;

/// Encodes entries as one frame.
pub(super) fn encode(entries: &[Entry]) -> Result<Vec<u8>, EpochLogError> {
    let mut frame = vec![0; HEADER_BYTES];
    for entry in entries {
        serde_json::to_writer(&mut frame, entry).expect("entries have only text keys");
        frame.push(b'\n');
    }
    let body = &frame[HEADER_BYTES..];
    if body.len() > MAX_BODY_BYTES {
        return Err(EpochLogError::TooLarge {
            bytes: body.len(),
            limit: MAX_BODY_BYTES,
        });
    }
    let (length, checksum) = (body.len() as u32, crc32c::crc32c(body));
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Ok(frame)
}

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// Nothing: the bytes are at their end.
    End,
    /// A whole frame.
    Frame {
        /// Its body.
        body: &'a [u8],
        /// Bytes after it.
        rest: &'a [u8],
    },
    /// No whole frame, for this reason.
    Broken(String),
}

/// Looks for a frame at the start of `bytes`.
pub(super) fn find(bytes: &[u8]) -> Found<'_> {
    if bytes.is_empty() {
        return Found::End;
    }
    let Some((header, after)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Found::Broken(format!("{} bytes where a frame starts", bytes.len()));
    };
    let [l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let checksum = u32::from_le_bytes([c0, c1, c2, c3]);
    if length == 0 || length > MAX_BODY_BYTES {
        return Found::Broken(format!("a frame of length {length}"));
    }
    let Some((body, rest)) = after.split_at_checked(length) else {
        return Found::Broken(format!(
            "a frame of {length} bytes, of which {} are there",
            after.len()
        ));
    };
    let computed = crc32c::crc32c(body);
    if computed != checksum {
        return Found::Broken(format!(
            "checksum {computed:08x} where {checksum:08x} is recorded"
        ));
    }
    Found::Frame { body, rest }
}

/// Whether any whole frame follows in `bytes`, at any position: then what is before it is damage, not a torn end.
pub(super) fn any_frame_follows(bytes: &[u8]) -> bool {
    let starts =
        memchr::memchr_iter(b'{', bytes).filter_map(|brace| brace.checked_sub(HEADER_BYTES));
    starts
        .into_iter()
        .any(|start| start > 0 && matches!(find(&bytes[start..]), Found::Frame { .. }))
}

/// Parses a body.
pub(super) fn entries(body: &[u8]) -> Result<Vec<Entry>, String> {
    serde_json::Deserializer::from_slice(body)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| format!("an entry cannot be read: {error}"))
}
