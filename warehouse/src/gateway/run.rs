//! Runs one statement on a connection, on a thread of its own.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::body::{Body, BodySource};
use super::format::{Joiner, Joining};
use super::native;
use super::prepare::{MAX_STATEMENT_BYTES, Prepared, prepare};
use super::reply::{Reply, Stop};
use super::request::Request;
use super::session::{Sessions, restoring};
use super::statement::{Kind, Statement};
use crate::embedded::{Admission, Connection, Engine, Exception, Query};
use crate::quote::{quote_identifier, quote_text};

/// The tag of the connection that a query runs on at this moment, for the one that may have to end it.
#[derive(Default)]
pub(crate) struct Running(Mutex<Option<String>>);

impl Running {
    fn set(&self, tag: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = tag;
    }

    /// Whether there is something to end.
    pub(crate) fn is_running(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Ends the query if it still runs. The lock is held meanwhile, so that the connection can't pass to another query.
    pub(crate) fn kill(&self, engine: &Engine) {
        let tag = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tag) = tag.as_deref()
            && let Err(error) = engine.kill(tag)
        {
            tracing::warn!(%error, "can't end a query whose client is gone");
        }
    }
}

/// One request on its way through the engine.
pub(crate) struct Task {
    pub(crate) engine: Arc<Engine>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) request: Request,
    pub(crate) body: BodySource,
    pub(crate) admission: Admission,
    pub(crate) running: Arc<Running>,
}

impl Task {
    /// Runs to the end; returns the statement and its failure, for the log.
    pub(crate) fn run(self, reply: &mut Reply) -> Result<(), (String, Exception)> {
        let Self {
            engine,
            sessions,
            mut request,
            body,
            admission,
            running,
        } = self;
        // Decoders read ahead, so that they too are made on this thread.
        let mut body = match Body::new(body, request.content, request.decompress) {
            Ok(body) => body,
            Err(exception) => {
                reply.fail(&exception);
                return Err((request.query, exception));
            }
        };
        let prepared = match prepare(&mut request, &mut body) {
            Ok(prepared) => prepared,
            Err(exception) => {
                body.drain(MAX_STATEMENT_BYTES);
                reply.fail(&exception);
                return Err((request.query, exception));
            }
        };
        let run = Run {
            request: &request,
            prepared: &prepared,
            running: &running,
        };
        let outcome = run.on_engine(&engine, &sessions, admission, &mut body, reply);
        match outcome {
            Ok(()) => Ok(()),
            Err(Stop::ClientGone) => {
                tracing::debug!("a client went away before its result was complete");
                Ok(())
            }
            Err(Stop::Failed(exception)) => {
                body.drain(MAX_STATEMENT_BYTES);
                reply.fail(&exception);
                Err((prepared.sql, exception))
            }
        }
    }
}

/// A statement that is ready to be run.
struct Run<'a> {
    request: &'a Request,
    prepared: &'a Prepared,
    running: &'a Running,
}

impl Run<'_> {
    /// Runs on a connection of the pool, or on that of the request's session.
    fn on_engine(
        &self,
        engine: &Engine,
        sessions: &Sessions,
        admission: Admission,
        body: &mut Body,
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        let asked = self.request.database.as_deref();
        let leaves_state = matches!(
            self.prepared.statement,
            Statement::Other {
                kind: Kind::Session,
                ..
            }
        );
        let session = self.request.session_id.as_deref();
        let held = session.map_or(Ok(None), |id| sessions.take(id))?;
        let (mut lease, busy) = match held {
            Some((connection, busy)) => (engine.adopt(admission, connection), Some(busy)),
            None => {
                let busy = session
                    .filter(|_| leaves_state)
                    .map(|id| sessions.begin(id))
                    .transpose()?;
                let lease = engine.lease(admission, asked.unwrap_or("default"));
                (
                    lease.map_err(|error| Stop::Failed(error.into_exception()))?,
                    busy,
                )
            }
        };
        let Some(busy) = busy else {
            let outcome = self.on_connection(lease.connection(), body, reply);
            // Before the connection is closed, if it is: that can go on while the answer is under way.
            let outcome = outcome.and_then(|()| reply.finish());
            let clean = !leaves_state && !changes_settings(self.request, &self.prepared.statement);
            if clean && outcome.is_ok() {
                lease.keep_clean();
            }
            return outcome;
        };
        if let Some(database) = asked {
            lease
                .connection()
                .execute(&format!("USE {}", quote_identifier(database)))?;
        }
        if is_restricted(self.request, &self.prepared.statement) {
            // Once set, `readonly` could not be taken back.
            let text = "Cannot execute query in readonly mode: use POST";
            busy.give_back(lease.detach(), self.request.session_timeout);
            return Err(Exception::new(164, "READONLY", text).into());
        }
        let restore = restoring(lease.connection(), self.request)?;
        let outcome = self.on_connection(lease.connection(), body, reply);
        if let Some(restore) = restore {
            lease.connection().execute(&restore)?;
        }
        busy.give_back(lease.detach(), self.request.session_timeout);
        // Only now: the answer lets the client send the session's next request.
        outcome?;
        reply.finish()
    }

    fn on_connection(
        &self,
        connection: &mut Connection,
        body: &mut Body,
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        self.running.set(Some(connection.tag().to_owned()));
        // Dropped before the connection passes on, whatever happens: nobody may end another query by its tag.
        let _cleared = Cleared(self.running);
        apply_settings(connection, self.request, &self.prepared.statement)?;
        run_statement(connection, self.request, self.prepared, body, reply)
    }
}

