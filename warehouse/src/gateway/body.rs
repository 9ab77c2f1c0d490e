//! The body of a request as the engine's threads read it: piece by piece, decompressed, and never taken for whole
//! when it was cut.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::BodyDataStream;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio::runtime::Handle;

use super::coding::Coding;
use super::frames;
use crate::embedded::Exception;

/// Decompressed data are handed on in pieces of this size.
const PIECE: usize = 256 << 10;

/// Where a body comes from.
pub(crate) struct BodySource {
    pub(crate) stream: BodyDataStream,
    pub(crate) runtime: Handle,
    /// The longest wait for the next piece.
    pub(crate) idle: Duration,
}

/// The bytes as they come from the connection. Blocks; only for threads outside the async runtime.
struct Source {
    stream: BodyDataStream,
    runtime: Handle,
    idle: Duration,
    piece: Bytes,
    ended: bool,
    failure: Option<Exception>,
    /// Bytes that a decoder has taken, and whether it asked for more than there were.
    taken: u64,
    hit_end: bool,
}

impl Source {
    fn next(&mut self) -> Result<Option<Bytes>, Exception> {
        if !self.piece.is_empty() {
            return Ok(Some(std::mem::take(&mut self.piece)));
        }
        while !self.ended {
            let next = self
                .runtime
                .block_on(async { tokio::time::timeout(self.idle, self.stream.next()).await });
            match next {
                Ok(Some(Ok(piece))) if piece.is_empty() => {}
                Ok(Some(Ok(piece))) => return Ok(Some(piece)),
                Ok(None) => self.ended = true,
                Ok(Some(Err(error))) => {
                    self.ended = true;
                    let text = format_args!(
                        "the request's body was cut before its end: {error}; nothing was inserted"
                    );
                    return Err(self.fail(Exception::new(210, "NETWORK_ERROR", text)));
                }
                Err(_) => {
                    self.ended = true;
                    let seconds = self.idle.as_secs();
                    let text = format_args!(
                        "no data for {seconds} s in the middle of a body; nothing was inserted"
                    );
                    return Err(self.fail(Exception::new(209, "SOCKET_TIMEOUT", text)));
                }
            }
        }
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(None),
        }
    }

    fn fail(&mut self, failure: Exception) -> Exception {
        self.failure = Some(failure.clone());
        failure
    }
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            match self.next().map_err(io::Error::other)? {
                Some(piece) => self.piece = piece,
                None => {
                    self.hit_end = true;
                    return Ok(0);
                }
            }
        }
        let size = out.len().min(self.piece.len());
        self.taken += size as u64;
        self.piece.copy_to_slice(&mut out[..size]);
        Ok(size)
    }
}

/// LZ4 frames, one after the other, until the input ends between two of them.
struct Lz4(lz4_flex::frame::FrameDecoder<Source>);

impl Read for Lz4 {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let size = self.0.read(out)?;
            if size > 0 || out.is_empty() {
                return Ok(size);
            }
            let source = self.0.get_mut();
            // The decoder takes the end of its input between two blocks for the end of the frame: it needs an end mark.
            if source.hit_end && source.taken > 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "it ends inside a frame",
                ));
            }
            match source.next().map_err(io::Error::other)? {
                Some(piece) => source.piece = piece,
                None => return Ok(0),
            }
        }
    }
}

enum Stage {
    Plain(Source),
    Coded(Coding, Box<dyn ReadSource>),
}

/// A decoder that can give its source back to be drained.
trait ReadSource: Read + Send {
    fn source(&mut self) -> &mut Source;
}

macro_rules! read_source {
    ($($kind:ty: $get:expr;)*) => {
        $(impl ReadSource for $kind {
            fn source(&mut self) -> &mut Source {
                let get: fn(&mut Self) -> &mut Source = $get;
                get(self)
            }
        })*
    };
}

read_source! {
    Lz4: |reader| reader.0.get_mut();
    flate2::read::MultiGzDecoder<Source>: |reader| reader.get_mut();
    flate2::read::ZlibDecoder<Source>: |reader| reader.get_mut();
    zstd::stream::read::Decoder<'static, io::BufReader<Source>>: |reader| reader.get_mut().get_mut();
}

/// A request's body.
pub(crate) struct Body {
    stage: Stage,
    frames: Option<frames::Decoder>,
    clean_end: bool,
}

