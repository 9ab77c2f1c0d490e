//! What a bounded run reads: from where, and up to where.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use super::record::parse_position;
use super::settings::Settings;
use crate::source::TopicPartition;

/// Where a bounded run begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At every partition's first record.
    Earliest,
    /// At the first record of each partition that is not older than this, ms since 1970.
    Timestamp(i64),
    /// At these offsets; partitions that are not named at their first record.
    Offsets(Vec<(TopicPartition, i64)>),
}

/// Where a bounded run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Behind the records that there are when it starts.
    Latest,
    /// Before the first record of each partition that is not older than this, ms since 1970.
    Timestamp(i64),
}

/// Both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Where it begins.
    pub begin: Begin,
    /// Where it ends.
    pub end: End,
}

impl Bounds {
    /// As an epoch log remembers them, by name: a run under other bounds is another run.
    #[must_use]
    pub fn remembered(&self, database: &str) -> BTreeMap<String, String> {
        let begin = match &self.begin {
            Begin::Earliest => "earliest".to_owned(),
            Begin::Timestamp(ms) => format!("timestamp {ms}"),
            Begin::Offsets(offsets) => {
                let named = offsets
                    .iter()
                    .map(|(tp, offset)| format!("{}:{}={offset}", tp.topic, tp.partition));
                named.collect::<Vec<_>>().join(",")
            }
        };
        let end = match self.end {
            End::Latest => "latest".to_owned(),
            End::Timestamp(ms) => format!("timestamp {ms}"),
        };
        [
            ("from", begin),
            ("until", end),
            ("database", database.to_owned()),
        ]
        .map(|(name, value)| (format!("{REMEMBERED}{name}"), value))
        .into()
    }
}

/// What the names of [`Bounds::remembered`] begin with.
pub const REMEMBERED: &str = "backfill.";

/// The flags of `stream-job run` that make it a bounded run.
#[derive(Clone, Debug, Default, Args)]
pub struct BoundsArgs {
    /// Backfill: read from this time on (RFC 3339, or ms since 1970) up to `--until`, and end. Needs `--database`.
    #[arg(long, value_parser = parse_time, value_name = "TIME", conflicts_with = "from_offsets")]
    from_timestamp: Option<i64>,
    /// Backfill: read from these offsets on, other partitions from their first record; `@FILE` has one a line.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "TOPIC:PARTITION=OFFSET,…|@FILE"
    )]
    from_offsets: Vec<String>,
    /// Backfill: end before this time, or behind the records that there are now (the default).
    #[arg(long, value_parser = parse_end, value_name = "TIME|latest")]
    until: Option<End>,
}

impl BoundsArgs {
    /// The bounds, if any flag asks for some.
    ///
    /// # Errors
    /// An offset can't be read, or they contradict each other.
    pub fn bounds(&self) -> anyhow::Result<Option<Bounds>> {
        let begin = match (self.from_timestamp, self.from_offsets.as_slice()) {
            (Some(ms), _) => Begin::Timestamp(ms),
            (None, []) if self.until.is_none() => return Ok(None),
            (None, []) => Begin::Earliest,
            (None, texts) => Begin::Offsets(read_offsets(texts)?),
        };
        let end = self.until.unwrap_or(End::Latest);
        if let (Begin::Timestamp(begin), End::Timestamp(end)) = (&begin, end) {
            ensure!(*begin < end, "--until is not after --from-timestamp");
        }
        Ok(Some(Bounds { begin, end }))
    }
}

/// Makes the settings those of a bounded run: a database and an epoch log of its own, no topics made. `usual` are the
/// settings without the flags of the command.
///
/// # Errors
/// It would write into the running job's database.
pub fn set_apart(
    settings: &mut Settings,
    usual: &Settings,
    database: Option<&str>,
) -> anyhow::Result<()> {
    let Some(database) = database else {
        bail!("a backfill needs --database, which names a database of its own");
    };
    let default = Settings::default();
    if database == usual.clickhouse_database || database == default.clickhouse_database {
        bail!(
            "--database {database} is where the job itself writes: a backfill would count its spans again there. Name \
             another database"
        );
    }
    if settings.state_dir == usual.state_dir {
        settings.state_dir = format!("{}-{database}", settings.state_dir);
    }
    settings.create_topics = false;
    Ok(())
}

