//! The numbered migrations, embedded in the binary.

/// One SQL file of `warehouse/migrations`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The file's name: `NNNN_name.sql`.
    pub file: &'static str,
    /// Its text. Every statement may be run again: a crash in the middle of a file is mended by running it once more.
    pub sql: &'static str,
}

impl Migration {
    /// The number that the file's name begins with; it orders the migrations.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.file
            .split('_')
            .next()
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_default()
    }

    /// The rest of the file's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let stem = self.file.strip_suffix(".sql").unwrap_or(self.file);
        stem.split_once('_').map_or(stem, |(_, name)| name)
    }
}

macro_rules! migration {
    ($folder:literal, $file:literal) => {
        Migration {
            file: $file,
            sql: include_str!(concat!("../../migrations/", $folder, "/", $file)),
        }
    };
}

const MIGRATIONS: &[Migration] = &[
    migration!("0_ops", "0000_ops_migration.sql"),
    migration!("0_ops", "0001_ops_epoch.sql"),
    migration!("0_ops", "0002_ops_probe.sql"),
    migration!("0_ops", "0003_ops_setting.sql"),
    migration!("1_ods", "0101_ods_record.sql"),
    migration!("1_ods", "0102_ods_dead_letter.sql"),
    migration!("1_ods", "0103_ods_points.sql"),
    migration!("2_dwd", "0201_dwd_span.sql"),
    migration!("2_dwd", "0202_dwd_content.sql"),
    migration!("2_dwd", "0203_dwd_event.sql"),
    migration!("2_dwd", "0204_dwd_metric_point.sql"),
    migration!("2_dwd", "0205_dwd_metric_point_late.sql"),
    migration!("2_dwd", "0206_dwd_span_times.sql"),
    migration!("3_dws", "0301_dws_step_1m.sql"),
    migration!("3_dws", "0302_dws_step_5m.sql"),
    migration!("3_dws", "0303_dws_step_1h.sql"),
    migration!("3_dws", "0304_dws_trace.sql"),
    migration!("3_dws", "0305_dws_session.sql"),
    migration!("3_dws", "0306_dws_user_1d.sql"),
    migration!("3_dws", "0307_dws_edge_1m.sql"),
    migration!("3_dws", "0308_dws_resource_1m.sql"),
    migration!("4_ads", "0401_ads_anomaly.sql"),
    migration!("4_ads", "0402_ads_top_slow.sql"),
    migration!("4_ads", "0403_ads_top_error.sql"),
    migration!("4_ads", "0404_ads_top_cost.sql"),
    migration!("4_ads", "0405_ads_freshness.sql"),
    migration!("4_ads", "0406_ads_freshness_delay_unit.sql"),
    migration!("5_view", "0501_spanflow_quantile.sql"),
    migration!("5_view", "0511_dws_step_1m_latest.sql"),
    migration!("5_view", "0512_dws_step_5m_latest.sql"),
    migration!("5_view", "0513_dws_step_1h_latest.sql"),
    migration!("5_view", "0514_dws_trace_latest.sql"),
    migration!("5_view", "0515_dws_session_latest.sql"),
    migration!("5_view", "0516_dws_user_1d_latest.sql"),
    migration!("5_view", "0517_dws_edge_1m_latest.sql"),
    migration!("5_view", "0518_dws_resource_1m_latest.sql"),
    migration!("5_view", "0521_ads_anomaly_latest.sql"),
    migration!("5_view", "0522_ads_top_slow_latest.sql"),
    migration!("5_view", "0523_ads_top_error_latest.sql"),
    migration!("5_view", "0524_ads_top_cost_latest.sql"),
    migration!("5_view", "0525_ads_freshness_latest.sql"),
    migration!("5_view", "0531_dwd_step.sql"),
    migration!("5_view", "0532_otel_traces.sql"),
    migration!("5_view", "0533_otel_traces_trace_id_ts.sql"),
    migration!("5_view", "0534_ads_agent_health.sql"),
    migration!("5_view", "0535_ads_session_feature.sql"),
    migration!("5_view", "0536_ods_dead_letter_status.sql"),
    migration!("5_view", "0537_ods_dead_letter_status_points.sql"),
];

/// All migrations, in the order in which they are applied.
#[must_use]
pub fn migrations() -> &'static [Migration] {
    MIGRATIONS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;
    use crate::schema::{parse_alter, statements};

    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let on_disk: BTreeSet<String> = fs::read_dir(root)
            .unwrap()
            .flat_map(|layer| fs::read_dir(layer.unwrap().path()).unwrap())
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        let embedded: BTreeSet<String> = MIGRATIONS.iter().map(|m| m.file.to_owned()).collect();
        assert_eq!(on_disk, embedded);
    }

    #[test]
    fn numbers_ascend_and_names_are_read() {
        assert!(MIGRATIONS.is_sorted_by(|a, b| a.number() < b.number()));
        assert_eq!(MIGRATIONS[0].name(), "ops_migration");
        assert!(
            MIGRATIONS
                .iter()
                .all(|m| !m.name().is_empty() && m.file.ends_with(".sql"))
        );
    }

    #[test]
    fn every_statement_can_be_run_again() {
        for migration in MIGRATIONS {
            let statements = statements(migration.sql);
            assert!(!statements.is_empty(), "{}", migration.file);
            for statement in statements {
                let again = [
                    "CREATE TABLE IF NOT EXISTS ",
                    "CREATE OR REPLACE VIEW ",
                    "CREATE OR REPLACE FUNCTION ",
                ];
                // What is read of a change can be made again.
                let is_change = parse_alter(statement).is_some();
                assert!(
                    is_change || again.iter().any(|start| statement.starts_with(start)),
                    "{}: {statement}",
                    migration.file
                );
            }
        }
    }
}
