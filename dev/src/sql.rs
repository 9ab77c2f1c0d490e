//! SQL to a warehouse over ClickHouse's HTTP interface.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::http::Server;

/// Asks one database.
#[derive(Clone, Debug)]
pub struct Sql {
    server: Server,
    database: String,
    limit: Duration,
}

impl Sql {
    /// Questions to a database, each to be answered within `limit`.
    #[must_use]
    pub fn new(server: Server, database: &str, limit: Duration) -> Self {
        Self {
            server,
            database: database.to_owned(),
            limit,
        }
    }

    /// Runs a statement and gives its answer as text in the statement's own FORMAT.
    ///
    /// # Errors
    /// When the warehouse can't be reached, or with its own words when it refuses the statement.
    pub fn text(&self, statement: &str) -> Result<String> {
        // Buffered whole by the server, so that an exception can't come in the middle of an answer that began as 200.
        let path = format!(
            "/?database={}&wait_end_of_query=1&output_format_json_quote_64bit_integers=0",
            self.database
        );
        let response = self.server.post(&path, statement.as_bytes(), self.limit)?;
        if response.status != 200 {
            bail!(
                "the warehouse refused `{}`: {}",
                first_line(statement),
                response.text().trim()
            );
        }
        Ok(response.text())
    }

    /// Runs a SELECT and reads its rows, by the columns' names.
    ///
    /// # Errors
    /// As [`Sql::text`], or when a row does not fit `T`.
    pub fn rows<T: DeserializeOwned>(&self, select: &str) -> Result<Vec<T>> {
        let text = self.text(&format!("{select}\nFORMAT JSONEachRow"))?;
        text.lines()
            .map(|line| {
                serde_json::from_str(line)
                    .with_context(|| format!("read the row {line} of `{}`", first_line(select)))
            })
            .collect()
    }

    /// Runs a SELECT of exactly one row.
    ///
    /// # Errors
    /// As [`Sql::rows`], or when there is another number of rows.
    pub fn row<T: DeserializeOwned>(&self, select: &str) -> Result<T> {
        let mut rows = self.rows(select)?;
        match (rows.pop(), rows.len()) {
            (Some(row), 0) => Ok(row),
            (row, more) => bail!(
                "`{}` gave {} rows where one was expected",
                first_line(select),
                more + usize::from(row.is_some())
            ),
        }
    }

    /// Runs a SELECT of one number.
    ///
    /// # Errors
    /// As [`Sql::text`], or when the answer is not one number.
    pub fn number(&self, select: &str) -> Result<u64> {
        let text = self.text(&format!("{select}\nFORMAT TabSeparated"))?;
        text.trim().parse().with_context(|| {
            format!(
                "`{}` gave {:?} where one number was expected",
                first_line(select),
                text.trim()
            )
        })
    }
}

fn first_line(statement: &str) -> &str {
    statement.trim().lines().next().unwrap_or_default()
}
