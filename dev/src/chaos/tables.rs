//! Every table of two databases, row for row.

use anyhow::Result;
use stream_job::sink::tables::every_table;

use crate::sql::Sql;

/// What was compared, and what is not equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Rows, of one side.
    pub(super) rows: u64,
    /// In words.
    pub(super) differences: Vec<String>,
}

/// Holds every table of one database against the same of another: of ODS and DWD without FINAL, and no row twice.
///
/// # Errors
/// When the warehouse does not answer.
pub(super) fn compare(sql: &Sql, found: &str, expected: &str) -> Result<Comparison> {
    let mut comparison = Comparison::default();
    for table in every_table() {
        let name = table.name();
        let [ours, theirs] = [found, expected].map(|database| rows_of(database, name));
        let count = |rows: &str| sql.number(&format!("SELECT count() FROM ({rows})"));
        let all = count(&theirs)?;
        let facts = [
            ("rows", count(&ours)?, all),
            (
                "distinct rows",
                count(&format!("SELECT DISTINCT * FROM ({ours})"))?,
                all,
            ),
            (
                "rows that should not be",
                count(&format!("{ours} EXCEPT {theirs}"))?,
                0,
            ),
            (
                "rows that are missing",
                count(&format!("{theirs} EXCEPT {ours}"))?,
                0,
            ),
        ];
        let unequal = facts.iter().filter(|(_, is, wanted)| is != wanted);
        comparison.differences.extend(
            unequal.map(|(what, is, wanted)| format!("{name}: {is} {what} instead of {wanted}")),
        );
        comparison.rows += all;
    }
    Ok(comparison)
}

fn rows_of(database: &str, table: &str) -> String {
    let raw = table.starts_with("ods_") || table.starts_with("dwd_");
    let (columns, last) = match table {
        // When the rows of that run landed.
        "ops_epoch" => ("* EXCEPT (landed_time)", ""),
        // A set: of several rows of one text any may stay.
        "dwd_content" => ("DISTINCT hash, content", ""),
        _ if raw => ("*", ""),
        _ => ("*", "FINAL"),
    };
    format!("SELECT {columns} FROM {database}.{table} {last}")
}
