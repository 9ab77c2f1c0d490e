//! `stream-job record`: copies topics from Kafka into a recording.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::cli::SettingsSource;
use super::job::Shutdown;
use super::settings::Settings;
use crate::source::buffer::PartitionBuffer;
use crate::source::kafka::{KafkaReader, LoggedContext, client_config, find_partitions};
use crate::source::recording::{RecordedTopic, RecordingWriter};
use crate::source::{Reader as _, TopicFilter, TopicFilters, TopicPartition};

/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(2);
/// Sleep when nothing had come.
const NAP: Duration = Duration::from_millis(5);
/// Bytes of records read before they are written.
const BUDGET: usize = 32 << 20;

/// Arguments of `stream-job record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    #[command(flatten)]
    pub(crate) source: SettingsSource,
    /// Folder of the new recording.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Topics to copy, with commas between them; the job's two input topics by default.
    #[arg(long, value_delimiter = ',', value_name = "TOPIC,…")]
    topics: Vec<String>,
    /// Copy these partitions only; the others are left empty.
    #[arg(long, value_delimiter = ',', value_parser = parse_partition, value_name = "TOPIC:PARTITION,…")]
    partitions: Vec<TopicPartition>,
    /// Where partitions begin that do not begin at their oldest record.
    #[arg(long, value_delimiter = ',', value_parser = parse_wanted, value_name = "TOPIC:PARTITION=OFFSET,…")]
    from_offsets: Vec<Position>,
    /// Where partitions end that do not end at the newest record of now (the offset itself is left out).
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = parse_wanted,
        value_name = "TOPIC:PARTITION=OFFSET,…",
        conflicts_with = "follow"
    )]
    until: Vec<Position>,
    /// Go on with new records until a signal stops it.
    #[arg(long)]
    follow: bool,
    /// Seconds that the broker may take to answer, and that may pass without any record, before the copy fails.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
}

/// A partition and an offset in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Position {
    partition: TopicPartition,
    offset: i64,
}

fn parse_partition(text: &str) -> Result<TopicPartition, String> {
    let parse = || {
        let (topic, partition) = text.rsplit_once(':')?;
        let partition: i32 = partition.parse().ok()?;
        (partition >= 0 && !topic.is_empty()).then(|| TopicPartition {
            topic: topic.into(),
            partition,
        })
    };
    parse().ok_or_else(|| "expected topic:partition, such as otlp_spans:0".to_owned())
}

fn parse_wanted(text: &str) -> Result<Position, String> {
    parse_position(text).map(|(partition, offset)| Position { partition, offset })
}

/// Reads `topic:partition=offset`.
pub(crate) fn parse_position(text: &str) -> Result<(TopicPartition, i64), String> {
    let parse = || {
        let (place, offset) = text.rsplit_once('=')?;
        let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
        Some((parse_partition(place).ok()?, offset))
    };
    parse().ok_or_else(|| "expected topic:partition=offset, such as otlp_spans:0=1500".to_owned())
}

/// Copies until every partition has reached its end, or a signal.
///
/// # Errors
/// The broker does not answer, a topic is not there, or the recording can't be written. What was copied until then is
/// kept and readable.
pub fn record(args: &RecordArgs, settings: &Settings, shutdown: &Shutdown) -> anyhow::Result<()> {
    ensure!(args.timeout > 0, "--timeout: expected at least one second");
    let patience = Duration::from_secs(args.timeout);
    let names = match args.topics.as_slice() {
        [] => {
            let read = [
                &settings.spans_topic,
                &settings.documents_topic,
                &settings.metrics_topic,
            ];
            let named = read.into_iter().filter(|topic| !topic.is_empty());
            named.cloned().collect()
        }
        names => names.to_vec(),
    };
    let (topics, mut ranges) = describe(settings, &names, patience, shutdown)?;
    restrict(&mut ranges, args)?;
    let mut writer = RecordingWriter::create(&args.out, &topics)?;
    let wanted = ranges
        .iter()
        .filter(|(_, range)| args.follow || range.from < range.until);
    let buffers: Vec<_> = wanted
        .clone()
        .map(|(tp, range)| PartitionBuffer::new(tp.clone(), range.from))
        .collect();
    let until: Vec<_> = wanted
        .map(|(_, range)| if args.follow { i64::MAX } else { range.until })
        .collect();
    tracing::info!(
        "recording {} partitions into {}",
        buffers.len(),
        args.out.display()
    );
    let mut copied = Copied::default();
    let result = if buffers.is_empty() {
        Ok(())
    } else {
        let reader = KafkaReader::assign(
            client_config(settings),
            &buffers,
            Duration::from_secs(1),
            || {},
            |_| {},
        )?;
        Copy {
            reader,
            buffers,
            until,
            patience,
            follow: args.follow,
        }
        .run(&mut writer, &mut copied, shutdown)
    };
    writer.finish()?;
    tracing::info!("{} in {}", copied, args.out.display());
    result
}

