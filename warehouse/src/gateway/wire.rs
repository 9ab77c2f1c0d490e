//! Connections that tell when all that was written to them is with the operating system.
//!
//! A response that fails half-way has to be cut, so that nobody takes it for whole, but only after its exception block has
//! been written: an error in a body makes hyper drop what it still holds.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Counts the flushes of one connection. hyper flushes a connection only when its own buffer for it is empty.
#[derive(Clone, Default)]
pub(crate) struct Flushed(Arc<(AtomicU64, Notify)>);

impl Flushed {
    /// Waits for the next flush.
    pub(crate) async fn next(&self) {
        let (count, notify) = &*self.0;
        let before = count.load(Ordering::Acquire);
        loop {
            let notified = notify.notified();
            if count.load(Ordering::Acquire) != before {
                return;
            }
            notified.await;
        }
    }

    fn happened(&self) {
        self.0.0.fetch_add(1, Ordering::Release);
        self.0.1.notify_waiters();
    }
}

impl Connected<IncomingStream<'_, WireListener>> for Flushed {
    fn connect_info(stream: IncomingStream<'_, WireListener>) -> Self {
        stream.io().flushed.clone()
    }
}

/// Accepts connections with TCP_NODELAY.
pub(crate) struct WireListener(pub(crate) TcpListener);

impl Listener for WireListener {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        // axum's own: it waits and tries again when the process is out of file descriptors.
        let (stream, address) = Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::warn!(%error, "can't set TCP_NODELAY");
        }
        (
            Wire {
                stream,
                flushed: Flushed::default(),
            },
            address,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// One connection.
pub(crate) struct Wire {
    stream: TcpStream,
    flushed: Flushed,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        if outcome.is_ready() {
            self.flushed.happened();
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
