//! Whether the warehouse syncs every insert to disk before it answers.
//!
//! An acknowledged insert survives the death of every process. Only with this does it survive a loss of power too.
//! ClickHouse takes it as a setting of the table, not of the insert.

use clickhouse::error::Error;

use super::tables::every_table;
use super::target::Target;

/// The tables of the database that have the setting.
const SYNCED: &str = "SELECT name FROM system.tables WHERE database = currentDatabase() AND \
                      engine_full LIKE '%fsync_after_insert = 1%'";

/// Makes the job's tables sync inserts, or not. Changes only the tables that are otherwise.
///
/// # Errors
/// If the warehouse refuses, as it does where the user may not alter tables.
pub async fn sync_inserts(target: &Target, wanted: bool) -> Result<(), Error> {
    let client = target.client();
    let synced: Vec<String> = client.query(SYNCED).fetch_all().await?;
    for table in every_table() {
        let name = table.name();
        if synced.iter().any(|other| other == name) == wanted {
            continue;
        }
        let change = if wanted {
            "MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1"
        } else {
            "RESET SETTING fsync_after_insert, fsync_part_directory"
        };
        client
            .query(&format!("ALTER TABLE {name} {change}"))
            .execute()
            .await?;
        tracing::info!("table {name}: {change}");
    }
    Ok(())
}