/// Offsets of one partition: the first to copy, and the one to stop before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from: i64,
    until: i64,
}

type Ranges = BTreeMap<TopicPartition, Range>;

/// The topics, and every partition from its oldest record to its newest.
fn describe(
    settings: &Settings,
    names: &[String],
    patience: Duration,
    shutdown: &Shutdown,
) -> anyhow::Result<(Vec<RecordedTopic>, Ranges)> {
    let config = client_config(settings);
    // The job waits for its broker without end; a command that a person has typed gives up.
    let client: BaseConsumer<LoggedContext> = config.create_with_context(LoggedContext)?;
    client.fetch_metadata(None, patience).with_context(|| {
        format!(
            "Kafka at {} did not answer",
            settings.kafka_bootstrap_servers
        )
    })?;
    let named = names.iter().map(|name| TopicFilter::of(name)).collect();
    let found = find_partitions(
        &config,
        &TopicFilters::new(named, Vec::new()),
        patience,
        shutdown,
    )?;
    let mut topics: Vec<RecordedTopic> = Vec::new();
    let mut ranges = Ranges::new();
    for found in &found {
        let first = &found.earliest;
        match topics.last_mut() {
            Some(topic) if topic.name == first.topic => topic.partitions += 1,
            _ => topics.push(RecordedTopic {
                name: first.topic.clone(),
                topic_id: first.topic_id.clone(),
                partitions: 1,
            }),
        }
        let tp = TopicPartition {
            topic: first.topic.as_str().into(),
            partition: first.partition,
        };
        ranges.insert(
            tp,
            Range {
                from: first.next_offset,
                until: found.end_offset,
            },
        );
    }
    Ok((topics, ranges))
}

/// Narrows the ranges to what the flags ask for.
fn restrict(ranges: &mut Ranges, args: &RecordArgs) -> anyhow::Result<()> {
    let named = args.partitions.iter();
    for tp in named.chain(
        args.from_offsets
            .iter()
            .chain(&args.until)
            .map(|position| &position.partition),
    ) {
        ensure!(
            ranges.contains_key(tp),
            "{}:{} is not among the topics copied",
            tp.topic,
            tp.partition
        );
    }
    if !args.partitions.is_empty() {
        ranges.retain(|tp, _| args.partitions.contains(tp));
    }
    for (positions, is_start) in [(&args.from_offsets, true), (&args.until, false)] {
        for Position {
            partition: tp,
            offset,
        } in positions
        {
            let Some(range) = ranges.get_mut(tp) else {
                bail!("{}:{} is not among --partitions", tp.topic, tp.partition);
            };
            let Range { from, until } = *range;
            ensure!(
                (from..=until).contains(offset),
                "{}:{} can be copied from {from} to {until}: {offset} is outside",
                tp.topic,
                tp.partition
            );
            *(if is_start {
                &mut range.from
            } else {
                &mut range.until
            }) = *offset;
        }
    }
    Ok(())
}

/// What has been written so far.
#[derive(Debug, Default)]
struct Copied {
    records: u64,
    bytes: u64,
}

impl std::fmt::Display for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} records, {} KiB", self.records, self.bytes >> 10)
    }
}

