//! One record as bytes. All numbers are little-endian.
//!
//! | bytes | what |
//! | --- | --- |
//! | u32 | length of the body |
//! | u32 | CRC-32 (IEEE) of the body |
//! | i64 | offset |
//! | i64 | timestamp, ms since 1970, -1 for none |
//! | i32 + bytes | key, length -1 for none |
//! | u32 | number of headers |
//! | u32 + bytes, i32 + bytes | for each header: name in UTF-8, and value, length -1 for none |
//! | i32 + bytes | payload, length -1 for none |

use crate::source::Record;

/// Bytes before a body: its length and its checksum.
pub const HEAD: usize = 8;
/// Bytes of the smallest body: offset, timestamp, no key, no headers, no payload.
pub const SMALLEST_BODY: usize = 28;
/// Largest body taken for real; a longer one is a damaged length. Kafka's own limit of a record is 2 GiB, ours 8 MiB.
pub const LARGEST_BODY: usize = 1 << 30;

/// Appends the frame of `record` to `out`.
///
/// # Errors
/// The record is larger than [`LARGEST_BODY`].
pub fn encode(record: &Record, out: &mut Vec<u8>) -> Result<(), String> {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    out.extend_from_slice(&record.offset.to_le_bytes());
    out.extend_from_slice(&record.timestamp_ms.to_le_bytes());
    put_optional(record.key.as_deref(), out)?;
    put_length(record.headers.len(), out)?;
    for (name, value) in &record.headers {
        put_length(name.len(), out)?;
        out.extend_from_slice(name.as_bytes());
        put_optional(value.as_deref(), out)?;
    }
    put_optional(record.payload.as_deref(), out)?;
    let body = &out[start + HEAD..];
    if body.len() > LARGEST_BODY {
        let reason = format!(
            "the record has {} bytes, more than {LARGEST_BODY}",
            body.len()
        );
        out.truncate(start);
        return Err(reason);
    }
    let length = u32::try_from(body.len()).map_err(|e| e.to_string())?;
    let crc = crc32fast::hash(body);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + HEAD].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn put_length(length: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let length = i32::try_from(length).map_err(|_| "longer than 2 GiB".to_owned())?;
    out.extend_from_slice(&length.to_le_bytes());
    Ok(())
}

fn put_optional(bytes: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), String> {
    match bytes {
        None => out.extend_from_slice(&(-1i32).to_le_bytes()),
        Some(bytes) => {
            put_length(bytes.len(), out)?;
            out.extend_from_slice(bytes);
        }
    }
    Ok(())
}

/// Length and checksum of the body that follows a head.
#[must_use]
pub fn decode_head(head: [u8; HEAD]) -> (usize, u32) {
    let [a, b, c, d, e, f, g, h] = head;
    (
        u32::from_le_bytes([a, b, c, d]) as usize,
        u32::from_le_bytes([e, f, g, h]),
    )
}

/// Reads a body whose checksum has been found right.
///
/// # Errors
/// What does not fit, with the byte of the body where it was found.
pub fn decode_body(body: &[u8]) -> Result<Record, String> {
    let mut cursor = Cursor { body, at: 0 };
    let offset = i64::from_le_bytes(cursor.array("offset")?);
    let timestamp_ms = i64::from_le_bytes(cursor.array("timestamp")?);
    let key = cursor.optional("key")?.map(<[u8]>::to_vec);
    let count = u32::from_le_bytes(cursor.array("number of headers")?);
    let mut headers = Vec::with_capacity((count as usize).min(body.len() / HEAD));
    for _ in 0..count {
        let length = u32::from_le_bytes(cursor.array("header name")?) as usize;
        let name = std::str::from_utf8(cursor.bytes(length, "header name")?)
            .map_err(|_| {
                format!(
                    "the header name at byte {} of the body is not UTF-8",
                    cursor.at
                )
            })?
            .to_owned();
        headers.push((name, cursor.optional("header value")?.map(<[u8]>::to_vec)));
    }
    let payload = cursor.optional("payload")?.map(<[u8]>::to_vec);
    if cursor.at != body.len() {
        return Err(format!(
            "{} bytes follow the payload",
            body.len() - cursor.at
        ));
    }
    Ok(Record {
        offset,
        timestamp_ms,
        key,
        headers,
        payload,
    })
}

struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn bytes(&mut self, length: usize, what: &str) -> Result<&'a [u8], String> {
        let rest = &self.body[self.at..];
        if length > rest.len() {
            return Err(format!(
                "the {what} at byte {} of the body needs {length} bytes, {} are left",
                self.at,
                rest.len()
            ));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let bytes = self.bytes(N, what)?;
        bytes
            .try_into()
            .map_err(|_| format!("the {what} is cut off"))
    }

    fn optional(&mut self, what: &str) -> Result<Option<&'a [u8]>, String> {
        let length = i32::from_le_bytes(self.array(what)?);
        match usize::try_from(length) {
            Ok(length) => self.bytes(length, what).map(Some),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(format!("the {what} has length {length}")),
        }
    }
}
