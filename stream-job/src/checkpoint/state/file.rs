//! State files: one a worker and checkpoint, a section an operator.
//!
//! ```text
//! "SPANST01", u32 sections, then a section each: u16 length of uid, uid, u16 version, u64 entries, u64 bytes, entries
//! an entry: u16 group, u8 kind (1 put, 2 delete), u32 key bytes, u32 value bytes, key, value
//! ```
//! Integers are little-endian; keys and values are postcard's. The whole file's CRC-32C stands in the manifest.

use serde::Serialize;

use super::{Entry, Section, StateError};

const MAGIC: &[u8; 8] = b"SPANST01";
const ENTRY_HEADER_BYTES: usize = 11;

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Put = 1,
    Delete = 2,
}

pub(super) fn write_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
    body: &mut Vec<u8>,
    group: u16,
    kind: Kind,
    key: &K,
    value: Option<&V>,
) {
    let header = body.len();
    body.extend_from_slice(&[0; ENTRY_HEADER_BYTES]);
    write(body, key);
    let key_bytes = body.len() - header - ENTRY_HEADER_BYTES;
    if let Some(value) = value {
        write(body, value);
    }
    let value_bytes = body.len() - header - ENTRY_HEADER_BYTES - key_bytes;
    let length = |bytes: usize| {
        u32::try_from(bytes)
            .expect("a key or value is far below 4 GiB")
            .to_le_bytes()
    };
    body[header..header + 2].copy_from_slice(&group.to_le_bytes());
    body[header + 2] = kind as u8;
    body[header + 3..header + 7].copy_from_slice(&length(key_bytes));
    body[header + 7..header + 11].copy_from_slice(&length(value_bytes));
}

fn write<T: Serialize + ?Sized>(body: &mut Vec<u8>, value: &T) {
    let taken = std::mem::take(body);
    *body = postcard::to_extend(value, taken).expect("state has only serializable types");
}

/// Writes a state file into `file`, which is empty; returns how many bytes of it lie in rewritten groups.
pub fn encode(sections: Vec<Section>, file: &mut Vec<u8>) -> u64 {
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&(sections.len() as u32).to_le_bytes());
    let mut rewritten_bytes = 0;
    for section in sections {
        file.extend_from_slice(&(section.uid.len() as u16).to_le_bytes());
        file.extend_from_slice(section.uid.as_bytes());
        file.extend_from_slice(&section.version.to_le_bytes());
        let lengths = file.len();
        file.extend_from_slice(&[0; 16]);
        let start = file.len();
        let (entries, rewritten) = section.finish(file);
        let bytes = (file.len() - start) as u64;
        file[lengths..lengths + 8].copy_from_slice(&entries.to_le_bytes());
        file[lengths + 8..start].copy_from_slice(&bytes.to_le_bytes());
        rewritten_bytes += rewritten;
    }
    rewritten_bytes
}

/// A state file in memory.
#[derive(Clone, Debug)]
pub struct StateFile {
    /// Its path in the store.
    pub path: String,
    bytes: Vec<u8>,
    sections: Vec<Place>,
}

#[derive(Clone, Debug)]
struct Place {
    uid: String,
    version: u16,
    entries: u64,
    start: usize,
    end: usize,
}

impl StateFile {
    /// Reads where the sections are.
    ///
    /// # Errors
    /// If the bytes are no whole state file.
    pub fn open(path: String, bytes: Vec<u8>) -> Result<StateFile, StateError> {
        match sections_of(&bytes) {
            Ok(sections) => Ok(StateFile {
                path,
                bytes,
                sections,
            }),
            Err(reason) => Err(StateError::Damaged { file: path, reason }),
        }
    }

    /// The operators that it has state of, with the version of their formats.
    pub fn operators(&self) -> impl Iterator<Item = (&str, u16)> {
        self.sections
            .iter()
            .map(|place| (place.uid.as_str(), place.version))
    }

    /// Entries of an operator, with the version of their format.
    pub(super) fn entries(
        &self,
        uid: &str,
    ) -> impl Iterator<Item = Result<(u16, Kind, Entry<'_>), StateError>> {
        let mine = self.sections.iter().filter(move |place| place.uid == uid);
        mine.flat_map(move |place| {
            let mut rest = &self.bytes[place.start..place.end];
            let mut left = place.entries;
            std::iter::from_fn(move || {
                if left == 0 && rest.is_empty() {
                    return None;
                }
                let found = if left == 0 {
                    None
                } else {
                    split_entry(&mut rest)
                };
                left = left.saturating_sub(1);
                let Some((kind, entry)) = found else {
                    (left, rest) = (0, &[]);
                    return Some(Err(StateError::Damaged {
                        file: self.path.clone(),
                        reason: format!("the entries of `{}` do not add up", place.uid),
                    }));
                };
                Some(Ok((place.version, kind, entry)))
            })
        })
    }
}

fn split_entry<'a>(rest: &mut &'a [u8]) -> Option<(Kind, Entry<'a>)> {
    let (header, after) = rest.split_first_chunk::<ENTRY_HEADER_BYTES>()?;
    let [g0, g1, kind, k0, k1, k2, k3, v0, v1, v2, v3] = *header;
    let kind = match kind {
        1 => Kind::Put,
        2 => Kind::Delete,
        _ => return None,
    };
    let key_bytes = u32::from_le_bytes([k0, k1, k2, k3]) as usize;
    let value_bytes = u32::from_le_bytes([v0, v1, v2, v3]) as usize;
    let (key, after) = after.split_at_checked(key_bytes)?;
    let (value, after) = after.split_at_checked(value_bytes)?;
    *rest = after;
    let group = u16::from_le_bytes([g0, g1]);
    Some((kind, Entry { group, key, value }))
}

fn sections_of(bytes: &[u8]) -> Result<Vec<Place>, String> {
    let mut at = 0;
    let mut take = |length: usize, what: &str| {
        let piece = bytes
            .get(at..)
            .and_then(|rest| rest.get(..length))
            .ok_or_else(|| format!("it ends within {what}, at byte {}", bytes.len()))?;
        at += length;
        Ok::<_, String>((piece, at))
    };
    let number = |piece: &[u8]| {
        piece
            .iter()
            .rev()
            .fold(0u64, |sum, &byte| (sum << 8) | u64::from(byte))
    };
    if take(MAGIC.len(), "its first bytes")?.0 != MAGIC {
        return Err("it does not begin as a state file does".to_owned());
    }
    let count = number(take(4, "the number of sections")?.0);
    let mut sections = Vec::new();
    for _ in 0..count {
        let uid_bytes = number(take(2, "a section's name")?.0) as usize;
        let uid = String::from_utf8_lossy(take(uid_bytes, "a section's name")?.0).into_owned();
        let version = number(take(2, "a section's version")?.0) as u16;
        let entries = number(take(8, "a section's length")?.0);
        let length = usize::try_from(number(take(8, "a section's length")?.0))
            .map_err(|_| "a section's length is out of range".to_owned())?;
        let (_, end) = take(length, "a section")?;
        sections.push(Place {
            uid,
            version,
            entries,
            start: end - length,
            end,
        });
    }
    match take(1, "") {
        Ok(_) => Err("something follows its last section".to_owned()),
        Err(_) => Ok(sections),
    }
}
