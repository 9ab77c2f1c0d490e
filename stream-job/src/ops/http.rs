//! What the HTTP servers of a process and of the supervisor share: taking the address, the token, errors.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}, the setting `http_listen`: {source}")]
pub struct ListenError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    pub source: std::io::Error,
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

/// Serves until the task is dropped.
///
/// # Errors
/// The listener can't be used in this runtime.
pub async fn serve(listener: TcpListener, router: Router) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, router).await
}

/// A failed call, told as `{"error": "…"}`.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) reason: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { status, reason }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(serde_json::json!({ "error": self.reason }));
        (self.status, body).into_response()
    }
}

/// Prometheus's text.
pub(crate) fn exposition(text: String) -> Response {
    const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, TYPE)], text).into_response()
}

/// A layer that lets nobody through without the token. An empty token asks for none.
pub(crate) async fn require_token(
    State(token): State<Arc<str>>,
    request: Request,
    next: Next,
) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    if same(given.as_bytes(), token.as_bytes()) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    let reason =
        "this server needs the header `Authorization: Bearer TOKEN` with the setting `http_token`";
    (
        challenge,
        ApiError::new(StatusCode::UNAUTHORIZED, reason).into_response(),
    )
        .into_response()
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
    use super::*;

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

    #[test]
    fn tokens_are_equal_only_when_every_byte_is() {
        assert!(same(b"", b"") && same(b"x", b"") && same(b"s3cret", b"s3cret"));
        assert!(!same(b"s3cre", b"s3cret") && !same(b"", b"s3cret") && !same(b"s3creT", b"s3cret"));
    }
}
