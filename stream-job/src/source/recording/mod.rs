//! Recordings: a folder of partitions with offsets, read like Kafka by tests, benchmarks and replays.
//!
//! ```text
//! DIR/recording.json             {"format":"spanflow-recording","version":1,"topics":[{name, topic_id, partitions}]}
//! DIR/<topic>/<partition>.log    frames, offsets ascending, gaps allowed
//! ```
//! See [`frame`] for the bytes of a frame. A torn last frame (the writer was killed) is cut off with a warning; any
//! other damage is an error that names file and byte.

pub mod frame;
mod reader;
mod source;
mod writer;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use reader::{PartitionReader, RecordingReader};
pub use source::RecordingSource;
pub use writer::RecordingWriter;

/// Name of the file that says what the recording holds.
const METADATA_FILE: &str = "recording.json";
/// What `format` says.
const FORMAT: &str = "spanflow-recording";
/// The version written, and the only one read.
const VERSION: u32 = 1;

/// One topic of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedTopic {
    /// Its name.
    pub name: String,
    /// The broker's id of it, empty where it gave none.
    #[serde(default)]
    pub topic_id: String,
    /// Number of partitions, numbered from 0.
    pub partitions: i32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    format: String,
    version: u32,
    topics: Vec<RecordedTopic>,
}

/// Why a recording can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file system refused.
    #[error("recording file {path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `recording.json` is missing something or says something else.
    #[error("{path}: {reason}", path = path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A frame is damaged.
    #[error("recording file {path}, frame at byte {byte}: {reason}", path = path.display())]
    Frame {
        /// The file.
        path: PathBuf,
        /// Where the frame begins.
        byte: u64,
        /// What is wrong.
        reason: String,
    },
    /// The recording has no such partition.
    #[error("the recording {path} has no partition {partition} of topic {topic}", path = path.display())]
    NoPartition {
        /// The recording.
        path: PathBuf,
        /// Topic asked for.
        topic: String,
        /// Partition asked for.
        partition: i32,
    },
    /// A record was appended out of order.
    #[error("recording file {path}: offset {offset} does not ascend: {last} was written before", path = path.display())]
    NotAscending {
        /// The file.
        path: PathBuf,
        /// The offset refused.
        offset: i64,
        /// The one before it.
        last: i64,
    },
}

impl RecordingError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> RecordingError + '_ {
        move |source| RecordingError::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// Refuses topics that can't be folders, and partitions that can't be.
fn check_topics(path: &Path, topics: &[RecordedTopic]) -> Result<(), RecordingError> {
    let refuse = |reason: String| {
        Err(RecordingError::Metadata {
            path: path.to_owned(),
            reason,
        })
    };
    for (i, topic) in topics.iter().enumerate() {
        let name = &topic.name;
        // Kafka's own rule for topic names, which also keeps a recording from naming a folder outside itself.
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty()
            || name.len() > 249
            || name == "."
            || name == ".."
            || !name.chars().all(legal)
        {
            return refuse(format!("`{name}` can't be a topic's name"));
        }
        if topics[..i].iter().any(|other| other.name == *name) {
            return refuse(format!("topic `{name}` is there twice"));
        }
        if !(1..=10_000).contains(&topic.partitions) {
            return refuse(format!(
                "topic `{name}` has {} partitions: expected 1 to 10000",
                topic.partitions
            ));
        }
    }
    Ok(())
}

fn partition_file(folder: &Path, topic: &str, partition: i32) -> PathBuf {
    folder.join(topic).join(format!("{partition}.log"))
}

#[cfg(test)]
mod tests;
