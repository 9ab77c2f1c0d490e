//! One HTTP request, from its head to its response.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::extract::{ConnectInfo, Request as HttpRequest, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::body::BodySource;
use super::coding::{Coding, Encoder};
use super::format::content_type;
use super::reply::{Head, Reply, with_version};
use super::request::Request;
use super::run::{Running, Task};
use super::server::Shared;
use super::status::http_status;
use super::wire::Flushed;
use crate::embedded::{Engine, Exception, Progress};

/// Encoded bytes of a result that are held back before the first is sent, as in ClickHouse.
const HOLD_BYTES: usize = 1 << 20;
/// Characters of a statement, and of an error, in the log.
const LOGGED: usize = 400;

pub(crate) async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(flushed): ConnectInfo<Flushed>,
    http: HttpRequest,
) -> Response {
    match (http.method(), http.uri().path()) {
        (&Method::GET | &Method::HEAD, "/ping" | "/replicas_status") => {
            plain(StatusCode::OK, "Ok.\n".to_owned())
        }
        (&Method::GET | &Method::HEAD | &Method::POST | &Method::PUT, "/") => {
            query(shared, flushed, http).await
        }
        (method, "/") => plain(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{method} is not supported; use GET or POST\n"),
        ),
        (_, path) => plain(
            StatusCode::NOT_FOUND,
            format!("There is no handle {path}. Use / for queries, or /ping for health checks.\n"),
        ),
    }
}

async fn query(shared: Arc<Shared>, flushed: Flushed, http: HttpRequest) -> Response {
    let (parts, body) = http.into_parts();
    let url = parts.uri.query().unwrap_or_default();
    let request = match Request::read(&parts.method, url, &parts.headers) {
        Ok(request) => request,
        Err(exception) => return shared.failure(&exception, ""),
    };
    let query_id = request
        .query_id
        .clone()
        .unwrap_or_else(|| shared.new_query_id());
    if let Err(exception) = shared.authorize(&request) {
        return shared.failure(&exception, &query_id);
    }
    if parts.method == Method::GET && request.query.is_empty() && url.is_empty() {
        return plain(StatusCode::OK, "Ok.\n".to_owned());
    }
    match answer(&shared, request, body, &query_id, flushed).await {
        Ok(response) => response,
        Err(exception) => shared.failure(&exception, &query_id),
    }
}

async fn answer(
    shared: &Arc<Shared>,
    request: Request,
    body: HttpBody,
    query_id: &str,
    flushed: Flushed,
) -> Result<Response, Exception> {
    let admission = shared
        .engine
        .admit()
        .await
        .map_err(crate::embedded::EngineError::into_exception)?;
    let runtime = tokio::runtime::Handle::current();
    let body = BodySource {
        stream: body.into_data_stream(),
        runtime: runtime.clone(),
        idle: shared.idle_timeout,
    };
    let coding = request.accept;
    let encoder = if request.compress {
        Ok(Encoder::Frames)
    } else {
        Encoder::new(coding)
    };
    let encoder = encoder.map_err(|error| {
        Exception::new(
            432,
            "UNKNOWN_CODEC",
            format_args!("can't compress the response: {error}"),
        )
    })?;
    let tag = shared.random_letters();
    let hold = if request.wait_end_of_query {
        usize::MAX
    } else {
        HOLD_BYTES
    };
    let version = shared.engine.version().to_owned();
    let (mut reply, head) = Reply::new(
        runtime,
        encoder,
        hold,
        shared.idle_timeout,
        tag.clone(),
        version,
    );
    let running = Arc::new(Running::default());
    let mut guard = KillOnDrop {
        engine: Arc::clone(&shared.engine),
        running: Arc::clone(&running),
        armed: true,
    };
    let task = Task {
        engine: Arc::clone(&shared.engine),
        sessions: Arc::clone(&shared.sessions),
        request,
        body,
        admission,
        running,
    };
    let logged_id = query_id.to_owned();
    tokio::task::spawn_blocking(move || {
        if let Err((sql, exception)) = task.run(&mut reply) {
            let (sql, error) = (cut(&sql), cut(&exception.text));
            tracing::warn!(
                query_id = logged_id,
                code = exception.code,
                error,
                sql,
                "query failed"
            );
        }
    });
    let head = match head.await {
        Ok(head) => head?,
        Err(_) => {
            return Err(Exception::new(
                1002,
                "UNKNOWN_EXCEPTION",
                "the query's thread ended without an answer",
            ));
        }
    };
    if head.rest.is_none() {
        guard.armed = false;
    }
    let mut response = respond(head, coding, guard, flushed, shared.idle_timeout);
    shared.describe(&mut response, query_id);
    insert(&mut response, "x-clickhouse-exception-tag", &tag);
    Ok(response)
}

