//! The warehouse before a run: waited for, brought up to date, proven, and asked what it holds.

use std::time::{Duration, Instant};

use anyhow::Context;
use warehouse::{ClientOptions, MigrateError, MigrateOptions};

use crate::checkpoint::record::EpochRecord;
use crate::ops::job::{JobError, Shutdown};
use crate::ops::metrics::Metrics;
use crate::ops::settings::{InsertCompression, SettingValue as _, Settings};
use crate::sink::durability::sync_inserts;
use crate::sink::probe::prove_warehouse;
use crate::sink::target::Target;

const RETRY_AFTER: Duration = Duration::from_millis(500);
const REMIND_EVERY: Duration = Duration::from_secs(5);

/// The warehouse as people know it.
pub(super) fn warehouse_name(settings: &Settings) -> String {
    format!("the warehouse at {}", settings.clickhouse_url)
}

/// The warehouse that the settings name.
pub(crate) fn target_of(settings: &Settings) -> Target {
    Target {
        url: settings.clickhouse_url.clone(),
        database: settings.clickhouse_database.clone(),
        user: settings.clickhouse_user.clone(),
        token: settings.clickhouse_token.clone(),
        lz4: settings.insert_compression == InsertCompression::Lz4,
    }
}

/// Waits for the warehouse, brings its tables up to date, and has it prove that it drops a block that comes twice.
pub(super) async fn prepare_warehouse(
    settings: &Settings,
    shutdown: &Shutdown,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    let options = ClientOptions {
        url: settings.clickhouse_url.clone(),
        database: settings.clickhouse_database.clone(),
        user: settings.clickhouse_user.clone(),
        token: settings.clickhouse_token.clone(),
    };
    let since = Instant::now();
    let mut reminded: Option<Instant> = None;
    loop {
        match warehouse::Client::new(&options).version().await {
            Ok(version) => {
                tracing::info!("warehouse {} at {}", version, settings.clickhouse_url);
                break;
            }
            Err(
                error @ (warehouse::client::Error::Unreachable { .. }
                | warehouse::client::Error::Timeout { .. }),
            ) => {
                anyhow::ensure!(
                    !shutdown.requested(),
                    "stopped while waiting for the warehouse: {error}"
                );
                if reminded.is_none_or(|at| at.elapsed() >= REMIND_EVERY) {
                    reminded = Some(Instant::now());
                    tracing::warn!(
                        "waiting for the warehouse at {}, for {} s so far: {error}",
                        settings.clickhouse_url,
                        since.elapsed().as_secs(),
                    );
                }
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let wanted = MigrateOptions {
        business_time_zone: Some(settings.business_time_zone.show()),
        ..MigrateOptions::default()
    };
    let report = (warehouse::migrate(&options, &wanted).await).map_err(refuse_other_time_zone)?;
    if !report.applied.is_empty() {
        tracing::info!(
            "applied {} migrations to database {}",
            report.applied.len(),
            report.database
        );
    }
    prove_warehouse(&target_of(settings))
        .await
        .map_err(|error| JobError::Refused(error.to_string()))?;
    sync_inserts(&target_of(settings), settings.warehouse_fsync)
        .await
        .context("set whether the warehouse syncs every insert (setting `warehouse_fsync`)")?;
    metrics.health.set_warehouse_proven(true);
    Ok(())
}

/// Days of two time zones in one table would say nothing, and starting again would not mend it.
fn refuse_other_time_zone(error: MigrateError) -> anyhow::Error {
    match &error {
        MigrateError::TimeZone { fixed, .. } => JobError::Refused(format!(
            "{error}. Set business_time_zone = \"{fixed}\", or choose another database with clickhouse_database"
        ))
        .into(),
        MigrateError::UnknownTimeZone { .. } => {
            JobError::Refused(format!("{error}: setting `business_time_zone`")).into()
        }
        _ => error.into(),
    }
}

/// The newest epoch that has landed whole, of any timeline; 0 where none has.
pub(super) async fn landed_epoch(settings: &Settings) -> anyhow::Result<u64> {
    let query = "SELECT max(epoch) FROM ops_epoch";
    Ok(target_of(settings)
        .client()
        .query(query)
        .fetch_one()
        .await?)
}

/// A fresh start beside rows that an earlier timeline wrote would count them twice.
pub(super) async fn refuse_rows_of_others(settings: &Settings) -> anyhow::Result<()> {
    let query = "SELECT toUInt64(count()) FROM (SELECT 1 FROM ods_record LIMIT 1 UNION ALL SELECT 1 FROM ops_epoch LIMIT 1)";
    let rows: u64 = target_of(settings)
        .client()
        .query(query)
        .fetch_one()
        .await?;
    if rows > 0 {
        return Err(JobError::Refused(format!(
            "database {} holds rows of an earlier timeline, and {} has no epoch log of it: a fresh start would count \
             its records again. Point state_dir at the log that belongs to the database, choose another database, or \
             pass --new-timeline to accept both side by side",
            settings.clickhouse_database, settings.state_dir,
        ))
        .into());
    }
    Ok(())
}

/// A warehouse that was put back to an older state lacks rows that a checkpoint takes for landed.
pub(super) async fn refuse_older_warehouse(
    settings: &Settings,
    record: &EpochRecord,
) -> anyhow::Result<()> {
    let query = "SELECT max(epoch) FROM ops_epoch WHERE timeline = ?";
    let newest: u64 = target_of(settings)
        .client()
        .query(query)
        .bind(&record.timeline)
        .fetch_one()
        .await?;
    if newest >= record.epoch {
        return Ok(());
    }
    Err(JobError::Refused(format!(
        "database {} holds timeline {} up to epoch {newest} only, and the newest checkpoint is of epoch {}: rows between \
         them are gone, and this job would not write them again. Restore a newer backup of the database, or go back to a \
         checkpoint or savepoint that is not above it",
        settings.clickhouse_database, record.timeline, record.epoch,
    ))
    .into())
}
