//! `warehouse query`: one statement, its result on standard output.

use std::io::{ErrorKind, IsTerminal, Read, Write, stdin, stdout};

use anyhow::Context;
use warehouse::{Client, ClientOptions};

/// Run one SQL statement and print its result
#[derive(Debug, clap::Args)]
pub(crate) struct Query {
    #[command(flatten)]
    client: ClientOptions,
    /// Format of the result: any of ClickHouse's, such as PrettyCompact, CSVWithNames, JSON, Parquet
    #[arg(long, short, default_value = "PrettyCompact")]
    format: String,
    /// The statement; `-` reads it from standard input
    sql: String,
}

impl Query {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let sql = match &*self.sql {
            "-" => {
                let mut text = String::new();
                stdin()
                    .read_to_string(&mut text)
                    .context("can't read the statement from standard input")?;
                text
            }
            sql => sql.to_owned(),
        };
        let sql = sql.trim().trim_end_matches(';');
        anyhow::ensure!(!sql.is_empty(), "there is no statement to run");
        let client = Client::new(&self.client);
        let coloured = stdout().is_terminal();
        let mut cursor = client.stream(sql, &self.format, coloured)?;
        let mut out = stdout().lock();
        while let Some(piece) = client.next(&mut cursor).await? {
            match out.write_all(&piece) {
                // Whoever reads has seen enough.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                written => written.context("can't write the result")?,
            }
        }
        out.flush().context("can't write the result")
    }
}
