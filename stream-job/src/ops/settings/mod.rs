//! Settings of the job: one TOML file, then `SPANFLOW_<NAME>` in the environment, then `--set name=value`; later wins.
//!
//! Every setting is declared once, in `list.rs`. A name that no setting has is refused with the nearest one, a bad
//! value with what was expected, both with where it was written.

mod declare;
mod error;
mod list;
mod load;
mod reference;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::control::is_name;
use crate::source::TopicFilter;

pub use declare::{Facts, Spec};
pub use error::SettingsError;
pub use list::{SPECS, Settings};
pub use load::{Inputs, Loaded};
pub use reference::{effective, example, reference};
pub use value::{
    ByteSize, InsertCompression, Layers, OnDataLoss, Properties, SettingValue, StartOffsets,
    TimeZone,
};

impl Settings {
    /// The settings that shape rows, by name: what an epoch log remembers, so that a mismatch can be named.
    #[must_use]
    pub fn shaping(&self) -> BTreeMap<String, String> {
        SPECS
            .iter()
            .filter(|spec| spec.facts.shapes_rows)
            .filter_map(|spec| Some((spec.name.to_owned(), self.get(spec.name)?)))
            .collect()
    }

    /// Hash of [`Settings::shaping`]: equal hashes, epoch logs and records mean equal rows.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut text = String::new();
        for (name, value) in self.shaping() {
            // Lengths keep `a=b` + `c` apart from `a=bc`.
            text.push_str(&format!("{}:{name}={}:{value}\n", name.len(), value.len()));
        }
        xxh3_64(text.as_bytes())
    }

    /// Checks what no single setting can tell by itself.
    fn check(&self) -> Result<(), SettingsError> {
        let conflict = |reason: &str| Err(SettingsError::Conflict(reason.to_owned()));
        if self.dws_block_interval < self.epoch_interval {
            return conflict(
                "`dws_block_interval` must not be shorter than `epoch_interval`: a block ends with an epoch",
            );
        }
        if self.anomaly_min_windows > self.anomaly_baseline_windows {
            return conflict(
                "`anomaly_min_windows` must not exceed `anomaly_baseline_windows`: no baseline would ever be long enough",
            );
        }
        if self.session_ttl < self.trace_ttl.max(self.orphan_grace) {
            return conflict(
                "`session_ttl` must not be shorter than `trace_ttl` and `orphan_grace`: a trace would count again in a session that forgot it",
            );
        }
        let read = [
            ("spans_topic", &self.spans_topic),
            ("documents_topic", &self.documents_topic),
            ("metrics_topic", &self.metrics_topic),
        ];
        for (at, (name, topic)) in read.iter().enumerate() {
            if let Err(error) = TopicFilter::parse(topic) {
                return Err(SettingsError::Conflict(format!(
                    "`{name}` begins with ^ and is no regular expression: {error}"
                )));
            }
            if let Some((other, _)) = read[..at].iter().find(|(_, other)| other == topic) {
                return Err(SettingsError::Conflict(format!(
                    "`{other}` and `{name}` must differ: the topic tells how a record is read"
                )));
            }
        }
        for output in [&self.dead_letter_topic, &self.alerts_topic] {
            if read.iter().any(|(_, topic)| *topic == output) {
                return conflict(
                    "`dead_letter_topic` and `alerts_topic` must not be topics that the job reads: it would feed itself",
                );
            }
        }
        if !is_name(&self.job) {
            return Err(SettingsError::Conflict(format!(
                "`job` is `{}`: expected letters, digits, `-`, `_` and `.`, the first a letter or digit, at most 100",
                self.job
            )));
        }
        if self.restart_backoff_max < self.restart_backoff_min {
            return conflict(
                "`restart_backoff_max` must not be shorter than `restart_backoff_min`",
            );
        }
        if !self.http_listen.ip().is_loopback() && self.http_token.is_empty() {
            return Err(SettingsError::Conflict(format!(
                "`http_listen` is {}, which others can reach: set a token in the environment as SPANFLOW_HTTP_TOKEN, or listen on 127.0.0.1",
                self.http_listen
            )));
        }
        if !(self.clickhouse_url.starts_with("http://")
            || self.clickhouse_url.starts_with("https://"))
        {
            return Err(SettingsError::Conflict(format!(
                "`clickhouse_url` is `{}`: expected an address that begins with `http://`",
                self.clickhouse_url
            )));
        }
        crate::cluster::Hosts::of(self)?;
        parse_fixed_offset(&self.document_time_zone)
            .map(|_| ())
            .map_err(SettingsError::Conflict)
    }

    /// The state folder where it is a local one, `None` where it is a URL.
    #[must_use]
    pub fn local_state_dir(&self) -> Option<&Path> {
        if let Some(folder) = self.state_dir.strip_prefix("file://") {
            return Some(Path::new(folder));
        }
        let is_url = self.state_dir.contains("://") || self.state_dir.starts_with("memory:");
        (!is_url).then(|| Path::new(&self.state_dir))
    }

    /// Folder of the processes' logs.
    #[must_use]
    pub fn log_folder(&self) -> PathBuf {
        match self.local_state_dir() {
            _ if !self.log_dir.is_empty() => PathBuf::from(&self.log_dir),
            Some(state) => state.join("logs"),
            None => PathBuf::from(".spanflow/logs"),
        }
    }

    /// Offset of [`Settings::document_time_zone`] from UTC, in seconds east.
    #[must_use]
    pub fn document_offset_seconds(&self) -> i32 {
        parse_fixed_offset(&self.document_time_zone).unwrap_or(0)
    }
}

