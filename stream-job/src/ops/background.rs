//! What goes on beside a run: signals, the limit of a stop, and HTTP.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::http;
use super::job::{Shutdown, exit};
use super::metrics::Metrics;
use super::process_api::ProcessApi;

/// A listener, what is served there, and the token that it asks for.
pub(super) type Server = (std::net::TcpListener, ProcessApi, String);

/// Runs `work` on this thread, with signals and HTTP on another that ends when the work does.
pub(super) fn in_background(
    server: Option<Server>,
    work: impl FnOnce(Shutdown) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("ops")
        .enable_all()
        .build()
        .context("start the thread for HTTP and signals")?;
    let shutdown = Shutdown::default();
    let signals = {
        // Signal handlers are in place before any work begins.
        let _guard = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    let drain = server.as_ref().map(|(_, api, _)| Drain {
        metrics: Arc::clone(&api.metrics),
        limit: api.settings.drain_timeout,
    });
    runtime.spawn(watch_signals(signals, drain, shutdown.clone()));
    if let Some((listener, api, token)) = server {
        runtime.spawn(async move {
            if let Err(error) = http::serve(listener, api.router(&token)).await {
                tracing::error!("the HTTP server ended: {error}");
            }
        });
    }
    let result = work(shutdown);
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// The end of a job that was asked to stop.
struct Drain {
    metrics: Arc<Metrics>,
    /// How long it may take.
    limit: Duration,
}

impl Drain {
    /// Waits until the limit is over, and tells what has not landed by then.
    async fn took_too_long(&self) -> String {
        tokio::time::sleep(self.limit).await;
        let (landed, cut) = (self.metrics.landed_epoch.get(), self.metrics.epoch.get());
        let what = if cut > landed {
            format!("epochs {} to {cut} have not all landed", landed + 1)
        } else {
            "not all that was read has landed".to_owned()
        };
        let why = self.metrics.health.waiting_for();
        format!(
            "{what} within {} s of the stop (setting `drain_timeout`){}; nothing is lost: the next start goes on from the \
             epoch log and writes them",
            self.limit.as_secs_f64(),
            why.map_or_else(String::new, |what| format!(", waiting for {what}")),
        )
    }
}

async fn watch_signals(
    (mut interrupt, mut terminate): (tokio::signal::unix::Signal, tokio::signal::unix::Signal),
    drain: Option<Drain>,
    shutdown: Shutdown,
) {
    let mut wait = async || {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    };
    let name = wait().await;
    tracing::info!("{name}: draining, then ending; a second signal ends at once");
    if let Some(drain) = &drain {
        drain.metrics.health.set_stopping();
    }
    shutdown.request();
    let too_long = async {
        match &drain {
            Some(drain) => drain.took_too_long().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        name = wait() => {
            tracing::warn!("{name} again: ending at once");
            std::process::exit(exit::INTERRUPTED.into());
        }
        said = too_long => {
            eprintln!("stream-job: {said}");
            std::process::exit(exit::NOT_DRAINED.into());
        }
    }
}
