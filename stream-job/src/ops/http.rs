//! The job's HTTP server: health, readiness, metrics, status.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::metrics::Metrics;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}, the setting `http_listen`: {source}")]
pub struct ListenError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    pub source: std::io::Error,
}

#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    token: Arc<str>,
}

/// Takes the address, so that a port that is taken is known before the dataflow starts. Port 0 takes a free one.
///
/// # Errors
/// The address is taken or not this machine's.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|source| ListenError { address, source })
}

/// Serves until the task is dropped. An empty token asks for none.
///
/// # Errors
/// The listener can't be used in this runtime.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    token: &str,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, router(metrics, token)).await
}

fn router(metrics: Arc<Metrics>, token: &str) -> Router {
    let shared = Shared {
        metrics,
        token: token.into(),
    };
    let guarded = Router::new()
        .route("/metrics", get(exposition))
        .route("/api/v1/status", get(status))
        .route_layer(from_fn_with_state(shared.clone(), require_token));
    // A probe of an orchestrator carries no token; what it learns is one word.
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .merge(guarded)
        .with_state(shared)
}

async fn healthz(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    if shared.metrics.health.is_alive() {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the dataflow has not moved for a minute\n",
        )
    }
}

async fn readyz(State(shared): State<Shared>) -> (StatusCode, String) {
    match shared.metrics.health.not_ready() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn exposition(State(shared): State<Shared>) -> Response {
    let content_type = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (content_type, shared.metrics.render()).into_response()
}

async fn status(State(shared): State<Shared>) -> Json<serde_json::Value> {
    Json(shared.metrics.status())
}

async fn require_token(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    if same(given.as_bytes(), shared.token.as_bytes()) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    let text = "this server needs the header `Authorization: Bearer TOKEN` with the setting `http_token`\n";
    (StatusCode::UNAUTHORIZED, challenge, text).into_response()
}

/// Compares without telling by its time how much was right.
fn same(given: &[u8], expected: &[u8]) -> bool {
    let differing = given
        .iter()
        .zip(expected)
        .fold(0, |all, (a, b)| all | (a ^ b));
    expected.is_empty() || (given.len() == expected.len() && differing == 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    /// A server of its own on a free port; the runtime ends it.
    fn start(metrics: &Arc<Metrics>, token: &'static str) -> (tokio::runtime::Runtime, SocketAddr) {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let metrics = Arc::clone(metrics);
        runtime.spawn(async move { serve(listener, metrics, token).await });
        (runtime, address)
    }

    fn fetch(address: SocketAddr, path: &str, header: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn health_readiness_metrics_and_status_are_served() {
        let metrics = Arc::new(Metrics::default());
        let (_runtime, address) = start(&metrics, "");
        assert!(fetch(address, "/healthz", "").starts_with("HTTP/1.1 200"));
        let waiting = fetch(address, "/readyz", "");
        assert!(
            waiting.starts_with("HTTP/1.1 503") && waiting.contains("not assigned"),
            "{waiting}"
        );
        metrics.health.set_source_assigned(true);
        metrics.health.set_warehouse_proven(true);
        assert!(fetch(address, "/readyz", "").starts_with("HTTP/1.1 200"));
        metrics.spans_in.add(5);
        let text = fetch(address, "/metrics", "");
        assert!(
            text.contains("text/plain; version=0.0.4")
                && text.contains("\nspanflow_spans_in_total 5\n"),
            "{text}"
        );
        let status = fetch(address, "/api/v1/status", "");
        assert!(
            status.contains("\"ready\":true") && status.contains("\"in\":5"),
            "{status}"
        );
    }

    #[test]
    fn a_token_guards_all_but_the_health_checks() {
        let (_runtime, address) = start(&Arc::new(Metrics::default()), "s3cret");
        for path in ["/metrics", "/api/v1/status"] {
            assert!(fetch(address, path, "").starts_with("HTTP/1.1 401"));
            assert!(
                fetch(address, path, "Authorization: Bearer s3cre\r\n").starts_with("HTTP/1.1 401")
            );
            assert!(
                fetch(address, path, "Authorization: Bearer s3cret\r\n")
                    .starts_with("HTTP/1.1 200")
            );
        }
        assert!(fetch(address, "/healthz", "").starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn an_address_that_is_taken_is_named_with_its_setting() {
        let taken = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(address).unwrap_err().to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("http_listen"),
            "{error}"
        );
    }
}