struct Cleared<'a>(&'a Running);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// Whether a request leaves settings on its connection.
fn changes_settings(request: &Request, statement: &Statement) -> bool {
    !request.settings.is_empty() || is_restricted(request, statement)
}

/// A GET may not write: ClickHouse sets `readonly` for it. Statements that only read, or change no more than a session, go without.
fn is_restricted(request: &Request, statement: &Statement) -> bool {
    let harmless = matches!(
        statement,
        Statement::Other {
            kind: Kind::Select | Kind::Read | Kind::Session,
            ..
        }
    );
    request.read_only && !harmless
}

/// `name = 'value'` for each setting.
pub(crate) fn assignments(settings: &[(String, String)]) -> Vec<String> {
    let one = |(name, value): &(String, String)| format!("{name} = {}", quote_text(value));
    settings.iter().map(one).collect()
}

/// Applies the request's settings to the connection.
fn apply_settings(
    connection: &mut Connection,
    request: &Request,
    statement: &Statement,
) -> Result<(), Stop> {
    let mut list = assignments(&request.settings);
    if is_restricted(request, statement) {
        list.push("readonly = 2".to_owned());
    }
    if !list.is_empty() {
        connection.execute(&format!("SET {}", list.join(", ")))?;
    }
    Ok(())
}

fn run_statement(
    connection: &mut Connection,
    request: &Request,
    prepared: &Prepared,
    body: &mut Body,
    reply: &mut Reply,
) -> Result<(), Stop> {
    let asked = request.default_format.as_deref();
    match &prepared.statement {
        Statement::Insert { format, .. } => {
            let format = format.as_deref().or(asked).unwrap_or("Values");
            let query = Query {
                sql: &prepared.sql,
                format,
                params: &request.params,
            };
            let mut insert = connection.insert(query)?;
            if !prepared.data.is_empty() {
                insert.append(&prepared.data)?;
            }
            while let Some(piece) = body.next()? {
                insert.append(&piece)?;
            }
            reply.progress = insert.finish()?;
            Ok(())
        }
        Statement::Other { kind, format } => {
            let format = format.as_deref().or(asked).unwrap_or("TabSeparated");
            let query = Query {
                sql: &prepared.sql,
                format,
                params: &request.params,
            };
            match kind {
                Kind::Select
                    if Joining::of(format) != Joining::Never
                        && !is_framed(&prepared.sql, request) =>
                {
                    reply.format = Some(format.to_owned());
                    run_select(connection, query, request.revision, reply)
                }
                Kind::Select | Kind::Read => {
                    reply.format = Some(format.to_owned());
                    run_whole(connection, query, request.revision, reply)
                }
                Kind::Session | Kind::Write => {
                    run_whole(connection, query, request.revision, reply)
                }
            }
        }
        // INVARIANT: refused by `prepare`.
        Statement::Several => Ok(()),
    }
}

/// Whether settings or totals make a document of a format that else is a plain sequence of rows.
fn is_framed(sql: &str, request: &Request) -> bool {
    let upper = sql.to_ascii_uppercase();
    let set = |name: &str| {
        request
            .settings
            .iter()
            .any(|(key, value)| key == name && value != "0" && value != "false")
    };
    upper.contains("TOTALS")
        || upper.contains("EXTREMES")
        || upper.contains("OUTPUT_FORMAT_JSON_ARRAY_OF_ROWS")
        || set("extremes")
        || set("output_format_json_array_of_rows")
}

fn run_select(
    connection: &mut Connection,
    query: Query<'_>,
    revision: u32,
    reply: &mut Reply,
) -> Result<(), Stop> {
    let joining = Joining::of(query.format);
    let started = connection.stream(query);
    if started.as_ref().is_err_and(is_not_streamable) {
        drop(started);
        return run_whole(connection, query, revision, reply);
    }
    let mut stream = started?;
    let mut joiner = Joiner::new(joining);
    while let Some(chunk) = stream.next_chunk()? {
        reply.progress.add(&chunk.progress());
        let repeated = joiner.repeated(chunk.bytes());
        let bytes = Bytes::from_owner(chunk).slice(repeated..);
        push(bytes, joining, revision, reply)?;
    }
    Ok(())
}

/// The engine refuses to stream some statements that begin as a SELECT; it has not run them then.
fn is_not_streamable(refused: &Exception) -> bool {
    refused.code == 36 && refused.text.contains("Streaming query is not supported")
}

fn run_whole(
    connection: &mut Connection,
    query: Query<'_>,
    revision: u32,
    reply: &mut Reply,
) -> Result<(), Stop> {
    let output = connection.query(query)?;
    reply.progress.add(&output.progress());
    if reply.format.is_none() && !output.bytes().is_empty() {
        reply.format = Some(query.format.to_owned());
    }
    push(
        Bytes::from_owner(output),
        Joining::of(query.format),
        revision,
        reply,
    )
}

fn push(bytes: Bytes, joining: Joining, revision: u32, reply: &mut Reply) -> Result<(), Stop> {
    if joining == Joining::Blocks && revision > 0 {
        return reply.push(native::for_revision(&bytes, revision)?);
    }
    reply.push(bytes)
}
