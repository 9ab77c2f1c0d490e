//! The listening side: options, authorization, start and graceful end.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;

use super::handler;
use super::request::Request;
use super::session::Sessions;
use super::wire::{Flushed, WireListener};
use crate::embedded::{Engine, EngineError, EngineOptions, Exception};

/// How a gateway is started.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// The engine behind it.
    pub engine: EngineOptions,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The password of user `default`; needed for any address but loopback.
    pub token: Option<String>,
    /// The longest wait for the next piece of a request's body, or for a client to take the next piece of a result.
    pub idle_timeout: Duration,
    /// How long running queries may go on after the end was asked for.
    pub shutdown_timeout: Duration,
}

impl GatewayOptions {
    /// The defaults: loopback, no token.
    pub fn new(engine: EngineOptions) -> Self {
        Self {
            engine,
            listen: SocketAddr::from(([127, 0, 0, 1], 8123)),
            token: None,
            idle_timeout: Duration::from_secs(300),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a gateway can't run.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The engine can't be opened.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An address that others can reach, and no token.
    #[error(
        "refusing to listen on {0} without a token: anyone who reaches it could read and delete everything; set --token, or listen on 127.0.0.1"
    )]
    NoToken(SocketAddr),
    /// The port is taken, or the address isn't ours.
    #[error("can't listen on {listen}; choose another address with --listen")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Accepting connections failed for good.
    #[error("the HTTP server failed: {0}")]
    Serve(#[source] io::Error),
}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) idle_timeout: Duration,
    token: Option<String>,
    random: RandomState,
    requests: AtomicU64,
}

impl Shared {
    pub(crate) fn authorize(&self, request: &Request) -> Result<(), Exception> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let user = request
            .user
            .as_deref()
            .filter(|user| !user.is_empty())
            .unwrap_or("default");
        let secret = request.secret.as_deref().unwrap_or_default();
        if user == "default" && same(secret.as_bytes(), token.as_bytes()) {
            return Ok(());
        }
        let text = format_args!(
            "{}: Authentication failed: password is incorrect, or there is no user with such name. \
             The warehouse has one user, `default`, whose password is the token given to `warehouse serve`",
            user.escape_default()
        );
        Err(Exception::new(516, "AUTHENTICATION_FAILED", text))
    }

    fn random(&self) -> u64 {
        self.random
            .hash_one(self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// A query id in the form of a version 4 UUID.
    pub(crate) fn new_query_id(&self) -> String {
        let (high, low) = (self.random(), self.random());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0x0fff,
            low >> 48 & 0x3fff | 0x8000,
            low & 0xffff_ffff_ffff
        )
    }

    /// Sixteen lowercase letters that results can't foresee.
    pub(crate) fn random_letters(&self) -> String {
        let (mut first, mut second) = (self.random(), self.random());
        let letter = |bits: &mut u64| {
            let letter = (b'a' + (*bits % 26) as u8) as char;
            *bits /= 26;
            letter
        };
        let mut text: String = (0..8).map(|_| letter(&mut first)).collect();
        text.extend((0..8).map(|_| letter(&mut second)));
        text
    }
}

/// Compares in a time that doesn't depend on where the two differ.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// A gateway that listens, but doesn't answer yet.
pub struct Gateway {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    shutdown_timeout: Duration,
}

impl Gateway {
    /// Checks the options, binds the address and opens the engine, which takes up to a second.
    pub async fn open(options: GatewayOptions) -> Result<Self, GatewayError> {
        let listen = options.listen;
        if options.token.as_deref().unwrap_or_default().is_empty() && !listen.ip().is_loopback() {
            return Err(GatewayError::NoToken(listen));
        }
        let failed = |source| GatewayError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        // Tests and the demo wait for the printed line, so that nothing needs the runtime while this blocks it.
        let engine = tokio::task::block_in_place(|| Engine::open(&options.engine))?;
        let shared = Arc::new(Shared {
            engine: Arc::new(engine),
            sessions: Arc::default(),
            idle_timeout: options.idle_timeout,
            token: options.token.filter(|token| !token.is_empty()),
            random: RandomState::new(),
            requests: AtomicU64::new(0),
        });
        Ok(Self {
            listener,
            address,
            shared,
            shutdown_timeout: options.shutdown_timeout,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The version of the engine.
    pub fn engine_version(&self) -> &str {
        self.shared.engine.version()
    }

    /// Answers until `shutdown` is ready, then lets running queries finish for as long as the options allow.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), GatewayError> {
        let Self {
            listener,
            shared,
            shutdown_timeout,
            ..
        } = self;
        let (engine, sessions) = (Arc::clone(&shared.engine), Arc::clone(&shared.sessions));
        let router = Router::new().fallback(handler::handle).with_state(shared);
        let (asked, ask) = tokio::sync::oneshot::channel();
        let service = router.into_make_service_with_connect_info::<Flushed>();
        let serving =
            axum::serve(WireListener(listener), service).with_graceful_shutdown(async move {
                shutdown.await;
                // The other end is gone only when the server has ended already.
                let _ = asked.send(());
            });
        let limit = async {
            if ask.await.is_ok() {
                tokio::time::sleep(shutdown_timeout).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let outcome = tokio::select! {
            outcome = serving => outcome.map_err(GatewayError::Serve),
            () = limit => {
                tracing::warn!(seconds = shutdown_timeout.as_secs(), "queries still ran at the end and were cut off");
                Ok(())
            }
        };
        sessions.close();
        engine.close_idle();
        outcome
    }
}

/// Opens a gateway and answers until `shutdown` is ready; `ready` is told the address.
pub async fn serve(
    options: GatewayOptions,
    ready: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), GatewayError> {
    let gateway = Gateway::open(options).await?;
    ready(gateway.address());
    gateway.run(shutdown).await
}