/// Ends the query when nobody waits for it any more.
struct KillOnDrop {
    engine: Arc<Engine>,
    running: Arc<Running>,
    armed: bool,
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if self.armed && self.running.is_running() {
            let (engine, running) = (Arc::clone(&self.engine), Arc::clone(&self.running));
            tokio::task::spawn_blocking(move || running.kill(&engine));
        }
    }
}

fn respond(
    head: Head,
    coding: Option<Coding>,
    guard: KillOnDrop,
    flushed: Flushed,
    patience: Duration,
) -> Response {
    let has_result = head.format.is_some();
    let body = match head.rest {
        None => HttpBody::from(joined(head.first)),
        Some(rest) => {
            let first = stream::iter(head.first.into_iter().map(Ok));
            let rest = stream::unfold(
                (rest, guard, flushed),
                move |(mut rest, guard, flushed)| async move {
                    let piece = rest.recv().await?;
                    if piece.is_err() {
                        // A client that does not read gets no more than the cut.
                        let _ = tokio::time::timeout(patience, flushed.next()).await;
                    }
                    Some((piece, (rest, guard, flushed)))
                },
            );
            HttpBody::from_stream(first.chain(rest))
        }
    };
    let mut response = Response::new(body);
    if let Some(format) = &head.format {
        insert(
            &mut response,
            header::CONTENT_TYPE.as_str(),
            content_type(format),
        );
        insert(&mut response, "x-clickhouse-format", format);
        if let Some(coding) = coding {
            insert(
                &mut response,
                header::CONTENT_ENCODING.as_str(),
                coding.name(),
            );
        }
    } else {
        debug_assert!(!has_result);
        insert(
            &mut response,
            header::CONTENT_TYPE.as_str(),
            "text/plain; charset=UTF-8",
        );
    }
    insert(
        &mut response,
        "x-clickhouse-summary",
        &summary(&head.progress),
    );
    response
}

fn cut(text: &str) -> &str {
    text.char_indices()
        .nth(LOGGED)
        .map_or(text, |(at, _)| &text[..at])
        .trim_end()
}

fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() == 1 {
        return pieces.pop().unwrap_or_default();
    }
    pieces.concat().into()
}

fn summary(progress: &Progress) -> String {
    let Progress {
        read_rows,
        read_bytes,
        written_rows,
        written_bytes,
        result_rows,
        result_bytes,
    } = progress;
    format!(
        "{{\"read_rows\":\"{read_rows}\",\"read_bytes\":\"{read_bytes}\",\"written_rows\":\"{written_rows}\",\
         \"written_bytes\":\"{written_bytes}\",\"total_rows_to_read\":\"0\",\"result_rows\":\"{result_rows}\",\
         \"result_bytes\":\"{result_bytes}\"}}"
    )
}

pub(crate) fn plain(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(HttpBody::from(text));
    *response.status_mut() = status;
    insert(
        &mut response,
        header::CONTENT_TYPE.as_str(),
        "text/plain; charset=UTF-8",
    );
    response
}

/// Sets a header; a value that HTTP doesn't allow in one is left out.
pub(crate) fn insert(response: &mut Response, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}

impl Shared {
    /// The response to a request that failed before its result began.
    pub(crate) fn failure(&self, exception: &Exception, query_id: &str) -> Response {
        let mut response = plain(
            http_status(exception.code),
            with_version(exception, self.engine.version()),
        );
        self.describe(&mut response, query_id);
        insert(
            &mut response,
            "x-clickhouse-exception-code",
            &exception.code.to_string(),
        );
        response
    }

    /// The headers that all answers of ClickHouse have.
    fn describe(&self, response: &mut Response, query_id: &str) {
        insert(response, "x-clickhouse-server-display-name", "spanflow");
        insert(response, "x-clickhouse-timezone", self.engine.time_zone());
        insert(response, "x-clickhouse-query-id", query_id);
    }
}
