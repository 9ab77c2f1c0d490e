//! The offsets between which a bounded run reads.

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::LoggedContext;
use super::topics::{ASK_TIMEOUT, Found, wait_for};
use crate::checkpoint::record::Position;
use crate::ops::bounds::{Begin, Bounds, End};
use crate::ops::job::{JobError, Shutdown};

/// What a bounded run reads of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where it begins.
    pub begin: Position,
    /// The offset before which it ends.
    pub end_offset: i64,
}

/// Finds the range of every partition; offsets by time are the broker's to tell.
///
/// # Errors
/// An offset that is named is not there, or a stop while the broker does not answer.
pub fn find_ranges(
    config: &ClientConfig,
    found: &[Found],
    bounds: &Bounds,
    shutdown: &Shutdown,
) -> anyhow::Result<Vec<Range>> {
    let begins = match &bounds.begin {
        Begin::Earliest => first_offsets(found),
        Begin::Timestamp(ms) => offsets_at(config, found, *ms, shutdown)?,
        Begin::Offsets(named) => {
            let mut begins = first_offsets(found);
            for (tp, offset) in named {
                let is_it = |found: &Found| {
                    found.earliest.topic == *tp.topic && found.earliest.partition == tp.partition
                };
                let (topic, partition) = (&tp.topic, tp.partition);
                let Some(at) = found.iter().position(is_it) else {
                    return refused(format!(
                        "--from-offsets: {topic}:{partition} is not read by this job"
                    ));
                };
                let (first, end) = (found[at].earliest.next_offset, found[at].end_offset);
                if !(first..=end).contains(offset) {
                    return refused(format!(
                        "--from-offsets: {topic}:{partition} has offsets {first} to {end}: {offset} is outside"
                    ));
                }
                begins[at] = *offset;
            }
            begins
        }
    };
    let ends = match bounds.end {
        End::Latest => found.iter().map(|found| found.end_offset).collect(),
        End::Timestamp(ms) => offsets_at(config, found, ms, shutdown)?,
    };
    let both = begins.into_iter().zip(ends);
    let ranges = found.iter().zip(both).map(|(found, (begin, end))| Range {
        begin: Position {
            next_offset: begin,
            ..found.earliest.clone()
        },
        end_offset: end.max(begin),
    });
    Ok(ranges.collect())
}

fn refused<T>(reason: String) -> anyhow::Result<T> {
    Err(JobError::Refused(reason).into())
}

fn first_offsets(found: &[Found]) -> Vec<i64> {
    found
        .iter()
        .map(|found| found.earliest.next_offset)
        .collect()
}

/// The offset of each partition's first record that is not older than this; its end where there is none.
fn offsets_at(
    config: &ClientConfig,
    found: &[Found],
    ms: i64,
    shutdown: &Shutdown,
) -> anyhow::Result<Vec<i64>> {
    let client: BaseConsumer<LoggedContext> = config.create_with_context(LoggedContext)?;
    let mut question = TopicPartitionList::new();
    for Found { earliest, .. } in found {
        // Negative numbers mean something else to the broker.
        let at = Offset::Offset(ms.max(0));
        question.add_partition_offset(&earliest.topic, earliest.partition, at)?;
    }
    let answers = wait_for(config, "tell offsets by time", shutdown, || {
        client.offsets_for_times(question.clone(), ASK_TIMEOUT)
    })?;
    let mut offsets = Vec::new();
    for Found {
        earliest,
        end_offset,
    } in found
    {
        let answer = answers.find_partition(&earliest.topic, earliest.partition);
        let answer = answer.map(|answer| answer.error().map(|()| answer.offset()));
        offsets.push(match answer.transpose()? {
            Some(Offset::Offset(offset)) => offset.clamp(earliest.next_offset, *end_offset),
            _ => *end_offset,
        });
    }
    Ok(offsets)
}
