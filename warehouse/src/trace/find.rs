//! Finds what the user named: a trace, a session's traces, or the newest trace that is finished.

use serde::Deserialize;

use super::{Span, Trace};
use crate::client::{self, Client};

/// Most spans that are read of one trace; a tree of more helps nobody.
const MAX_SPANS: usize = 20_000;
/// Most traces of a session that are shown.
const MAX_TRACES: usize = 200;

/// Why there is no trace to show.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The warehouse could not be asked.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// Nothing has that id.
    #[error(
        "there is neither a trace nor a session `{0}` in the warehouse (a span is visible a second or two after it ended)"
    )]
    NotFound(String),
    /// No trace at all.
    #[error(
        "no trace with a root has landed yet; is the stream job running, and does an agent send?"
    )]
    NothingYet,
}

#[derive(Deserialize)]
struct Id {
    trace_id: String,
}

/// The traces that `what` names, oldest first: a trace id, a session id, or `latest`.
///
/// # Errors
/// See [`TraceError`].
pub async fn find(client: &Client, what: &str) -> Result<Vec<Trace>, TraceError> {
    client.version().await?;
    let ids = match what {
        "latest" => vec![latest(client).await?],
        id if is_trace_id(id) => vec![id.to_ascii_lowercase()],
        id => traces_of_session(client, id).await?,
    };
    let mut traces = Vec::with_capacity(ids.len());
    for trace_id in ids {
        let spans = spans(client, &trace_id).await?;
        if !spans.is_empty() {
            let session_id = session(client, &trace_id).await?;
            traces.push(Trace {
                trace_id,
                session_id,
                spans,
            });
        }
    }
    if traces.is_empty() && is_trace_id(what) {
        // A session id may look like a trace id.
        for trace_id in traces_of_session(client, what).await? {
            let spans = spans(client, &trace_id).await?;
            traces.push(Trace {
                trace_id,
                session_id: what.to_owned(),
                spans,
            });
        }
    }
    if traces.is_empty() {
        return Err(TraceError::NotFound(what.to_owned()));
    }
    traces.sort_by_key(|trace| trace.spans.iter().map(|span| span.start_us).min());
    Ok(traces)
}

fn is_trace_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

async fn latest(client: &Client) -> Result<String, TraceError> {
    let finished = "SELECT trace_id FROM dws_trace_latest WHERE state IN ('done', 'failed') \
                    ORDER BY last_time DESC, trace_id LIMIT 1";
    let rooted = "SELECT trace_id FROM dwd_span WHERE parent_span_id = '' ORDER BY end_time DESC, trace_id LIMIT 1";
    for sql in [finished, rooted] {
        if let Some(row) = client.rows::<Id>(sql, &[]).await?.into_iter().next() {
            return Ok(row.trace_id);
        }
    }
    Err(TraceError::NothingYet)
}

async fn traces_of_session(client: &Client, session: &str) -> Result<Vec<String>, client::Error> {
    // Rows of older revisions narrow the search; the newest ones decide.
    let sql = format!(
        "SELECT trace_id FROM dws_trace_latest \
         WHERE trace_id IN (SELECT trace_id FROM dws_trace WHERE session_id = {{session:String}}) \
         AND session_id = {{session:String}} \
         UNION DISTINCT \
         SELECT DISTINCT trace_id FROM dwd_span \
         WHERE session_id = {{session:String}} OR conversation_id = {{session:String}} \
         LIMIT {MAX_TRACES}"
    );
    let rows: Vec<Id> = client.rows(&sql, &[("session", session)]).await?;
    Ok(rows.into_iter().map(|row| row.trace_id).collect())
}

async fn spans(client: &Client, trace_id: &str) -> Result<Vec<Span>, client::Error> {
    let sql = format!(
        "SELECT span_id, parent_span_id, toUnixTimestamp64Micro(start_time) AS start_us, \
         toUnixTimestamp64Micro(end_time) AS end_us, duration_us, agent, name, step_type, tool_name, model, status, \
         error_type, substring(error_message, 1, 200) AS error_message, input_tokens, output_tokens \
         FROM dwd_span WHERE trace_id = {{id:String}} \
         ORDER BY start_time, end_time DESC, span_id, content_hash LIMIT {MAX_SPANS}"
    );
    client.rows(&sql, &[("id", trace_id)]).await
}

async fn session(client: &Client, trace_id: &str) -> Result<String, client::Error> {
    #[derive(Deserialize)]
    struct Session {
        session_id: String,
    }
    let sql = "SELECT session_id FROM dws_trace_latest WHERE trace_id = {id:String}";
    let rows: Vec<Session> = client.rows(sql, &[("id", trace_id)]).await?;
    Ok(rows
        .into_iter()
        .next()
        .map(|row| row.session_id)
        .unwrap_or_default())
}
