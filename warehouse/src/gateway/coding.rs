//! Compression of requests and responses: HTTP's content codings, and ClickHouse's own frames.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::frames;

/// Frames of a response are cut at this size, so that a client never needs more memory for one.
const FRAME_BYTES: usize = 1 << 20;
const ZSTD_LEVEL: i32 = 1;

/// One of HTTP's content codings that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Lz4,
    Zstd,
    Gzip,
    Deflate,
}

impl Coding {
    /// The coding's name in `Content-Encoding`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// The coding of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Lz4, Self::Zstd, Self::Gzip, Self::Deflate]
            .into_iter()
            .find(|coding| coding.name().eq_ignore_ascii_case(name.trim()))
            .or_else(|| {
                name.trim()
                    .eq_ignore_ascii_case("x-gzip")
                    .then_some(Self::Gzip)
            })
    }

    /// The cheapest coding that an `Accept-Encoding` allows; `None` for plain bytes.
    pub(crate) fn accepted(header: &str) -> Option<Self> {
        let allowed: Vec<Self> = header
            .split(',')
            .filter_map(|entry| {
                let (name, weight) = entry.split_once(';').unwrap_or((entry, ""));
                let refused = weight
                    .trim()
                    .strip_prefix("q=")
                    .and_then(|q| q.parse::<f32>().ok())
                    .is_some_and(|q| q <= 0.0);
                if refused { None } else { Self::named(name) }
            })
            .collect();
        [Self::Lz4, Self::Zstd, Self::Gzip, Self::Deflate]
            .into_iter()
            .find(|coding| allowed.contains(coding))
    }
}

/// Compresses a response piece by piece; each piece can be decoded as soon as it arrives.
pub(crate) enum Encoder {
    Plain,
    Frames,
    Lz4(Box<lz4_flex::frame::FrameEncoder<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
}

impl Encoder {
    /// An encoder for a content coding.
    pub(crate) fn new(coding: Option<Coding>) -> io::Result<Self> {
        Ok(match coding {
            None => Self::Plain,
            Some(Coding::Lz4) => {
                Self::Lz4(Box::new(lz4_flex::frame::FrameEncoder::new(Vec::new())))
            }
            Some(Coding::Zstd) => {
                Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?)
            }
            Some(Coding::Gzip) => Self::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            Some(Coding::Deflate) => {
                Self::Deflate(ZlibEncoder::new(Vec::new(), Compression::fast()))
            }
        })
    }

    /// Encodes one piece.
    pub(crate) fn encode(&mut self, piece: Bytes) -> io::Result<Bytes> {
        let out = match self {
            Self::Plain => return Ok(piece),
            Self::Frames => {
                let mut out = BytesMut::new();
                for part in piece.chunks(FRAME_BYTES) {
                    frames::encode(part, &mut out);
                }
                return Ok(out.freeze());
            }
            Self::Lz4(encoder) => {
                encoder.write_all(&piece)?;
                encoder.flush()?;
                std::mem::take(encoder.get_mut())
            }
            Self::Zstd(encoder) => {
                encoder.write_all(&piece)?;
                encoder.flush()?;
                std::mem::take(encoder.get_mut())
            }
            Self::Gzip(encoder) => {
                encoder.write_all(&piece)?;
                encoder.flush()?;
                std::mem::take(encoder.get_mut())
            }
            Self::Deflate(encoder) => {
                encoder.write_all(&piece)?;
                encoder.flush()?;
                std::mem::take(encoder.get_mut())
            }
        };
        Ok(out.into())
    }

    /// What closes the encoding.
    pub(crate) fn finish(self) -> io::Result<Bytes> {
        let rest = match self {
            Self::Plain | Self::Frames => Vec::new(),
            Self::Lz4(encoder) => encoder.finish().map_err(io::Error::other)?,
            Self::Zstd(encoder) => encoder.finish()?,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Deflate(encoder) => encoder.finish()?,
        };
        Ok(rest.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_accepted_coding_is_chosen() {
        assert_eq!(
            Coding::accepted("gzip, deflate, br, zstd"),
            Some(Coding::Zstd)
        );
        assert_eq!(Coding::accepted("gzip;q=1.0, lz4;q=0"), Some(Coding::Gzip));
        assert_eq!(Coding::accepted("br, identity"), None);
        assert_eq!(Coding::accepted(""), None);
    }
}
