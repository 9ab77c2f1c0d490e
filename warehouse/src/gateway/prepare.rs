//! Finds a request's statement, in the URL, the body or a form, and reads as much of the body as it needs.

use bytes::Bytes;

use super::body::Body;
use super::request::{Part, Request, multipart};
use super::run::assignments;
use super::statement::{Statement, parse};
use crate::embedded::Exception;

/// The engine's default for `max_query_size`: a statement's head must end within so many bytes.
const MAX_QUERY_BYTES: usize = 256 << 10;
/// The longest statement that is taken whole, INSERTs from the body apart.
pub(crate) const MAX_STATEMENT_BYTES: usize = 64 << 20;

/// Settings that an INSERT takes as well from its own SETTINGS clause as from its connection. There they leave nothing
/// behind, which saves closing and opening a connection, a third of a small INSERT's time.
const CLAUSE_SETTINGS: &[&str] = &[
    "async_insert",
    "deduplicate_insert",
    "deduplicate_blocks_in_dependent_materialized_views",
    "insert_deduplicate",
    "insert_deduplication_token",
    "max_insert_threads",
];

/// A statement with its text, and what of the body has been read for it.
pub(crate) struct Prepared {
    pub(crate) sql: String,
    pub(crate) statement: Statement,
    /// Data of an INSERT that came with the statement.
    pub(crate) data: Bytes,
}

/// Finds the statement, in the URL, the body or a form, and reads as much of the body as it needs.
pub(crate) fn prepare(request: &mut Request, body: &mut Body) -> Result<Prepared, Exception> {
    if let Some(boundary) = request.boundary.take() {
        read_form(request, body, &boundary)?;
    }
    let mut text = std::mem::take(&mut request.query).into_bytes();
    let mut statement = parse(&text);
    let needs_body = !matches!(
        &statement,
        Statement::Insert {
            format: Some(_),
            ..
        }
    );
    if needs_body {
        // The statement is in the body, or goes on there.
        if !text.is_empty() {
            text.push(b'\n');
        }
        let (head, mut whole) = body.read_head(MAX_QUERY_BYTES)?;
        text.extend_from_slice(&head);
        statement = parse(&text);
        if !whole && !matches!(statement, Statement::Insert { .. }) {
            let (rest, ended) = body.read_head(MAX_STATEMENT_BYTES)?;
            text.extend_from_slice(&rest);
            whole = ended;
            statement = parse(&text);
            if !whole {
                let text = format_args!("the statement is longer than {MAX_STATEMENT_BYTES} bytes");
                return Err(Exception::new(66, "QUERY_IS_TOO_LARGE", text));
            }
        }
    }
    let (head, data) = match &statement {
        Statement::Insert { head, data, .. } => (*head, *data),
        _ => (text.len(), text.len()),
    };
    let data = Bytes::copy_from_slice(&text[data..]);
    text.truncate(head);
    let sql = String::from_utf8(text)
        .map_err(|_| Exception::new(62, "SYNTAX_ERROR", "the statement is not valid UTF-8"))?;
    if sql.trim().is_empty() {
        return Err(Exception::new(
            62,
            "SYNTAX_ERROR",
            "Syntax error: Empty query",
        ));
    }
    if statement == Statement::Several {
        return Err(Exception::new(
            62,
            "SYNTAX_ERROR",
            "Syntax error (Multi-statements are not allowed)",
        ));
    }
    let sql = if takes_settings(request, &statement) {
        let settings = std::mem::take(&mut request.settings);
        format!("{sql} SETTINGS {}", assignments(&settings).join(", "))
    } else {
        sql
    };
    Ok(Prepared {
        sql,
        statement,
        data,
    })
}

/// Whether the request's settings can go into the statement itself.
fn takes_settings(request: &Request, statement: &Statement) -> bool {
    let clause_free = matches!(
        statement,
        Statement::Insert {
            settings: false,
            ..
        }
    );
    let known = |(name, _): &(String, String)| CLAUSE_SETTINGS.contains(&name.as_str());
    clause_free && !request.settings.is_empty() && request.settings.iter().all(known)
}

/// The parts of a form are parameters, the query among them.
fn read_form(request: &mut Request, body: &mut Body, boundary: &str) -> Result<(), Exception> {
    let (form, whole) = body.read_head(MAX_STATEMENT_BYTES)?;
    if !whole {
        let text = format_args!("the form is longer than {MAX_STATEMENT_BYTES} bytes");
        return Err(Exception::new(66, "QUERY_IS_TOO_LARGE", text));
    }
    for Part {
        name,
        is_file,
        content,
    } in multipart(&form, boundary)?
    {
        if is_file {
            let text = format_args!(
                "external tables ('{name}') are not supported by the embedded warehouse"
            );
            return Err(Exception::new(48, "NOT_IMPLEMENTED", text));
        }
        let value = String::from_utf8(content.to_vec()).map_err(|_| {
            Exception::new(
                36,
                "BAD_ARGUMENTS",
                format_args!("the form's '{name}' is not UTF-8"),
            )
        })?;
        if name == "query" && !request.query.is_empty() {
            request.query.push('\n');
            request.query.push_str(&value);
        } else {
            request.set(name, value)?;
        }
    }
    Ok(())
}
