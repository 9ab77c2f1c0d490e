//! Where other processes knock: anybody may connect, and who does not prove itself in time is sent away.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::handshake::{Failure, Knock, hear};
use super::proof::Secret;
use super::socket::set_options;

/// How long a stranger may take to prove itself.
const PROVE_WITHIN: Duration = Duration::from_secs(5);
/// Strangers heard at the same time. One more, and the one that has been here longest goes.
const AT_ONCE: usize = 32;
/// Pause after the system refused to accept a connection, as when no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening port with its visitors.
pub(super) struct Door {
    listener: TcpListener,
    secret: Secret,
    visitors: JoinSet<(SocketAddr, Result<Knock, Failure>)>,
    in_order: VecDeque<AbortHandle>,
    last_refused: Option<String>,
}

impl Door {
    /// Opens the door. Needs a runtime around it, and a listener that does not block.
    pub(super) fn open(listener: std::net::TcpListener, secret: Secret) -> std::io::Result<Door> {
        Ok(Door {
            listener: TcpListener::from_std(listener)?,
            secret,
            visitors: JoinSet::new(),
            in_order: VecDeque::new(),
            last_refused: None,
        })
    }

    pub(super) fn port(&self) -> std::io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// The next process that has proved itself. Strangers are logged and forgotten. Nothing is lost if the caller
    /// stops waiting.
    pub(super) async fn next_knock(&mut self) -> (SocketAddr, Knock) {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, from)) => self.let_speak(stream, from),
                    Err(error) => {
                        tracing::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(heard) = self.visitors.join_next() => match heard {
                    Ok((from, Ok(knock))) => return (from, knock),
                    Ok((from, Err(failure))) => self.refused(&from.to_string(), &failure),
                    Err(_) => tracing::warn!("too many strangers at the cluster's port; sent the first away"),
                },
            }
        }
    }

    /// Keeps account of somebody who was not let in.
    pub(super) fn refused(&mut self, who: &str, reason: &dyn std::fmt::Display) {
        let said = format!("refused {who}: {reason}");
        tracing::warn!("{said}");
        self.last_refused = Some(said);
    }

    /// The last of them and why, as the end of a sentence about somebody who is missing.
    pub(super) fn last_refused(&self) -> String {
        (self.last_refused.as_ref()).map_or(String::new(), |said| format!("; last {said}"))
    }

    fn let_speak(&mut self, stream: TcpStream, from: SocketAddr) {
        self.in_order.retain(|visitor| !visitor.is_finished());
        if self.in_order.len() >= AT_ONCE
            && let Some(first) = self.in_order.pop_front()
        {
            first.abort();
        }
        let secret = self.secret.clone();
        let visitor = self.visitors.spawn(async move {
            let hearing = async {
                set_options(&stream)?;
                hear(stream, &secret).await
            };
            let heard = timeout(PROVE_WITHIN, hearing).await.unwrap_or_else(|_| {
                let slow = "it did not prove itself in time";
                Err(std::io::Error::new(std::io::ErrorKind::TimedOut, slow).into())
            });
            (from, heard)
        });
        self.in_order.push_back(visitor);
    }
}
