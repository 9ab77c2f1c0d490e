//! Bytes on the wire: a preamble, then frames of a bounded length. What a stranger claims allocates nothing.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::proof::{MAC_BYTES, Nonce};

const MAGIC: [u8; 8] = *b"SPANFLOW";
/// Version of this handshake. Raised when preamble, proof or messages change.
pub(super) const PROTOCOL: u16 = 1;
/// Longest frame before the other side has proved itself, and of all that is no start info.
pub(super) const SMALL: usize = 4 << 10;
/// Longest start info.
pub(super) const LARGE: usize = 256 << 20;

/// What both sides send first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Preamble {
    pub(super) protocol: u16,
    pub(super) nonce: Nonce,
}

const PREAMBLE_BYTES: usize = MAGIC.len() + 2 + MAC_BYTES;

impl Preamble {
    fn encode(&self) -> [u8; PREAMBLE_BYTES] {
        let mut bytes = [0; PREAMBLE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.protocol.to_be_bytes());
        bytes[10..].copy_from_slice(&self.nonce);
        bytes
    }

    fn decode(bytes: &[u8; PREAMBLE_BYTES]) -> Option<Preamble> {
        let (magic, rest) = bytes.split_at(MAGIC.len());
        let (protocol, nonce) = rest.split_at(2);
        (magic == MAGIC).then(|| Preamble {
            protocol: u16::from_be_bytes([protocol[0], protocol[1]]),
            nonce: std::array::from_fn(|at| nonce[at]),
        })
    }
}

fn garbage(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

pub(super) async fn write_preamble(stream: &mut TcpStream, preamble: &Preamble) -> io::Result<()> {
    stream.write_all(&preamble.encode()).await
}

pub(super) async fn read_preamble(stream: &mut TcpStream) -> io::Result<Preamble> {
    let mut bytes = [0; PREAMBLE_BYTES];
    // A stranger is known by its first bytes: the rest is not waited for.
    stream.read_exact(&mut bytes[..MAGIC.len()]).await?;
    if bytes[..MAGIC.len()] != MAGIC {
        return Err(garbage("it is no process of stream-job"));
    }
    stream.read_exact(&mut bytes[MAGIC.len()..]).await?;
    Preamble::decode(&bytes).ok_or_else(|| garbage("it is no process of stream-job"))
}

/// Writes a frame: its length as a big-endian u32, then itself.
pub(super) async fn write_frame(stream: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(|_| garbage("a frame of 4 GiB"))?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(frame).await
}

/// Reads a frame of at most `longest` bytes. Memory grows with what has arrived, not with what was announced.
pub(super) async fn read_frame(stream: &mut TcpStream, longest: usize) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await? as usize;
    if length > longest {
        return Err(garbage("it announces a frame longer than any"));
    }
    let mut frame = Vec::new();
    stream.take(length as u64).read_to_end(&mut frame).await?;
    if frame.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(frame)
}

pub(super) fn encode<M: Serialize>(message: &M) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages have no maps with other keys than text")
}

pub(super) fn decode<M: DeserializeOwned>(frame: &[u8]) -> io::Result<M> {
    serde_json::from_slice(frame).map_err(|_| garbage("it says something else than expected"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_preamble_is_read_as_written_and_nothing_else_is_one() {
        let preamble = Preamble {
            protocol: 0x0102,
            nonce: std::array::from_fn(|at| at as u8),
        };
        let bytes = preamble.encode();
        assert_eq!(Preamble::decode(&bytes), Some(preamble));
        let mut other = bytes;
        other[0] ^= 1;
        assert_eq!(Preamble::decode(&other), None);
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_frame_that_is_cut_off_or_too_long_is_an_error() {
        let (mut near, mut far) = pair().await;
        write_frame(&mut near, b"hello").await.unwrap();
        assert_eq!(read_frame(&mut far, 5).await.unwrap(), b"hello");
        write_frame(&mut near, b"hello").await.unwrap();
        let too_long = read_frame(&mut far, 4).await.unwrap_err();
        assert_eq!(too_long.kind(), io::ErrorKind::InvalidData);

        let (mut near, mut far) = pair().await;
        near.write_all(&[0, 0, 1, 0, b'h']).await.unwrap();
        drop(near);
        let cut = read_frame(&mut far, SMALL).await.unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }
}
