//! Brings a database to the state that this binary's migrations describe.
//!
//! A migration is applied statement by statement, and its number is noted in `ops_migration` after the last one. As
//! every statement may be run again, a crash anywhere is mended by migrating once more. Two that migrate at the same
//! time do the same things to the same end.

mod cluster;
mod plan;
mod ttl;

use serde::Deserialize;

pub use cluster::{NotForClusters, cluster_sql};
pub use plan::{Applied, PlanError};
pub(crate) use ttl::current as current_ttls;
pub use ttl::{TtlChange, TtlRules, TtlRulesError};

use crate::quote::{quote_identifier, quote_text};
use crate::{
    client::{self, Client, ClientOptions},
    schema::{Migration, migrations, statements},
};

/// The time zone of a day where none was asked for.
const DEFAULT_TIME_ZONE: &str = "UTC";
/// What the views read from `ops_setting`, with the values that hold until somebody writes others.
const VIEW_SETTINGS: [(&str, &str); 2] =
    [("orphan_grace_seconds", "60"), ("slo_error_budget", "0.01")];

/// What to set besides the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrateOptions {
    /// Days to keep rows; a table that no rule names is left as it is.
    pub ttl: TtlRules,
    /// Time zone of `dws_user_1d`'s days. Only the first migrate can choose it: the days that are there would not fit.
    pub business_time_zone: Option<String>,
}

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The database.
    pub database: String,
    /// Version of the engine.
    pub engine_version: String,
    /// Files that were applied now.
    pub applied: Vec<&'static str>,
    /// How many had been applied before.
    pub already_applied: usize,
    /// Times to live that were changed now.
    pub ttl_changes: Vec<TtlChange>,
    /// Time zone of a day.
    pub business_time_zone: String,
}

/// Why a database could not be migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The warehouse could not be asked.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// A statement of a migration failed.
    #[error("migration {file}, statement {statement}")]
    Statement {
        /// The file.
        file: &'static str,
        /// Number of the statement in it, from 1.
        statement: usize,
        /// What the engine said.
        source: client::Error,
    },
    /// What the database says of itself does not fit this binary.
    #[error("database `{database}` does not fit this program")]
    Plan {
        /// The database.
        database: String,
        /// What does not fit.
        source: PlanError,
    },
    /// Another time zone than the one that was fixed.
    #[error(
        "database `{database}` counts its days in {fixed}, fixed when it was first migrated; {asked} would need a new database"
    )]
    TimeZone {
        /// The database.
        database: String,
        /// What is fixed.
        fixed: String,
        /// What was asked for.
        asked: String,
    },
    /// A time zone that the engine does not know.
    #[error(
        "`{asked}` is not a time zone that the warehouse knows (use a name such as Asia/Shanghai)"
    )]
    UnknownTimeZone {
        /// What was asked for.
        asked: String,
        /// What the engine said.
        source: client::Error,
    },
    /// A TTL rule that names no table.
    #[error(transparent)]
    Ttl(#[from] TtlRulesError),
}

/// Creates the database if need be, applies the migrations that it lacks, and sets what `options` ask for.
///
/// # Errors
/// See [`MigrateError`]. Nothing is changed when the database is newer than this binary or was migrated by other files.
pub async fn migrate(
    options: &ClientOptions,
    wanted: &MigrateOptions,
) -> Result<Report, MigrateError> {
    let client = Client::new(options);
    let engine_version = client.version().await?;
    if let Some(zone) = &wanted.business_time_zone {
        check_time_zone(&client, zone).await?;
    }
    create_database(&client).await?;
    let known = migrations();
    if let Some(first) = known.first() {
        run(&client, first).await?;
    }
    let applied = applied(&client).await?;
    let pending = plan::pending(known, &applied).map_err(|source| MigrateError::Plan {
        database: options.database.clone(),
        source,
    })?;
    let mut done = Vec::with_capacity(pending.len());
    for migration in pending {
        run(&client, migration).await?;
        note(&client, migration).await?;
        done.push(migration.file);
    }
    let business_time_zone = fix_time_zone(&client, wanted.business_time_zone.as_deref()).await?;
    for (name, value) in VIEW_SETTINGS {
        set_if_absent(&client, name, value).await?;
    }
    Ok(Report {
        database: options.database.clone(),
        engine_version,
        already_applied: known.len() - done.len(),
        applied: done,
        ttl_changes: ttl::apply(&client, &wanted.ttl).await?,
        business_time_zone,
    })
}

async fn create_database(client: &Client) -> Result<(), client::Error> {
    let name = quote_identifier(&client.options().database);
    let sql = format!("CREATE DATABASE IF NOT EXISTS {name}");
    client.without_database().execute(&sql).await
}

async fn run(client: &Client, migration: &Migration) -> Result<(), MigrateError> {
    for (index, statement) in statements(migration.sql).into_iter().enumerate() {
        client
            .execute(statement)
            .await
            .map_err(|source| MigrateError::Statement {
                file: migration.file,
                statement: index + 1,
                source,
            })?;
    }
    Ok(())
}

async fn applied(client: &Client) -> Result<Vec<Applied>, client::Error> {
    let sql = "SELECT number, any(name) AS name, groupUniqArray(checksum) AS checksums \
               FROM ops_migration GROUP BY number ORDER BY number";
    client.rows(sql, &[]).await
}

async fn note(client: &Client, migration: &Migration) -> Result<(), client::Error> {
    // Names and checksums are ours: digits, letters and underscores.
    let sql = format!(
        "INSERT INTO ops_migration (number, name, checksum, applied_time) \
         SELECT {}, '{}', '{}', now64(3)",
        migration.number(),
        migration.name(),
        plan::checksum(migration.sql),
    );
    client.execute(&sql).await
}

async fn check_time_zone(client: &Client, zone: &str) -> Result<(), MigrateError> {
    let sql = "SELECT toString(toTimeZone(now(), {zone:String})) AS value";
    let asked = client
        .without_database()
        .rows::<Setting>(sql, &[("zone", zone)])
        .await;
    match asked {
        Ok(_) => Ok(()),
        Err(source @ client::Error::Engine { .. }) => Err(MigrateError::UnknownTimeZone {
            asked: zone.to_owned(),
            source,
        }),
        Err(other) => Err(other.into()),
    }
}

async fn fix_time_zone(client: &Client, asked: Option<&str>) -> Result<String, MigrateError> {
    let zone = asked.unwrap_or(DEFAULT_TIME_ZONE);
    let fixed = set_if_absent(client, "business_time_zone", zone).await?;
    match asked {
        Some(asked) if asked != fixed => Err(MigrateError::TimeZone {
            database: client.options().database.clone(),
            fixed,
            asked: asked.to_owned(),
        }),
        _ => Ok(fixed),
    }
}

/// Writes a row of `ops_setting` where there is none of that name; gives the value that is there afterwards.
async fn set_if_absent(client: &Client, name: &str, value: &str) -> Result<String, client::Error> {
    let read = "SELECT argMax(value, changed_time) AS value FROM ops_setting \
                WHERE name = {name:String} GROUP BY name";
    let found: Vec<Setting> = client.rows(read, &[("name", name)]).await?;
    if let Some(setting) = found.into_iter().next() {
        return Ok(setting.value);
    }
    let text = quote_text(value);
    let write = format!(
        "INSERT INTO ops_setting (name, value, changed_time) SELECT '{name}', {text}, now64(3)"
    );
    client.execute(&write).await?;
    Ok(value.to_owned())
}

#[derive(Deserialize)]
struct Setting {
    value: String,
}
