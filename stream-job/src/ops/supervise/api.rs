//! The job's HTTP API, as docs/openapi.json describes it. A test holds the two equal, both ways.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::board::{Board, Command};
use super::logs::LogPage;
use super::programs;
use super::status::{JobState, JobStatus};
use crate::dataflow::graph::Format;
use crate::ops::control::is_name;
use crate::ops::http::{ApiError, exposition, require_token};
use crate::ops::process_api::{GraphQuery, SavepointBody, bad_savepoint_name};

/// The description of this API.
pub const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// Lines that one answer of `logs` holds unless asked otherwise, and at most.
const LINES: usize = 100;
const MOST_LINES: usize = 5_000;

type Shared = Arc<Board>;

/// A method and a path as the description writes them, and who answers.
struct Route {
    path: &'static str,
    methods: &'static [&'static str],
    handler: fn() -> MethodRouter<Shared>,
    /// Asked for by probes, without a token; what they learn is one word.
    open: bool,
}

const fn guarded(
    path: &'static str,
    methods: &'static [&'static str],
    handler: fn() -> MethodRouter<Shared>,
) -> Route {
    Route {
        path,
        methods,
        handler,
        open: false,
    }
}

const fn open(path: &'static str, handler: fn() -> MethodRouter<Shared>) -> Route {
    Route {
        path,
        methods: &["get"],
        handler,
        open: true,
    }
}

const ROUTES: &[Route] = &[
    open("/healthz", || get(healthz)),
    open("/readyz", || get(readyz)),
    guarded("/metrics", &["get"], || get(metrics)),
    guarded("/api/v1/openapi.json", &["get"], || get(openapi)),
    guarded("/api/v1/status", &["get"], || get(only_status)),
    guarded("/api/v1/jobs", &["get"], || get(jobs)),
    guarded("/api/v1/jobs/{job}", &["get", "delete"], || {
        get(status).delete(delete)
    }),
    guarded("/api/v1/jobs/{job}/cancel", &["post"], || post(cancel)),
    guarded("/api/v1/jobs/{job}/savepoints", &["post"], || {
        post(savepoint)
    }),
    guarded("/api/v1/jobs/{job}/handover", &["post"], || post(hand_over)),
    guarded("/api/v1/jobs/{job}/logs", &["get"], || get(logs)),
    guarded("/api/v1/jobs/{job}/graph", &["get"], || get(graph)),
];

/// Every method and path that the server answers.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES
        .iter()
        .flat_map(|route| route.methods.iter().map(|method| (*method, route.path)))
}

/// The server of one supervisor. An empty token asks for none.
pub(crate) fn router(board: Shared, token: &str) -> Router {
    let token: Arc<str> = token.into();
    let with = |open: bool| {
        let routes = ROUTES.iter().filter(|route| route.open == open);
        routes.fold(Router::new(), |router, route| {
            router.route(route.path, (route.handler)())
        })
    };
    let guarded = with(false).route_layer(from_fn_with_state(token, require_token));
    with(true).merge(guarded).with_state(board)
}

/// A JSON body, with our own words where it is none.
struct Json<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, ApiError> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Json(body)),
            Err(rejection @ JsonRejection::MissingJsonContentType(_)) => Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                rejection.body_text(),
            )),
            Err(rejection) => Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                rejection.body_text(),
            )),
        }
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A query, with our own words where it is wrong.
struct Query<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        state: &S,
    ) -> Result<Self, ApiError> {
        axum::extract::Query::<T>::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(query)| Query(query))
            .map_err(|rejection: QueryRejection| {
                ApiError::new(StatusCode::BAD_REQUEST, rejection.body_text())
            })
    }
}

/// The job of the path; this server has one.
struct Job(Shared);

impl FromRequestParts<Shared> for Job {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        board: &Shared,
    ) -> Result<Self, ApiError> {
        let Path(name) = Path::<String>::from_request_parts(parts, board)
            .await
            .map_err(|rejection| ApiError::new(StatusCode::BAD_REQUEST, rejection.body_text()))?;
        if name == board.name {
            return Ok(Job(Arc::clone(board)));
        }
        Err(ApiError::new(
            StatusCode::NOT_FOUND,
            format!(
                "no job is called `{name}` here; this one is `{}`",
                board.name
            ),
        ))
    }
}

/// One job in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEntry {
    /// Its name.
    pub name: String,
    /// How far it has come.
    pub state: JobState,
}

/// All jobs of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<JobEntry>,
}

/// How a job is asked to end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelBody {
    /// Whether what was read lands first.
    pub drain: bool,
}

