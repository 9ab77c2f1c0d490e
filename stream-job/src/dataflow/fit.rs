//! Where a run begins: the partitions of its log, held against those that the source has.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::epoch_log::Replay;
use crate::checkpoint::record::Position;
use crate::ops::job::JobError;
use crate::ops::settings::OnDataLoss;
use crate::source::kafka::Found;

/// Where a run begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fitted {
    /// The positions before the first epoch, new or replayed.
    pub positions: Vec<Position>,
    /// Partitions that the log does not know: they come behind those it has, from their first offset on.
    pub new: Vec<Position>,
    /// Slots whose partitions the source does not have any more.
    pub gone: BTreeSet<u32>,
}

/// What a partition's log entries say.
pub(super) struct Logged<'a> {
    /// Its newest position.
    pub last: &'a Position,
    /// Where reading begins, before the first epoch to be replayed.
    from: i64,
    /// The offset that is read first: behind a gap that the log knows.
    first_read: i64,
}

/// Holds the partitions of the log against those that the source has. What an epoch of the log has read must be there
/// to be read again; for what was not read yet the policy decides.
pub(super) fn fit_positions(
    replay: &Replay,
    found: &[Found],
    policy: OnDataLoss,
) -> anyhow::Result<Fitted> {
    let key = |position: &Position| (position.topic.clone(), position.partition);
    let now: BTreeMap<_, _> = found
        .iter()
        .map(|found| (key(&found.earliest), found))
        .collect();
    let mut gone = BTreeSet::new();
    let slots = (0u32..).zip(logged(replay));
    for (slot, logged) in slots {
        match now.get(&key(logged.last)) {
            Some(now) => check_offsets(&logged, now, policy)?,
            None if policy == OnDataLoss::Continue
                && logged.last.next_offset <= logged.first_read =>
            {
                tracing::error!(
                    "{}/{} is gone: what it held from offset {} on was not read. on_data_loss = \"continue\": going on \
                     without it",
                    logged.last.topic,
                    logged.last.partition,
                    logged.last.next_offset,
                );
                gone.insert(slot);
            }
            None => {
                return Err(JobError::Refused(format!(
                    "the epoch log reads {}/{} from offset {}, which the source does not have. Bring the topic back, or \
                     set on_data_loss = \"continue\" to go on without it where nothing of it is to be replayed, or \
                     start with --new-timeline; the rows that landed stay",
                    logged.last.topic, logged.last.partition, logged.from,
                ))
                .into());
            }
        }
    }
    let known: BTreeSet<_> = logged(replay).map(|logged| key(logged.last)).collect();
    let new = found.iter().map(|found| found.earliest.clone());
    Ok(Fitted {
        positions: replay.positions.clone(),
        new: new
            .filter(|position| !known.contains(&key(position)))
            .collect(),
        gone,
    })
}

/// The partitions of the log, in the order of their slots.
pub(super) fn logged(replay: &Replay) -> impl Iterator<Item = Logged<'_>> {
    let newest = replay
        .epochs
        .last()
        .map_or(&replay.positions, |record| &record.positions);
    (0u32..).zip(newest).map(|(slot, last)| {
        let at = slot as usize;
        let first = replay
            .epochs
            .iter()
            .find_map(|record| record.positions.get(at));
        let from = replay
            .positions
            .get(at)
            .or(first)
            .unwrap_or(last)
            .next_offset;
        let mut gaps = replay.epochs.iter().flat_map(|record| &record.gaps);
        let gap = gaps.find(|gap| gap.slot == slot && gap.from == from);
        Logged {
            last,
            from,
            first_read: gap.map_or(from, |gap| gap.to),
        }
    })
}

fn check_offsets(logged: &Logged<'_>, found: &Found, policy: OnDataLoss) -> anyhow::Result<()> {
    let (last, now) = (logged.last, &found.earliest);
    let refused = |reason: String| Err(JobError::Refused(reason).into());
    let known = !now.topic_id.is_empty() && !last.topic_id.is_empty();
    if known && now.topic_id != last.topic_id {
        return refused(format!(
            "topic {} was deleted and made again since the epoch log was written (its id is {}, not {}). Start with \
             --new-timeline; the rows that landed stay",
            last.topic, now.topic_id, last.topic_id,
        ));
    }
    if last.next_offset > found.end_offset {
        return refused(format!(
            "the epoch log has read {}/{} up to offset {}, and the source ends at {}: it is not the one that was read, or \
             it was truncated. Start with --new-timeline; the rows that landed stay",
            last.topic, last.partition, last.next_offset, found.end_offset,
        ));
    }
    if now.next_offset <= logged.first_read {
        return Ok(());
    }
    if last.next_offset > logged.first_read {
        return refused(format!(
            "the epoch log reads {}/{} from offset {}, and the source begins at {}: retention has deleted what a \
             restart reads again. Start with --new-timeline; the rows that landed stay",
            last.topic, last.partition, logged.first_read, now.next_offset,
        ));
    }
    if policy == OnDataLoss::Stop {
        return refused(format!(
            "{}/{} is to be read from offset {}, and the source begins at {}: up to {} records were deleted before they \
             were read. Set on_data_loss = \"continue\" to go on with the loss counted and recorded",
            last.topic,
            last.partition,
            last.next_offset,
            now.next_offset,
            now.next_offset - last.next_offset,
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