struct Copy {
    reader: KafkaReader,
    buffers: Vec<PartitionBuffer>,
    until: Vec<i64>,
    patience: Duration,
    follow: bool,
}

impl Copy {
    fn run(
        &mut self,
        writer: &mut RecordingWriter,
        copied: &mut Copied,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()> {
        let (mut last_record, mut last_progress) = (Instant::now(), Instant::now());
        while !shutdown.requested() && !self.is_done() {
            let polled = self.reader.poll(&mut self.buffers, BUDGET)?;
            if let Some(buffer) = self.buffers.iter().find(|buffer| buffer.missing) {
                let TopicPartition { topic, partition } = &buffer.partition;
                bail!(
                    "{topic}:{partition}: the broker has deleted offset {} while it was copied",
                    buffer.position
                );
            }
            if polled.changed {
                last_record = Instant::now();
                self.write(writer, copied)?;
            } else if !self.follow && last_record.elapsed() > self.patience {
                bail!(
                    "no record came from Kafka for {:?}; copied so far: {copied}",
                    self.patience
                );
            } else {
                std::thread::sleep(NAP);
            }
            if last_progress.elapsed() > PROGRESS {
                last_progress = Instant::now();
                tracing::info!("{copied} so far");
            }
        }
        Ok(())
    }

    /// Offsets have gaps, so a partition is also done when the reader stands at its end.
    fn is_done(&self) -> bool {
        let done = |(at, buffer): (usize, &PartitionBuffer)| {
            buffer.position >= self.until[at]
                || self.reader.confirmed_at_end_ms(at, buffer).is_some()
        };
        !self.follow && self.buffers.iter().enumerate().all(done)
    }

    fn write(&mut self, writer: &mut RecordingWriter, copied: &mut Copied) -> anyhow::Result<()> {
        for (buffer, until) in self.buffers.iter_mut().zip(&self.until) {
            let batch = buffer.release(buffer.position);
            for record in batch
                .records()
                .take_while(|record| record.offset() < *until)
            {
                copied.bytes += writer.append(&buffer.partition, &record.to_record())?;
                copied.records += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: RecordArgs,
    }

    fn restricted(flags: &[&str]) -> Result<Vec<(i32, i64, i64)>, String> {
        let line = Line::try_parse_from([&["record", "--out", "x"], flags].concat())
            .map_err(|e| e.to_string())?;
        let tp = |partition| TopicPartition {
            topic: "t".into(),
            partition,
        };
        let mut ranges: Ranges = (0..3)
            .map(|p| {
                (
                    tp(p),
                    Range {
                        from: 10,
                        until: 20,
                    },
                )
            })
            .collect();
        restrict(&mut ranges, &line.args).map_err(|e| e.to_string())?;
        Ok(ranges
            .into_iter()
            .map(|(tp, range)| (tp.partition, range.from, range.until))
            .collect())
    }

    #[test]
    fn flags_narrow_what_is_copied() {
        assert_eq!(
            restricted(&[]).unwrap(),
            [(0, 10, 20), (1, 10, 20), (2, 10, 20)]
        );
        let flags = [
            "--partitions",
            "t:1,t:2",
            "--from-offsets",
            "t:1=12",
            "--until",
            "t:1=15",
        ];
        assert_eq!(restricted(&flags).unwrap(), [(1, 12, 15), (2, 10, 20)]);
    }

    #[test]
    fn what_can_not_be_copied_is_named() {
        for (flags, reason) in [
            (["--partitions", "t:7"], "t:7 is not among the topics"),
            (
                ["--from-offsets", "t:1=9"],
                "t:1 can be copied from 10 to 20: 9 is outside",
            ),
            (["--until", "t:1=21"], "21 is outside"),
            (["--until", "t=1"], "expected topic:partition=offset"),
            (["--partitions", "t:-1"], "expected topic:partition"),
        ] {
            let error = restricted(&flags).unwrap_err();
            assert!(error.contains(reason), "{flags:?}: {error}");
        }
    }
}
