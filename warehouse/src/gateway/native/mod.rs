//! Native blocks for the revision of the protocol that a client asks for with `client_protocol_version`.
//!
//! The engine writes blocks for revision 0: columns, rows, then name, type and data of each column. A server adds a
//! `BlockInfo` in front of a block for any later revision, and, from 54454 on, a byte after each column's type that
//! says whether a special serialization is used (0: no). To put that byte in, the end of each column has to be found.

mod column;
mod types;

use bytes::{BufMut, Bytes, BytesMut};

use super::format::read_varint;
use crate::embedded::Exception;
use types::Type;

/// `BlockInfo`: field 1 is_overflows = 0, field 2 bucket_num = -1, end.
const BLOCK_INFO: [u8; 8] = [1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0];
/// The first revision with the byte for special serializations (`DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION`).
const CUSTOM_SERIALIZATION: u32 = 54454;

/// Rewrites blocks of revision 0, one after the other, as a server writes them for `revision` (not 0).
///
/// Fails with code 48 on a column whose end can't be found (JSON, Dynamic, AggregateFunction), unless it is the last.
pub(crate) fn for_revision(blocks: &Bytes, revision: u32) -> Result<Bytes, Exception> {
    let mut out = BytesMut::with_capacity(blocks.len() + 64);
    let mut rest: &[u8] = blocks;
    while !rest.is_empty() {
        let size = rewrite_block(rest, revision, &mut out)?;
        rest = &rest[size..];
    }
    Ok(out.freeze())
}

/// Rewrites the first block of `bytes`; returns how many bytes it had.
fn rewrite_block(bytes: &[u8], revision: u32, out: &mut BytesMut) -> Result<usize, Exception> {
    let mut at = 0;
    let columns = read_varint(bytes, &mut at).ok_or_else(broken)?;
    let rows = read_varint(bytes, &mut at)
        .and_then(|rows| usize::try_from(rows).ok())
        .ok_or_else(broken)?;
    out.put_slice(&BLOCK_INFO);
    out.put_slice(&bytes[..at]);
    for number in 1..=columns {
        let start = at;
        let name = string(bytes, &mut at).ok_or_else(broken)?;
        let type_name = string(bytes, &mut at).ok_or_else(broken)?;
        out.put_slice(&bytes[start..at]);
        if revision >= CUSTOM_SERIALIZATION {
            out.put_u8(0);
        }
        let data = at;
        if rows > 0 {
            let kind = Type::parse(&String::from_utf8_lossy(type_name));
            if kind.is_opaque() {
                if number < columns {
                    return Err(opaque(name, type_name, revision));
                }
                // The engine's chunks are one block each, so that the last column ends where the chunk does.
                at = bytes.len();
            } else {
                at += column::length(&kind, &bytes[at..], rows).ok_or_else(broken)?;
            }
        }
        out.put_slice(&bytes[data..at]);
    }
    Ok(at)
}

fn string<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let length = usize::try_from(read_varint(bytes, at)?).ok()?;
    let text = bytes.get(*at..at.checked_add(length)?)?;
    *at += length;
    Some(text)
}

fn broken() -> Exception {
    Exception::new(
        33,
        "CANNOT_READ_ALL_DATA",
        "the engine's Native block does not have the layout of its own types",
    )
}

fn opaque(name: &[u8], type_name: &[u8], revision: u32) -> Exception {
    let (name, type_name) = (
        String::from_utf8_lossy(name),
        String::from_utf8_lossy(type_name),
    );
    let text = format_args!(
        "column '{name}' of type {type_name} can't be sent in Native format for client_protocol_version {revision}: \
         select it last, or as a String (toString or toJSONString)"
    );
    Exception::new(48, "NOT_IMPLEMENTED", text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_block_gets_its_info_and_each_column_its_byte() {
        let block: &[u8] = b"\x02\x02\x01a\x05UInt8\x01\x02\x01b\x06String\x01x\x02yz";
        let two = Bytes::from([block, block].concat());
        let info = BLOCK_INFO.as_slice();
        let old = [info, block, info, block].concat();
        assert_eq!(for_revision(&two, 54405).unwrap(), old);
        let new = [
            info,
            b"\x02\x02\x01a\x05UInt8\x00\x01\x02\x01b\x06String\x00\x01x\x02yz",
        ]
        .concat();
        assert_eq!(
            for_revision(&two, 54460).unwrap(),
            [new.clone(), new].concat()
        );
    }

    #[test]
    fn a_cut_block_is_an_error_and_no_panic() {
        let block = Bytes::from_static(b"\x02\x02\x01a\x05UInt8\x01\x02\x01b\x06String\x01x\x02yz");
        for end in 1..block.len() {
            assert_eq!(
                for_revision(&block.slice(..end), 54460).unwrap_err().code,
                33,
                "cut at {end}"
            );
        }
    }

    #[test]
    fn an_opaque_type_is_let_through_as_the_last_column_only() {
        let last = Bytes::from_static(b"\x01\x01\x01j\x04JSON????");
        assert!(
            for_revision(&last, 54460)
                .unwrap()
                .ends_with(b"JSON\x00????")
        );
        let first = Bytes::from_static(b"\x02\x01\x01j\x04JSON????\x01a\x05UInt8\x01");
        assert_eq!(for_revision(&first, 54460).unwrap_err().code, 48);
    }
}
