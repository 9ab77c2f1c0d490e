//! From the engine's thread to the HTTP response: the result is held back until it is whole or large, so that a failure
//! that comes early has its proper status, and from then on flows in pieces that wait for the client.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::coding::Encoder;
use crate::embedded::{Exception, Progress};

/// Pieces under way to a client that is slower than the engine.
const PIECES_AHEAD: usize = 4;

/// What the response begins with.
pub(crate) struct Head {
    /// The format of the result; `None` for a statement that has none.
    pub(crate) format: Option<String>,
    /// What has been read and written so far; all of it when `rest` is `None`.
    pub(crate) progress: Progress,
    /// The encoded result, or its beginning.
    pub(crate) first: Vec<Bytes>,
    /// The rest of it.
    pub(crate) rest: Option<mpsc::Receiver<Result<Bytes, io::Error>>>,
}

/// Why a result stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The query failed.
    Failed(Exception),
    /// Nobody reads it any more.
    ClientGone,
}

impl From<Exception> for Stop {
    fn from(exception: Exception) -> Self {
        Self::Failed(exception)
    }
}

/// The sending end; lives on the thread that runs the query.
pub(crate) struct Reply {
    runtime: Handle,
    head: Option<oneshot::Sender<Result<Head, Exception>>>,
    rest: Option<mpsc::Sender<Result<Bytes, io::Error>>>,
    encoder: Option<Encoder>,
    held: Vec<Bytes>,
    held_bytes: usize,
    hold_bytes: usize,
    send_timeout: Duration,
    exception_tag: String,
    version: String,
    pub(crate) format: Option<String>,
    pub(crate) progress: Progress,
}

impl Reply {
    /// `hold_bytes` of the encoded result are held back before the first is sent.
    pub(crate) fn new(
        runtime: Handle,
        encoder: Encoder,
        hold_bytes: usize,
        send_timeout: Duration,
        exception_tag: String,
        version: String,
    ) -> (Self, oneshot::Receiver<Result<Head, Exception>>) {
        let (sender, receiver) = oneshot::channel();
        let reply = Self {
            runtime,
            head: Some(sender),
            rest: None,
            encoder: Some(encoder),
            held: Vec::new(),
            held_bytes: 0,
            hold_bytes,
            send_timeout,
            exception_tag,
            version,
            format: None,
            progress: Progress::default(),
        };
        (reply, receiver)
    }

    /// Sends a piece of the result.
    pub(crate) fn push(&mut self, piece: Bytes) -> Result<(), Stop> {
        if piece.is_empty() {
            return Ok(());
        }
        let encoded = match &mut self.encoder {
            Some(encoder) => encoder.encode(piece).map_err(unencodable)?,
            None => piece,
        };
        self.send(encoded)
    }

    fn send(&mut self, piece: Bytes) -> Result<(), Stop> {
        if let Some(rest) = &self.rest {
            return self.send_rest(rest, Ok(piece));
        }
        if self.head.as_ref().is_some_and(oneshot::Sender::is_closed) {
            return Err(Stop::ClientGone);
        }
        self.held_bytes += piece.len();
        self.held.push(piece);
        if self.held_bytes > self.hold_bytes {
            let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
            self.open(Some(receiver))?;
            self.rest = Some(sender);
        }
        Ok(())
    }

    fn send_rest(
        &self,
        rest: &mpsc::Sender<Result<Bytes, io::Error>>,
        piece: Result<Bytes, io::Error>,
    ) -> Result<(), Stop> {
        let sent = self
            .runtime
            .block_on(async { rest.send_timeout(piece, self.send_timeout).await });
        sent.map_err(|_| Stop::ClientGone)
    }

    fn open(&mut self, rest: Option<mpsc::Receiver<Result<Bytes, io::Error>>>) -> Result<(), Stop> {
        let head = Head {
            format: self.format.clone(),
            progress: self.progress,
            first: std::mem::take(&mut self.held),
            rest,
        };
        match self.head.take() {
            Some(sender) => sender.send(Ok(head)).map_err(|_| Stop::ClientGone),
            None => Ok(()),
        }
    }

    /// The result is complete.
    pub(crate) fn finish(&mut self) -> Result<(), Stop> {
        let close = match self.encoder.take() {
            Some(encoder) if self.format.is_some() => encoder.finish().map_err(unencodable)?,
            _ => Bytes::new(),
        };
        if let Some(rest) = &self.rest {
            if !close.is_empty() {
                self.send_rest(rest, Ok(close))?;
            }
            return Ok(());
        }
        if !close.is_empty() {
            self.held.push(close);
        }
        self.open(None)
    }

    /// The query failed: as a status where none has been sent yet, else as ClickHouse's exception block.
    ///
    /// The connection is closed after the block, so that even a client that knows nothing of it sees a cut response.
    pub(crate) fn fail(&mut self, exception: &Exception) {
        if let Some(head) = self.head.take() {
            // A receiver that is gone needs no answer.
            let _ = head.send(Err(exception.clone()));
            return;
        }
        let block = exception_block(&self.exception_tag, &with_version(exception, &self.version));
        if self.push(block).is_err() {
            return;
        }
        if let Some(encoder) = self.encoder.take()
            && let Ok(close) = encoder.finish()
            && !close.is_empty()
            && self.send(close).is_err()
        {
            return;
        }
        if let Some(rest) = &self.rest {
            let _ = self.send_rest(rest, Err(io::Error::other("the query failed")));
        }
    }
}

fn unencodable(error: io::Error) -> Stop {
    Stop::Failed(Exception::new(
        432,
        "UNKNOWN_CODEC",
        format_args!("can't compress the response: {error}"),
    ))
}

/// An exception's text as a server prints it.
pub(crate) fn with_version(exception: &Exception, version: &str) -> String {
    format!("{} (version {version} (official build))\n", exception.text)
}

/// What ClickHouse since 25.11 writes into a response that fails after it has begun. `message` ends with a line break.
fn exception_block(tag: &str, message: &str) -> Bytes {
    let length = message.len();
    format!("\r\n__exception__\r\n{tag}\r\n{message}{length} {tag}\r\n__exception__\r\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_block_counts_its_message_with_the_line_break() {
        let exception = Exception::new(159, "TIMEOUT_EXCEEDED", "Timeout");
        let message = with_version(&exception, "26.7.2.1");
        let block = exception_block("abcdefghijklmnop", &message);
        let text = String::from_utf8_lossy(&block);
        let tail = format!("{} abcdefghijklmnop\r\n__exception__\r\n", message.len());
        assert!(
            text.starts_with("\r\n__exception__\r\nabcdefghijklmnop\r\nCode: 159."),
            "{text}"
        );
        assert!(text.ends_with(&tail), "{text}");
    }
}
