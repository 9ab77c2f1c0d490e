//! Proof, at start, that the warehouse does what exactly-once needs.

use std::time::{SystemTime, UNIX_EPOCH};

use clickhouse::error::Error;

use super::block::{self, Block};
use super::native::{Fixed, Millis, Strings};
use super::tables::{Table, every_table};
use super::target::{Pauses, Target, Verdict, WaitReport, verdict};
use super::writer::insert_once;

columns! {
    struct Columns {
        probe: Strings = "probe",
        row: Fixed<u8> = "row",
        time: Fixed<Millis> = "time",
    }
}

#[derive(Debug, Default)]
struct OpsProbe {
    columns: Columns,
}

impl Table for OpsProbe {
    table_of_columns!(Columns, "ops_probe", row);

    fn order(&mut self) -> Vec<u32> {
        (0..self.len() as u32).collect()
    }

    fn clear(&mut self) {
        self.columns.clear();
    }
}

/// Why the warehouse is not fit for the job.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It does not drop a block whose token it has seen.
    #[error(
        "the warehouse at {url} does not deduplicate inserts by token: of row 1, row 1 again and row 2, sent under one \
         token, it holds rows {found:?} instead of [1]. Look at the setting non_replicated_deduplication_window of the \
         tables (must be over 0; run `warehouse migrate`) and at insert_deduplicate and async_insert in the user's \
         profile (the job sets 1 and 0; a profile may forbid that)"
    )]
    NoDeduplication {
        /// The warehouse.
        url: String,
        /// The rows found.
        found: Vec<u8>,
    },
    /// A table is not as the job writes it.
    #[error("{problems}\nRun `warehouse migrate` with the version of this job")]
    Tables {
        /// One line a table or column.
        problems: String,
    },
    /// It answers with an error that waiting does not heal.
    #[error("the warehouse at {url} refuses: {reason}")]
    Refused {
        /// The warehouse.
        url: String,
        /// What it said.
        reason: String,
    },
}

/// Checks the tables' columns, then that of three inserts under one token exactly the first is there. Waits for a
/// warehouse that is away, and says so.
///
/// # Errors
/// If the warehouse is not fit, or refuses.
pub async fn prove_warehouse(target: &Target) -> Result<(), ProbeError> {
    let (client, report) = (target.client(), WaitReport::new(&target.url));
    let patience = Patience {
        target,
        report: &report,
    };
    let found = patience
        .with("read its tables", || columns_of(&client))
        .await?;
    check_columns(&target.database, &found)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let id = format!("{}-{}", now.as_nanos(), std::process::id());
    for row in [1, 1, 2] {
        let block = probe_block(&id, row, now.as_millis() as i64);
        let insert = || insert_once(&client, &block, &id);
        patience.with("try an insert", insert).await?;
    }
    let found = patience
        .with("read the probe back", || rows_of_probe(&client, &id))
        .await?;
    if found != [1] {
        let url = target.url.clone();
        return Err(ProbeError::NoDeduplication { url, found });
    }
    Ok(())
}

struct Patience<'a> {
    target: &'a Target,
    report: &'a WaitReport,
}

impl Patience<'_> {
    async fn with<T, F>(&self, what: &str, attempt: impl Fn() -> F) -> Result<T, ProbeError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut pauses = Pauses::new();
        loop {
            match attempt().await {
                Ok(value) => {
                    self.report.over();
                    return Ok(value);
                }
                Err(error) if verdict(&error) == Verdict::Stop => {
                    return Err(ProbeError::Refused {
                        url: self.target.url.clone(),
                        reason: error.to_string(),
                    });
                }
                Err(error) => {
                    self.report.waiting(what, &error);
                    tokio::time::sleep(pauses.next()).await;
                }
            }
        }
    }
}

fn probe_block(id: &str, row: u8, time_ms: i64) -> Block {
    let mut table = OpsProbe::default();
    table.columns.probe.push(id);
    table.columns.row.push(row);
    table.columns.time.push(Millis(time_ms));
    block::cut(&mut table, 0, 0).swap_remove(0)
}

async fn rows_of_probe(client: &clickhouse::Client, id: &str) -> Result<Vec<u8>, Error> {
    let query = client
        .query("SELECT row FROM ops_probe WHERE probe = ? ORDER BY row")
        .bind(id);
    query.fetch_all().await
}

#[derive(Debug, clickhouse::Row, serde::Serialize, serde::Deserialize)]
struct FoundColumn {
    table: String,
    name: String,
    data_type: String,
}

async fn columns_of(client: &clickhouse::Client) -> Result<Vec<FoundColumn>, Error> {
    let sql = "SELECT table, name, type AS data_type FROM system.columns WHERE database = currentDatabase()";
    client.query(sql).fetch_all().await
}

/// Every column that the job writes is there, with its type. Further ones are the warehouse's own business.
fn check_columns(database: &str, found: &[FoundColumn]) -> Result<(), ProbeError> {
    let mut problems = Vec::new();
    let probe: Box<dyn Table> = Box::new(OpsProbe::default());
    for table in every_table().into_iter().chain([probe]) {
        let name = table.name();
        if !found.iter().any(|column| column.table == name) {
            problems.push(format!("table {database}.{name} is missing"));
            continue;
        }
        for (column, data_type) in table.columns() {
            let there = found
                .iter()
                .find(|found| found.table == name && found.name == *column);
            match there {
                None => problems.push(format!(
                    "column {database}.{name}.{column} ({data_type}) is missing"
                )),
                Some(there) if there.data_type != *data_type => problems.push(format!(
                    "column {database}.{name}.{column} is {} but the job writes {data_type}",
                    there.data_type
                )),
                Some(_) => {}
            }
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(ProbeError::Tables {
        problems: problems.join("\n"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn as_declared() -> Vec<FoundColumn> {
        let probe: Box<dyn Table> = Box::new(OpsProbe::default());
        let tables = every_table().into_iter().chain([probe]);
        tables
            .flat_map(|table| {
                let name = table.name().to_owned();
                table
                    .columns()
                    .iter()
                    .map(move |(column, data_type)| FoundColumn {
                        table: name.clone(),
                        name: (*column).to_owned(),
                        data_type: (*data_type).to_owned(),
                    })
            })
            .collect()
    }

    #[test]
    fn every_missing_or_different_column_is_named() {
        let mut found = as_declared();
        check_columns("spanflow", &found).unwrap();
        found.retain(|column| column.table != "dwd_event" && column.name != "cost_nanousd");
        for column in found.iter_mut().filter(|column| column.name == "rank") {
            column.data_type = "UInt8".to_owned();
        }
        let error = check_columns("spanflow", &found).unwrap_err().to_string();
        assert!(
            error.contains("table spanflow.dwd_event is missing"),
            "{error}"
        );
        assert!(
            error.contains("column spanflow.dwd_span.cost_nanousd (UInt64) is missing"),
            "{error}"
        );
        assert!(
            error.contains("column spanflow.ads_top_slow.rank is UInt8 but the job writes UInt16"),
            "{error}"
        );
    }
}