/// A program to hand over to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandOverBody {
    /// Name of a file in the supervisor's `jobs_dir`.
    pub binary: String,
}

/// How a hand-over went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HandOverAnswer {
    /// The savepoint that the new program began from, and the old one where it runs again.
    pub savepoint: String,
    /// Whether the new program runs.
    pub handed_over: bool,
    /// Why not; then the old one runs again.
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    lines: Option<usize>,
    from: Option<u64>,
}

async fn healthz(State(board): State<Shared>) -> (StatusCode, String) {
    match board.stuck().await {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(stuck) => (StatusCode::SERVICE_UNAVAILABLE, format!("{stuck}\n")),
    }
}

async fn readyz(State(board): State<Shared>) -> (StatusCode, String) {
    match board.not_ready().await {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(board): State<Shared>) -> Response {
    exposition(board.metrics().await)
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn only_status(State(board): State<Shared>) -> Json<JobStatus> {
    Json(board.status().await)
}

async fn jobs(State(board): State<Shared>) -> Json<JobList> {
    let entry = JobEntry {
        name: board.name.clone(),
        state: board.state(),
    };
    Json(JobList { jobs: vec![entry] })
}

async fn status(Job(board): Job) -> Json<JobStatus> {
    Json(board.status().await)
}

async fn delete(Job(board): Job) -> Result<Response, ApiError> {
    end(&board, true).await
}

async fn cancel(Job(board): Job, Json(asked): Json<CancelBody>) -> Result<Response, ApiError> {
    end(&board, asked.drain).await
}

async fn end(board: &Board, drain: bool) -> Result<Response, ApiError> {
    tell(board, |answer| Command::Cancel { drain, answer }).await?;
    let entry = JobEntry {
        name: board.name.clone(),
        state: board.state(),
    };
    Ok((StatusCode::ACCEPTED, axum::Json(entry)).into_response())
}

/// Gives the loop a command and waits for its answer.
async fn tell<T>(
    board: &Board,
    command: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Command,
) -> Result<T, ApiError> {
    let (answer, answered) = oneshot::channel();
    let gone = || ApiError::new(StatusCode::CONFLICT, "the job has just ended");
    let sent = board.commands.send(command(answer)).await;
    sent.map_err(|_| gone())?;
    let result = answered.await.map_err(|_| gone())?;
    result.map_err(|reason| ApiError::new(StatusCode::CONFLICT, reason))
}

async fn savepoint(
    Job(board): Job,
    Json(asked): Json<SavepointBody>,
) -> Result<Response, ApiError> {
    if !is_name(&asked.name) {
        return Err(bad_savepoint_name(&asked.name));
    }
    match board.savepoint(&asked).await {
        // The process's own answer, good or bad.
        Ok((_, answer)) => Ok(passed_on(answer.status, "application/json", answer.body)),
        Err(reason) => Err(ApiError::new(StatusCode::CONFLICT, reason)),
    }
}

fn passed_on(status: u16, content_type: &'static str, body: Bytes) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

async fn hand_over(
    Job(board): Job,
    Json(asked): Json<HandOverBody>,
) -> Result<Json<HandOverAnswer>, ApiError> {
    let program = programs::find(&board.jobs_dir, &asked.binary)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let done = tell(&board, |answer| Command::HandOver { program, answer }).await?;
    Ok(Json(HandOverAnswer {
        savepoint: done.savepoint.path,
        handed_over: done.went_back.is_none(),
        reason: done.went_back,
    }))
}

async fn logs(Job(board): Job, Query(query): Query<LogQuery>) -> Json<LogPage> {
    let lines = query.lines.unwrap_or(LINES).min(MOST_LINES);
    Json(board.logs.page(query.from, lines))
}

async fn graph(Job(board): Job, Query(query): Query<GraphQuery>) -> Result<Response, ApiError> {
    let (word, content_type) = match query.format {
        Format::Json => ("json", "application/json"),
        Format::Text => ("text", "text/plain; charset=utf-8"),
        Format::Mermaid => ("mermaid", "text/plain; charset=utf-8"),
    };
    match board.graph(word).await {
        Some(answer) => Ok(passed_on(answer.status, content_type, answer.body)),
        None => Err(ApiError::new(
            StatusCode::CONFLICT,
            format!("the job is {}: no process answers", board.state().word()),
        )),
    }
}

/// How long a caller should wait for a hand-over: a savepoint, a start, and the way back.
#[must_use]
pub fn hand_over_limit(handover_timeout: Duration) -> Duration {
    2 * super::board::SAVEPOINT_LIMIT + handover_timeout
}
