//! The HTTP server of one process of the job: health, readiness, metrics, status, and what its supervisor asks for.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::control::{JobControl, SavepointError, SavepointInfo, is_name};
use super::http::{ApiError, exposition, require_token};
use super::metrics::Metrics;
use super::settings::Settings;
use super::status::Status;
use crate::dataflow::graph::{Format, Graph};

/// A savepoint as it is asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavepointBody {
    /// Its name.
    pub name: String,
    /// Whether the job ends with it.
    #[serde(default)]
    pub stop: bool,
}

/// How a graph is asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GraphQuery {
    #[serde(default)]
    pub(crate) format: Format,
}

/// What the server shows and passes on.
#[derive(Clone)]
pub struct ProcessApi {
    /// Counts, health and status.
    pub metrics: Arc<Metrics>,
    /// The way to the coordinator.
    pub control: JobControl,
    /// The settings of the run, for the graph that they lead to.
    pub settings: Arc<Settings>,
}

impl ProcessApi {
    /// The routes. `/api/v1/status` is the older name of `/api/v1/process/status`.
    pub fn router(self, token: &str) -> Router {
        let token: Arc<str> = token.into();
        let guarded = Router::new()
            .route("/metrics", get(metrics))
            .route("/api/v1/status", get(status))
            .route("/api/v1/process/status", get(status))
            .route("/api/v1/process/savepoints", post(savepoint))
            .route("/api/v1/process/graph", get(graph))
            .route_layer(from_fn_with_state(token, require_token));
        // A probe of an orchestrator carries no token; what it learns is one word.
        Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .merge(guarded)
            .with_state(self)
    }
}

async fn healthz(State(api): State<ProcessApi>) -> (StatusCode, &'static str) {
    if api.metrics.health.is_alive() {
        (StatusCode::OK, "ok\n")
    } else {
        let stuck = "the dataflow has not moved for a minute\n";
        (StatusCode::SERVICE_UNAVAILABLE, stuck)
    }
}

async fn readyz(State(api): State<ProcessApi>) -> (StatusCode, String) {
    match api.metrics.health.not_ready() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(api): State<ProcessApi>) -> Response {
    exposition(api.metrics.render())
}

async fn status(State(api): State<ProcessApi>) -> Json<Status> {
    Json(api.metrics.status())
}

async fn savepoint(
    State(api): State<ProcessApi>,
    Json(asked): Json<SavepointBody>,
) -> Result<Json<SavepointInfo>, ApiError> {
    if !is_name(&asked.name) {
        return Err(bad_savepoint_name(&asked.name));
    }
    let answer = api.control.request_savepoint(asked.name, asked.stop).await;
    match answer {
        Ok(Ok(made)) => Ok(Json(made)),
        Ok(Err(error @ SavepointError::NotSupported(_))) => Err(ApiError::new(
            StatusCode::NOT_IMPLEMENTED,
            error.to_string(),
        )),
        Ok(Err(error)) => Err(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            error.to_string(),
        )),
        Err(_) => Err(ApiError::new(
            StatusCode::CONFLICT,
            "the run ended before the savepoint was made",
        )),
    }
}

pub(crate) fn bad_savepoint_name(name: &str) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        format!(
            "`{name}` can't name a savepoint: use letters, digits, `-`, `_` and `.`, at most 100"
        ),
    )
}

async fn graph(
    State(api): State<ProcessApi>,
    Query(query): Query<GraphQuery>,
) -> Result<Response, ApiError> {
    // It builds the dataflow, on a thread of its own: the server's must stay free.
    let settings = Arc::clone(&api.settings);
    let built = tokio::task::spawn_blocking(move || Graph::of(&settings)).await;
    let failed = |reason: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, reason);
    let graph = built
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(format!("{error:#}")))?;
    Ok(match query.format {
        Format::Json => Json(graph).into_response(),
        Format::Text => graph.text().into_response(),
        Format::Mermaid => graph.mermaid().into_response(),
    })
}

/// Where `run` says that it listens, on standard output: `listening on http://127.0.0.1:8090`.
pub(crate) const LISTENING: &str = "listening on http://";

/// Variables that a supervisor gives to the processes that it starts.
pub(crate) const TOKEN_VARIABLE: &str = "SPANFLOW_HTTP_TOKEN";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::SocketAddr;

    use super::*;
    use crate::ops::client::Client;
    use crate::ops::http::{bind, serve};

    fn start(metrics: &Arc<Metrics>, control: &JobControl, token: &str) -> SocketAddr {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let api = ProcessApi {
            metrics: Arc::clone(metrics),
            control: control.clone(),
            settings: Arc::default(),
        };
        tokio::spawn(serve(listener, api.router(token)));
        address
    }

    async fn get(address: SocketAddr, path: &str, token: &str) -> (u16, String) {
        let client = Client::of(address, token);
        let answer = client.get(path).await.unwrap();
        (answer.status, answer.text())
    }

    #[tokio::test]
    async fn health_readiness_metrics_and_status_are_served() {
        let metrics = Arc::new(Metrics::default());
        let address = start(&metrics, &JobControl::default(), "");
        assert_eq!(get(address, "/healthz", "").await.0, 200);
        let (status, waiting) = get(address, "/readyz", "").await;
        assert!(
            status == 503 && waiting.contains("not assigned"),
            "{waiting}"
        );
        metrics.health.set_source_assigned(true);
        metrics.health.set_warehouse_proven(true);
        assert_eq!(get(address, "/readyz", "").await.0, 200);
        metrics.spans_in.add(5);
        let (_, text) = get(address, "/metrics", "").await;
        assert!(text.contains("\nspanflow_spans_in_total 5\n"), "{text}");
        for path in ["/api/v1/status", "/api/v1/process/status"] {
            let (_, status) = get(address, path, "").await;
            assert!(
                status.contains("\"ready\":true") && status.contains("\"in\":5"),
                "{status}"
            );
        }
    }

    #[tokio::test]
    async fn a_token_guards_all_but_the_health_checks() {
        let address = start(&Arc::default(), &JobControl::default(), "s3cret");
        for path in ["/metrics", "/api/v1/status", "/api/v1/process/graph"] {
            assert_eq!(get(address, path, "").await.0, 401, "{path}");
            assert_eq!(get(address, path, "s3cre").await.0, 401, "{path}");
            assert_eq!(get(address, path, "s3cret").await.0, 200, "{path}");
        }
        assert_eq!(get(address, "/healthz", "").await.0, 200);
    }

    #[tokio::test]
    async fn a_savepoint_goes_to_the_coordinator_and_its_answer_comes_back() {
        let control = JobControl::default();
        let address = start(&Arc::default(), &control, "");
        let client = Client::of(address, "");
        let ask = async |name: &str| {
            let body = serde_json::json!({ "name": name, "stop": true });
            let path = "/api/v1/process/savepoints";
            let answer = client.post(path, &body).await.unwrap();
            (answer.status, answer.text())
        };
        assert_eq!(ask("s1").await.0, 501);
        assert_eq!(ask("../s1").await.0, 400);
        control.serve_savepoints();
        let coordinator = tokio::spawn(async move {
            loop {
                if let Some(request) = control.take_savepoint_request() {
                    let made = SavepointInfo {
                        path: format!("savepoints/{}", request.name),
                        name: request.name.clone(),
                        epoch: 7,
                        bytes: 1,
                    };
                    break request.answer(Ok(made));
                }
                tokio::task::yield_now().await;
            }
        });
        let (status, text) = ask("s1").await;
        assert!(status == 200 && text.contains("savepoints/s1"), "{text}");
        coordinator.await.unwrap();
    }
}
