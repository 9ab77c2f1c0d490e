//! Where records come from: Kafka or a recording. Both hand out the same [`Record`]s, by partition and offset.

pub mod recording;

use std::sync::Arc;

/// One partition of one topic. Ordered by topic name, then number.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
}

/// One record as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Offset within its partition.
    pub offset: i64,
    /// The record's own time in ms since 1970, -1 where it has none.
    pub timestamp_ms: i64,
    /// Key bytes, if any.
    pub key: Option<Vec<u8>>,
    /// Headers in order; a name may repeat.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Value bytes; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
}
