//! ClickHouse's own compressed blocks, as `compress=1` and `decompress=1` mean them.
//!
//! A frame is: 16 bytes CityHash128 (the 1.0.2 variant, low word first) of all that follows; 1 byte method (0x82 LZ4,
//! 0x90 ZSTD, 0x02 none); u32 LE size of header and data; u32 LE size of the data once decompressed; the data.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::embedded::Exception;

const CHECKSUM: usize = 16;
const HEADER: usize = 9;
const LZ4: u8 = 0x82;
const ZSTD: u8 = 0x90;
const NONE: u8 = 0x02;
/// ClickHouse's own limit for one frame (1 GiB).
const MAX_FRAME: usize = 0x4000_0000;

/// Compresses `data` into one LZ4 frame, appended to `out`.
pub(crate) fn encode(data: &[u8], out: &mut BytesMut) {
    let start = out.len();
    out.put_bytes(0, CHECKSUM + HEADER);
    let room = lz4_flex::block::get_maximum_output_size(data.len());
    let body = out.len();
    out.resize(body + room, 0);
    // INVARIANT: the room is what lz4_flex itself asks for.
    let size = lz4_flex::block::compress_into(data, &mut out[body..])
        .expect("the output has its maximum size");
    out.truncate(body + size);
    let frame = &mut out[start..];
    frame[CHECKSUM] = LZ4;
    frame[CHECKSUM + 1..CHECKSUM + 5].copy_from_slice(&((HEADER + size) as u32).to_le_bytes());
    frame[CHECKSUM + 5..CHECKSUM + 9].copy_from_slice(&(data.len() as u32).to_le_bytes());
    let sum = checksum(&frame[CHECKSUM..]);
    frame[..CHECKSUM].copy_from_slice(&sum);
}

/// CityHash128 as ClickHouse writes it: the first word, then the second, both little endian.
fn checksum(data: &[u8]) -> [u8; CHECKSUM] {
    // The crate returns the first word in the upper half.
    cityhash_rs::cityhash_102_128(data)
        .rotate_right(64)
        .to_le_bytes()
}

/// Takes frames apart, whatever the borders of the pieces that they come in.
#[derive(Default)]
pub(crate) struct Decoder {
    held: BytesMut,
}

impl Decoder {
    /// Adds a piece of the input.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.held.extend_from_slice(piece);
    }

    /// The next whole frame's content; `None` when more input is needed.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, Exception> {
        if self.held.len() < CHECKSUM + HEADER {
            return Ok(None);
        }
        let mut header = &self.held[CHECKSUM..CHECKSUM + HEADER];
        let method = header.get_u8();
        let stored = header.get_u32_le() as usize;
        let size = header.get_u32_le() as usize;
        if !(HEADER..=MAX_FRAME).contains(&stored) || size > MAX_FRAME {
            return Err(broken(format_args!(
                "a frame of {stored} bytes that holds {size} is impossible"
            )));
        }
        if self.held.len() < CHECKSUM + stored {
            self.held.reserve(CHECKSUM + stored - self.held.len());
            return Ok(None);
        }
        let frame = self.held.split_to(CHECKSUM + stored).freeze();
        if checksum(&frame[CHECKSUM..]) != frame[..CHECKSUM] {
            return Err(Exception::new(
                40,
                "CHECKSUM_DOESNT_MATCH",
                "a compressed frame's checksum is wrong",
            ));
        }
        let data = frame.slice(CHECKSUM + HEADER..);
        let plain = match method {
            NONE => data,
            LZ4 => lz4_flex::block::decompress(&data, size)
                .map_err(broken)?
                .into(),
            ZSTD => zstd::bulk::decompress(&data, size).map_err(broken)?.into(),
            other => {
                return Err(broken(format_args!(
                    "unknown compression method 0x{other:02x}"
                )));
            }
        };
        if plain.len() != size {
            return Err(broken(format_args!(
                "{} bytes instead of {size}",
                plain.len()
            )));
        }
        Ok(Some(plain))
    }

    /// To be called at the end of the input: whether it ends between two frames.
    pub(crate) fn finish(&self) -> Result<(), Exception> {
        if self.held.is_empty() {
            return Ok(());
        }
        Err(broken(format_args!(
            "the body ends inside a frame, {} bytes after its start",
            self.held.len()
        )))
    }
}

fn broken(reason: impl std::fmt::Display) -> Exception {
    Exception::new(
        271,
        "CANNOT_DECOMPRESS",
        format_args!("can't decompress the request's body: {reason}"),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn frames_come_back_at_any_borders() {
        let texts: [&[u8]; 3] = [b"", b"abcabcabcabcabcabcabc", &[7; 100_000]];
        let mut wire = BytesMut::new();
        for text in texts {
            encode(text, &mut wire);
        }
        for step in [1, 7, 25, wire.len()] {
            let mut decoder = Decoder::default();
            let mut out = Vec::new();
            for piece in wire.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    out.extend_from_slice(&frame);
                }
            }
            decoder.finish().unwrap();
            assert_eq!(out, texts.concat(), "step {step}");
        }
    }

    #[test]
    fn a_flipped_bit_and_a_cut_are_seen() {
        let mut wire = BytesMut::new();
        encode(b"hello hello hello hello", &mut wire);
        let mut decoder = Decoder::default();
        decoder.push(&wire[..wire.len() - 1]);
        assert!(decoder.next_frame().unwrap().is_none());
        assert_eq!(decoder.finish().unwrap_err().code, 271);
        *wire.last_mut().unwrap() ^= 1;
        let mut decoder = Decoder::default();
        decoder.push(&wire);
        assert_eq!(decoder.next_frame().unwrap_err().code, 40);
    }
}