/// `UTC`, `Z`, `+08:00` or `-0330` as seconds east of UTC.
fn parse_fixed_offset(text: &str) -> Result<i32, String> {
    if text == "UTC" || text == "Z" {
        return Ok(0);
    }
    let offset = || {
        let sign = match text.chars().next()? {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        let digits = text[1..].replacen(':', "", 1);
        if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (hours, minutes): (i32, i32) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
        (hours <= 14 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
    };
    offset().ok_or_else(|| {
        format!("`document_time_zone` is `{text}`: expected `UTC` or an offset such as `+08:00`")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_default_is_valid_and_within_its_range() {
        let mut settings = Settings::default();
        for spec in SPECS {
            settings.set(spec.name, spec.default).unwrap();
        }
        assert_eq!(settings, Settings::default());
        settings.check().unwrap();
    }

    #[test]
    fn every_value_is_shown_as_it_can_be_read_again() {
        let settings = Settings::default();
        let mut copy = Settings::default();
        for spec in SPECS {
            copy.set(spec.name, &settings.get(spec.name).unwrap())
                .unwrap();
        }
        assert_eq!(copy, settings);
    }

    #[test]
    fn only_settings_that_shape_rows_change_the_hash() {
        let base = Settings::default();
        let changed = |name: &str, value: &str| {
            let mut settings = base.clone();
            settings.set(name, value).unwrap();
            settings.hash()
        };
        assert_eq!(changed("workers", "7"), base.hash());
        assert_eq!(changed("epoch_interval", "1s"), base.hash());
        assert_ne!(changed("allowed_lateness", "2h"), base.hash());
        assert_ne!(changed("top_n", "11"), base.hash());
        // 60min and 1h are one duration.
        assert_eq!(changed("allowed_lateness", "60min"), base.hash());
    }

    #[test]
    fn values_out_of_range_say_the_range_in_their_own_unit() {
        let mut settings = Settings::default();
        let error = settings.set("epoch_interval", "1ms").unwrap_err();
        assert_eq!(error, "expected a value from 10ms to 1min");
        let error = settings.set("max_record_bytes", "1GiB").unwrap_err();
        assert_eq!(error, "expected a value from 1KiB to 256MiB");
    }

    #[test]
    fn a_session_is_kept_at_least_as_long_as_its_traces() {
        let mut settings = Settings::default();
        settings.set("session_ttl", "1h").unwrap();
        settings.check().unwrap();
        settings.set("trace_ttl", "61min").unwrap();
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains("`session_ttl`"), "{error}");
    }

    #[test]
    fn a_server_that_others_can_reach_needs_a_token() {
        let mut settings = Settings::default();
        settings.set("http_listen", "0.0.0.0:8090").unwrap();
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains("SPANFLOW_HTTP_TOKEN"), "{error}");
        settings.set("http_token", "secret").unwrap();
        settings.check().unwrap();
    }

    #[test]
    fn logs_lie_in_the_state_folder_unless_told_otherwise() {
        let mut settings = Settings::default();
        settings.set("state_dir", "/var/job").unwrap();
        assert_eq!(settings.log_folder(), Path::new("/var/job/logs"));
        settings.set("state_dir", "file:///var/job").unwrap();
        assert_eq!(settings.log_folder(), Path::new("/var/job/logs"));
        settings.set("state_dir", "s3://bucket/job").unwrap();
        assert_eq!(settings.log_folder(), Path::new(".spanflow/logs"));
        settings.set("log_dir", "/var/log/job").unwrap();
        assert_eq!(settings.log_folder(), Path::new("/var/log/job"));
    }

    #[test]
    fn a_job_name_is_safe_in_urls_and_a_back_off_grows() {
        let mut settings = Settings::default();
        settings.set("job", "../x").unwrap();
        assert!(settings.check().unwrap_err().to_string().contains("`job`"));
        settings.set("job", "agents-2").unwrap();
        settings.set("restart_backoff_max", "100ms").unwrap();
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains("restart_backoff_min"), "{error}");
    }

    #[test]
    fn document_time_zones_are_utc_or_a_fixed_offset() {
        assert_eq!(parse_fixed_offset("UTC"), Ok(0));
        assert_eq!(parse_fixed_offset("+08:00"), Ok(28_800));
        assert_eq!(parse_fixed_offset("-0330"), Ok(-12_600));
        for text in ["Asia/Shanghai", "08:00", "+8", "+25:00", "+0８:00", ""] {
            assert!(parse_fixed_offset(text).is_err(), "{text}");
        }
    }
}
