//! What is said when records are gone before they were read.

use crate::source::TopicPartition;

/// A partition whose next record is not there.
pub(super) struct Missing<'a> {
    pub partition: &'a TopicPartition,
    /// The offset that is to be read next.
    pub wanted: i64,
    /// The first offset that is there.
    pub first: i64,
    /// The offset after the last.
    pub end: i64,
}

impl Missing<'_> {
    fn place(&self) -> String {
        let TopicPartition { topic, partition } = self.partition;
        format!(
            "{topic}/{partition}: offset {} is to be read next",
            self.wanted
        )
    }

    /// Retention, or somebody, has deleted what was not read yet, and the policy is to stop.
    pub(super) fn not_read(&self) -> anyhow::Error {
        anyhow::anyhow!(
            "{}, and the first that the broker has is {}: up to {} records were deleted before they were read. Set \
             on_data_loss = \"continue\" to go on at {} with the loss counted and recorded, and look why the job was \
             so far behind (docs/operations.md, Data that is gone)",
            self.place(),
            self.first,
            self.first - self.wanted,
            self.first,
        )
    }

    /// The same, and the policy is to go on.
    pub(super) fn skipped(&self) -> String {
        format!(
            "{}, and the first that the broker has is {}: up to {} records were deleted before they were read. \
             on_data_loss = \"continue\": going on at {}",
            self.place(),
            self.first,
            self.first - self.wanted,
            self.first,
        )
    }

    /// An epoch of the log has these records, and they can't be read again.
    pub(super) fn needed_by_replay(&self) -> anyhow::Error {
        anyhow::anyhow!(
            "{}, as an epoch of the log holds it, and the first that the broker has is {}: a replay would write other \
             rows than were written. Start with --new-timeline; the rows that landed stay",
            self.place(),
            self.first,
        )
    }

    /// The log of the partition has become shorter than what was read of it.
    pub(super) fn cut_at_the_end(&self) -> anyhow::Error {
        anyhow::anyhow!(
            "{}, and the broker's log of it ends before, at {}: records that were read and have landed are not in \
             Kafka any more, as after an unclean leader election, and others may come under their offsets. Start with \
             --new-timeline on a database of its own",
            self.place(),
            self.end,
        )
    }
}
