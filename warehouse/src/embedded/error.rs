//! Errors of the embedded engine, and ClickHouse's exceptions read back from their text.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// An exception of ClickHouse: its number, and its text as the server would print it, without the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// ClickHouse's error code, such as 60 for `UNKNOWN_TABLE`; 1002 (`UNKNOWN_EXCEPTION`) where the text has none.
    pub code: u32,
    /// `Code: 60. DB::Exception: … (UNKNOWN_TABLE)`.
    pub text: String,
}

impl Exception {
    /// An exception of the gateway's own, in ClickHouse's form.
    pub fn new(code: u32, name: &str, message: impl fmt::Display) -> Self {
        Self {
            code,
            text: format!("Code: {code}. DB::Exception: {message} ({name})"),
        }
    }

    /// Reads what the engine reports; a text without `Code: N.` is wrapped as `UNKNOWN_EXCEPTION`.
    pub fn parse(text: &str) -> Self {
        let text = strip_version(text.trim());
        let code = text
            .strip_prefix("Code: ")
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(number, _)| number.trim().parse().ok());
        match code {
            Some(code) => Self {
                code,
                text: text.to_owned(),
            },
            None => Self::new(1002, "UNKNOWN_EXCEPTION", text),
        }
    }
}

/// Some of the engine's texts end with `(version …)` and some do not: the gateway adds it to all alike.
fn strip_version(text: &str) -> &str {
    match text.rfind(" (version ") {
        Some(at) if text.ends_with(')') => &text[..at],
        _ => text,
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Exception {}

/// Why the embedded engine can't be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The library isn't in the cache.
    #[error(
        "the ClickHouse engine isn't installed: {path} is missing; run `warehouse fetch` first"
    )]
    NotInstalled {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The library is there, but can't be loaded.
    #[error("can't load {path}: {source}; if the file is damaged, run `warehouse fetch --force`")]
    Load {
        /// The library.
        path: PathBuf,
        /// What the loader said.
        source: libloading::Error,
    },
    /// Another process holds the data folder.
    #[error(
        "the data folder {path} is in use by {holder}; stop that process, or choose another folder with --data"
    )]
    InUse {
        /// The data folder.
        path: PathBuf,
        /// `process 1234 (program), since ...`, or `another process` where the lock file names none.
        holder: String,
    },
    /// The data folder can't be created or locked.
    #[error("can't use the data folder {path}: {source}")]
    DataFolder {
        /// The data folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The engine refused to start.
    #[error("the engine can't open {path}: {reason}")]
    Connect {
        /// The data folder.
        path: PathBuf,
        /// What the engine wrote to standard error.
        reason: String,
    },
    /// All connections are busy, and none came free in time.
    #[error(
        "{waiting} queries are waiting for one of {connections} connections; none came free within {waited_ms} ms"
    )]
    Busy {
        /// Queries in the queue, this one included.
        waiting: usize,
        /// The size of the pool.
        connections: usize,
        /// How long this one waited, in milliseconds.
        waited_ms: u128,
    },
    /// A query failed.
    #[error(transparent)]
    Query(#[from] Exception),
}

impl EngineError {
    /// The same as ClickHouse would report it to a client.
    pub fn into_exception(self) -> Exception {
        match self {
            Self::Query(exception) => exception,
            Self::Busy { .. } => Exception::new(202, "TOO_MANY_SIMULTANEOUS_QUERIES", self),
            other => Exception::new(1002, "UNKNOWN_EXCEPTION", other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_read_with_and_without_its_version() {
        let bare = Exception::parse("Code: 60. DB::Exception: Unknown table. (UNKNOWN_TABLE)");
        let full = Exception::parse(
            "Code: 60. DB::Exception: Unknown table. (UNKNOWN_TABLE) (version 26.7.2.1)",
        );
        assert_eq!(bare, full);
        assert_eq!(bare.code, 60);
    }

    #[test]
    fn a_text_without_a_code_becomes_an_unknown_exception() {
        let odd = Exception::parse("send_insert requires an INSERT query");
        assert_eq!(odd.code, 1002);
        assert!(odd.text.ends_with("(UNKNOWN_EXCEPTION)"), "{odd}");
    }
}