impl Body {
    /// `coding` is the Content-Encoding, `framed` is `decompress=1`. Blocks: decoders read ahead.
    pub(crate) fn new(
        source: BodySource,
        coding: Option<Coding>,
        framed: bool,
    ) -> Result<Self, Exception> {
        let BodySource {
            stream,
            runtime,
            idle,
        } = source;
        let source = Source {
            stream,
            runtime,
            idle,
            piece: Bytes::new(),
            ended: false,
            failure: None,
            taken: 0,
            hit_end: false,
        };
        let stage = match coding {
            None => Stage::Plain(source),
            Some(coding) => Stage::Coded(
                coding,
                match coding {
                    Coding::Lz4 => Box::new(Lz4(lz4_flex::frame::FrameDecoder::new(source))),
                    Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(source)),
                    Coding::Deflate => Box::new(flate2::read::ZlibDecoder::new(source)),
                    Coding::Zstd => Box::new(
                        zstd::stream::read::Decoder::new(source)
                            .map_err(|error| undecodable(coding, &error))?,
                    ),
                },
            ),
        };
        Ok(Self {
            stage,
            frames: framed.then(frames::Decoder::default),
            clean_end: false,
        })
    }

    /// The next piece of the decoded body; `None` at its proper end, an error when it was cut.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Exception> {
        if self.frames.is_none() {
            return self.next_decoded();
        }
        loop {
            let piece = self.next_decoded()?;
            // INVARIANT: checked above.
            let frames = self.frames.as_mut().expect("frames are decoded");
            match piece {
                Some(piece) => frames.push(&piece),
                None => {
                    frames.finish()?;
                    return Ok(None);
                }
            }
            let mut whole: Vec<Bytes> = Vec::new();
            while let Some(frame) = frames.next_frame()? {
                whole.push(frame);
            }
            match whole.len() {
                0 => {}
                1 => return Ok(whole.pop()),
                _ => return Ok(Some(whole.concat().into())),
            }
        }
    }

    fn next_decoded(&mut self) -> Result<Option<Bytes>, Exception> {
        if self.clean_end {
            return Ok(None);
        }
        let next = match &mut self.stage {
            Stage::Plain(source) => source.next(),
            Stage::Coded(coding, reader) => {
                let mut piece = vec![0; PIECE];
                match read_some(reader.as_mut(), &mut piece) {
                    Ok(0) => Ok(None),
                    Ok(size) => {
                        piece.truncate(size);
                        Ok(Some(piece.into()))
                    }
                    Err(error) => {
                        let failure = reader.source().failure.clone();
                        Err(failure.unwrap_or_else(|| undecodable(*coding, &error)))
                    }
                }
            }
        }?;
        self.clean_end |= next.is_none();
        Ok(next)
    }

    /// Reads at least `limit` bytes, or all that there is; a whole body is marked by `true`.
    pub(crate) fn read_head(&mut self, limit: usize) -> Result<(Vec<u8>, bool), Exception> {
        let mut head = Vec::new();
        while head.len() < limit {
            match self.next()? {
                Some(piece) => head.extend_from_slice(&piece),
                None => return Ok((head, true)),
            }
        }
        Ok((head, false))
    }

    /// After an error: takes what the client still sends, up to `limit` bytes, so that it gets to read the answer.
    pub(crate) fn drain(&mut self, limit: usize) {
        if self.clean_end {
            return;
        }
        let source = match &mut self.stage {
            Stage::Plain(source) => source,
            Stage::Coded(_, reader) => reader.source(),
        };
        source.idle = source.idle.min(Duration::from_secs(5));
        let mut taken = 0;
        while taken < limit {
            match source.next() {
                Ok(Some(piece)) => taken += piece.len(),
                Ok(None) | Err(_) => return,
            }
        }
    }
}

/// Fills as much of `out` as can be had without waiting long: one read that gave something.
fn read_some(reader: &mut dyn Read, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn undecodable(coding: Coding, error: &io::Error) -> Exception {
    let text = format_args!(
        "the request's body isn't valid {}: {error}; nothing was inserted",
        coding.name()
    );
    Exception::new(271, "CANNOT_DECOMPRESS", text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use axum::body::Body as HttpBody;

    use super::*;

    const CODINGS: [Coding; 4] = [Coding::Lz4, Coding::Zstd, Coding::Gzip, Coding::Deflate];

    fn encoded(coding: Coding, text: &[u8]) -> Vec<u8> {
        let best = flate2::Compression::best();
        match coding {
            Coding::Lz4 => {
                // Small blocks, so that cuts fall between two of them too.
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                for part in text.chunks(1000) {
                    encoder.write_all(part).unwrap();
                    encoder.flush().unwrap();
                }
                encoder.finish().unwrap()
            }
            Coding::Zstd => zstd::encode_all(text, 3).unwrap(),
            Coding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), best);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), best);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    fn read(wire: &[u8], step: usize, coding: Coding) -> Result<Vec<u8>, Exception> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let pieces: Vec<_> = wire
            .chunks(step)
            .map(|piece| Ok::<_, io::Error>(Bytes::copy_from_slice(piece)))
            .collect();
        let stream = HttpBody::from_stream(futures_util::stream::iter(pieces)).into_data_stream();
        let source = BodySource {
            stream,
            runtime: runtime.handle().clone(),
            idle: Duration::from_secs(5),
        };
        let mut body = Body::new(source, Some(coding), false)?;
        let mut text = Vec::new();
        while let Some(piece) = body.next()? {
            text.extend_from_slice(&piece);
        }
        assert!(body.next()?.is_none(), "the end stays the end");
        Ok(text)
    }

    fn text() -> Vec<u8> {
        (0..3_000_u32)
            .flat_map(|number| (number.wrapping_mul(2_654_435_761)).to_le_bytes())
            .collect()
    }

    #[test]
    fn every_coding_is_read_at_any_borders_and_in_several_streams() {
        for coding in CODINGS {
            for step in [1, 13, 100_000] {
                assert_eq!(
                    read(&encoded(coding, &text()), step, coding).unwrap(),
                    text(),
                    "{coding:?} {step}"
                );
            }
        }
        for coding in [Coding::Lz4, Coding::Zstd, Coding::Gzip] {
            let two = [encoded(coding, b"one "), encoded(coding, b"two")].concat();
            assert_eq!(read(&two, 5, coding).unwrap(), b"one two", "{coding:?}");
        }
    }

    #[test]
    fn a_cut_at_any_byte_is_an_error_in_every_coding() {
        for coding in CODINGS {
            let wire = encoded(coding, &text());
            let cuts =
                (1..wire.len()).filter(|cut| cut % 97 == 0 || *cut < 40 || wire.len() - cut < 40);
            for cut in cuts {
                let outcome = read(&wire[..cut], 4096, coding);
                assert!(
                    outcome.is_err(),
                    "{coding:?} cut at {cut} of {} gave {} bytes",
                    wire.len(),
                    outcome.unwrap().len()
                );
            }
        }
    }
}
