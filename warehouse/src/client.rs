//! The connection that every command uses: ClickHouse's HTTP interface, with errors in plain words.

use std::{fmt::Display, future::Future, time::Duration};

use clickhouse::query::BytesCursor;
use serde::de::DeserializeOwned;

/// How long to wait for a server to say that it is there.
const GREETING_LIMIT: Duration = Duration::from_secs(10);
/// How long one statement of a command may take before we stop waiting.
const STATEMENT_LIMIT: Duration = Duration::from_secs(600);

/// Large numbers stay numbers, and a query that runs once is not compiled. In the statement, as the embedded warehouse gives
/// a request with settings a connection of its own, which takes it a tenth of a second.
const ROW_SETTINGS: &str = "SETTINGS output_format_json_quote_64bit_integers = 0, compile_expressions = 0, compile_aggregate_expressions = 0";

/// Where the warehouse is.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct ClientOptions {
    /// URL of the warehouse's HTTP interface
    #[arg(long, env = "CLICKHOUSE_URL", default_value = "http://127.0.0.1:8123")]
    pub url: String,
    /// Database
    #[arg(long, env = "CLICKHOUSE_DATABASE", default_value = "spanflow")]
    pub database: String,
    /// User to log in as
    #[arg(long, env = "CLICKHOUSE_USER", default_value = "default")]
    pub user: String,
    /// Token (the user's password); empty when the server asks for none
    #[arg(
        long,
        env = "CLICKHOUSE_TOKEN",
        default_value = "",
        hide_env_values = true
    )]
    pub token: String,
}

/// Why a command on the warehouse failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing answers.
    #[error(
        "the warehouse at {url} is not reachable: {reason}\nStart it with `warehouse serve --data DIR` (or `make demo`), or name another with --url or CLICKHOUSE_URL."
    )]
    Unreachable {
        /// Where we looked.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// The engine refused a statement.
    #[error("{message}{hint} (ClickHouse error {code})")]
    Engine {
        /// ClickHouse's error code.
        code: u32,
        /// What it said, without the version.
        message: String,
        /// What to do about it; empty, or begins with a line break.
        hint: &'static str,
    },
    /// It did not answer in time.
    #[error("the warehouse at {url} gave no answer within {seconds} s")]
    Timeout {
        /// Where we asked.
        url: String,
        /// How long we waited.
        seconds: u64,
    },
    /// It answered something that this program does not understand.
    #[error("the warehouse answered something unexpected: {0}")]
    Answer(String),
}

/// A client of one database.
#[derive(Clone)]
pub struct Client {
    http: clickhouse::Client,
    options: ClientOptions,
}

impl Client {
    /// A client for the database of `options`; nothing is sent yet.
    #[must_use]
    pub fn new(options: &ClientOptions) -> Self {
        let mut http = clickhouse::Client::default()
            .with_url(&options.url)
            .with_compression(clickhouse::Compression::None);
        if !options.database.is_empty() {
            http = http.with_database(&options.database);
        }
        if !options.token.is_empty() || options.user != "default" {
            http = http.with_user(&options.user).with_password(&options.token);
        }
        Self {
            http,
            options: options.clone(),
        }
    }

    /// The same server without a database, for what must work before the database exists.
    #[must_use]
    pub fn without_database(&self) -> Self {
        Self::new(&ClientOptions {
            database: String::new(),
            ..self.options.clone()
        })
    }

    /// Where this client connects.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// Asks the server for its version.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when nothing answers within ten seconds; [`Error::Engine`] when it wants another token.
    pub async fn version(&self) -> Result<String, Error> {
        let server = self.without_database();
        let asked = server.collect("SELECT version()", "TabSeparatedRaw", &[]);
        let answer = tokio::time::timeout(GREETING_LIMIT, asked)
            .await
            .map_err(|_| Error::Unreachable {
                url: self.options.url.clone(),
                reason: format!("no answer within {} s", GREETING_LIMIT.as_secs()),
            })??;
        String::from_utf8(answer)
            .map(|text| text.trim().to_owned())
            .map_err(|error| Error::Answer(error.to_string()))
    }