fn read_offsets(texts: &[String]) -> anyhow::Result<Vec<(TopicPartition, i64)>> {
    let mut offsets = Vec::new();
    for text in texts {
        let Some(file) = text.strip_prefix('@') else {
            offsets.push(read_offset(text)?);
            continue;
        };
        let lines = std::fs::read_to_string(Path::new(file));
        let lines = lines.with_context(|| format!("--from-offsets: read {file}"))?;
        let lines = lines.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            offsets.push(read_offset(line).with_context(|| file.to_owned())?);
        }
    }
    Ok(offsets)
}

fn read_offset(text: &str) -> anyhow::Result<(TopicPartition, i64)> {
    parse_position(text).map_err(|error| anyhow::anyhow!("--from-offsets {text}: {error}"))
}

fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    let time = chrono::DateTime::parse_from_rfc3339(text);
    time.map(|time| time.timestamp_millis())
        .map_err(|_| "expected a time such as 2026-11-23T06:00:00Z, or ms since 1970".to_owned())
}

fn parse_end(text: &str) -> Result<End, String> {
    match text {
        "latest" => Ok(End::Latest),
        time => parse_time(time).map(End::Timestamp),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn offset(partition: i32, offset: i64) -> (TopicPartition, i64) {
        let topic = "otlp_spans".into();
        (TopicPartition { topic, partition }, offset)
    }

    #[test]
    fn times_are_rfc_3339_or_milliseconds() {
        assert_eq!(parse_time("1700000000000"), Ok(1_700_000_000_000));
        assert_eq!(
            parse_time("2023-11-14T23:13:20+01:00"),
            Ok(1_700_000_000_000)
        );
        assert!(parse_time("yesterday").is_err());
        assert_eq!(parse_end("latest"), Ok(End::Latest));
    }

    #[test]
    fn any_of_the_flags_makes_a_bounded_run_that_ends_at_what_there_is() {
        assert_eq!(BoundsArgs::default().bounds().unwrap(), None);
        let from = BoundsArgs {
            from_timestamp: Some(7),
            ..BoundsArgs::default()
        };
        let wanted = Bounds {
            begin: Begin::Timestamp(7),
            end: End::Latest,
        };
        assert_eq!(from.bounds().unwrap(), Some(wanted));
        let backwards = BoundsArgs {
            until: Some(End::Timestamp(7)),
            ..from
        };
        assert!(backwards.bounds().is_err());
    }

    #[test]
    fn offsets_are_read_from_the_flag_and_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("offsets");
        std::fs::write(&file, "# where it went wrong\notlp_spans:1=20\n\n").unwrap();
        let args = BoundsArgs {
            from_offsets: vec!["otlp_spans:0=10".into(), format!("@{}", file.display())],
            ..BoundsArgs::default()
        };
        let begin = Begin::Offsets(vec![offset(0, 10), offset(1, 20)]);
        assert_eq!(args.bounds().unwrap().unwrap().begin, begin);
        std::fs::write(&file, "otlp_spans/1/20").unwrap();
        let error = format!("{:#}", args.bounds().unwrap_err());
        assert!(
            error.contains("offsets") && error.contains("otlp_spans/1/20"),
            "{error}"
        );
    }

    #[test]
    fn a_backfill_goes_into_a_database_and_a_folder_of_its_own() {
        let usual = Settings {
            clickhouse_database: "live".to_owned(),
            ..Settings::default()
        };
        let mut settings = usual.clone();
        for taken in [None, Some("live"), Some("spanflow")] {
            assert!(
                set_apart(&mut settings, &usual, taken).is_err(),
                "{taken:?}"
            );
        }
        set_apart(&mut settings, &usual, Some("again")).unwrap();
        assert_eq!(settings.state_dir, format!("{}-again", usual.state_dir));
        assert!(!settings.create_topics);
    }
}