    /// Runs one statement that gives no rows.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn execute(&self, sql: &str) -> Result<(), Error> {
        self.limited(self.http.query_raw(sql).execute()).await
    }

    /// Runs a query and reads its rows by column name. `parameters` fill `{name:Type}` in the SQL, which must have no
    /// SETTINGS of its own.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Answer`] when a row does not fit `T`.
    pub async fn rows<T: DeserializeOwned>(
        &self,
        sql: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Vec<T>, Error> {
        let sql = format!("{sql}\n{ROW_SETTINGS}");
        let asked = self.collect(&sql, "JSONEachRow", parameters);
        let body = tokio::time::timeout(STATEMENT_LIMIT, asked)
            .await
            .map_err(|_| self.timeout())??;
        body.split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| {
                serde_json::from_slice(line).map_err(|error| {
                    Error::Answer(format!("{error} in {}", String::from_utf8_lossy(line)))
                })
            })
            .collect()
    }

    /// Starts a query whose result comes in pieces, in any format of ClickHouse; the Pretty ones can be `coloured`.
    ///
    /// # Errors
    /// See [`Error`]; later failures come out of [`Client::next`].
    pub fn stream(&self, sql: &str, format: &str, coloured: bool) -> Result<BytesCursor, Error> {
        let mut query = self.http.query_raw(sql);
        if format.starts_with("Pretty") {
            let colour = if coloured { "1" } else { "0" };
            query = query.with_setting("output_format_pretty_color", colour);
        }
        query
            .fetch_bytes(format)
            .map_err(|error| self.explain(&error))
    }

    /// The next piece of a streamed result, `None` at its end.
    ///
    /// # Errors
    /// See [`Error`]: a query can fail after its first rows.
    pub async fn next(&self, cursor: &mut BytesCursor) -> Result<Option<bytes::Bytes>, Error> {
        self.limited(cursor.next()).await
    }

    async fn collect(
        &self,
        sql: &str,
        format: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Vec<u8>, Error> {
        let mut query = self.http.query_raw(sql);
        for (name, value) in parameters {
            query = query.with_setting(format!("param_{name}"), *value);
        }
        let mut cursor = query
            .fetch_bytes(format)
            .map_err(|error| self.explain(&error))?;
        let body = cursor.collect().await;
        body.map(Into::into).map_err(|error| self.explain(&error))
    }

    async fn limited<T>(
        &self,
        work: impl Future<Output = Result<T, clickhouse::error::Error>>,
    ) -> Result<T, Error> {
        tokio::time::timeout(STATEMENT_LIMIT, work)
            .await
            .map_err(|_| self.timeout())?
            .map_err(|error| self.explain(&error))
    }

    fn timeout(&self) -> Error {
        Error::Timeout {
            url: self.options.url.clone(),
            seconds: STATEMENT_LIMIT.as_secs(),
        }
    }

    fn explain(&self, error: &clickhouse::error::Error) -> Error {
        use clickhouse::error::Error as Http;
        match error {
            Http::BadResponse(text) => engine_error(text),
            Http::Network(cause) => Error::Unreachable {
                url: self.options.url.clone(),
                reason: innermost(&**cause),
            },
            Http::InvalidParams(cause) => Error::Unreachable {
                url: self.options.url.clone(),
                reason: format!("not a usable URL ({})", innermost(&**cause)),
            },
            other => Error::Answer(other.to_string()),
        }
    }
}

/// The last cause of a chain: "Connection refused" says more than "client error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

/// Reads ClickHouse's `Code: 60. DB::Exception: … (UNKNOWN_TABLE) (version …)`.
fn engine_error(text: &str) -> Error {
    let text = text.trim();
    let Some((code, message)) = text
        .strip_prefix("Code: ")
        .and_then(|rest| rest.split_once('.'))
        .and_then(|(code, rest)| Some((code.parse::<u32>().ok()?, rest)))
    else {
        return match text {
            "401" | "403" | "Unauthorized" | "Forbidden" => refused(516, text),
            _ => Error::Answer(text.to_owned()),
        };
    };
    let message = message.trim().trim_start_matches("DB::Exception: ");
    let message = message
        .rsplit_once(" (version ")
        .map_or(message, |(head, _)| head);
    refused(code, message.trim())
}

fn refused(code: u32, message: impl Display) -> Error {
    let hint = match code {
        60 | 46 => "\nIf the tables are not there yet, `warehouse migrate` makes them.",
        81 => "\nThe database is not there yet: `warehouse migrate` makes it.",
        193 | 194 | 516 => "\nGive the right token with --token or CLICKHOUSE_TOKEN.",
        241 => {
            "\nThe query needs more memory than the warehouse may use: read fewer rows or columns."
        }
        _ => "",
    };
    Error::Engine {
        code,
        message: message.to_string(),
        hint,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_engine_error_is_told_without_its_version_and_with_what_to_do() {
        let error = engine_error(
            "Code: 60. DB::Exception: Unknown table 'spanflow.x'. (UNKNOWN_TABLE) (version 26.7.2.1 (official build))",
        );
        let text = error.to_string();
        assert!(
            text.starts_with("Unknown table 'spanflow.x'. (UNKNOWN_TABLE)\n"),
            "{text}"
        );
        assert!(
            text.contains("warehouse migrate") && text.ends_with("(ClickHouse error 60)"),
            "{text}"
        );
    }

    #[test]
    fn an_answer_that_is_no_clickhouse_error_is_shown_as_it_is() {
        assert!(
            matches!(engine_error("<html>proxy</html>"), Error::Answer(text) if text.contains("proxy"))
        );
    }

    #[tokio::test]
    async fn an_absent_warehouse_is_named_with_what_to_start() {
        // Port 1 of loopback: nothing listens there.
        let options = ClientOptions {
            url: "http://127.0.0.1:1".into(),
            database: "d".into(),
            user: "default".into(),
            token: String::new(),
        };
        let error = Client::new(&options).version().await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("http://127.0.0.1:1") && text.contains("warehouse serve"),
            "{text}"
        );
    }
}
