//! Writes a recording.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{
    FORMAT, METADATA_FILE, Metadata, RecordedTopic, RecordingError, VERSION, check_topics, frame,
    partition_file,
};
use crate::source::{Record, TopicPartition};

/// Bytes buffered for each partition.
const BUFFER: usize = 256 << 10;

/// Writes records into the partitions of a new recording. Call [`RecordingWriter::finish`] at the end: what is not
/// flushed is lost when this is dropped after an error.
#[derive(Debug)]
pub struct RecordingWriter {
    folder: PathBuf,
    partitions: BTreeMap<TopicPartition, Partition>,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Partition {
    path: PathBuf,
    file: BufWriter<File>,
    last_offset: i64,
}

impl RecordingWriter {
    /// Makes the folder with an empty file for every partition.
    ///
    /// # Errors
    /// The folder already holds a recording, a topic's name is no topic name, or the file system refuses.
    pub fn create(
        folder: &Path,
        topics: &[RecordedTopic],
    ) -> Result<RecordingWriter, RecordingError> {
        let metadata_path = folder.join(METADATA_FILE);
        check_topics(&metadata_path, topics)?;
        if metadata_path.exists() {
            return Err(RecordingError::Metadata {
                path: metadata_path,
                reason: "a recording is already here: choose another folder or delete this one"
                    .to_owned(),
            });
        }
        let mut partitions = BTreeMap::new();
        for topic in topics {
            let topic_folder = folder.join(&topic.name);
            fs::create_dir_all(&topic_folder).map_err(RecordingError::io(&topic_folder))?;
            for partition in 0..topic.partitions {
                let path = partition_file(folder, &topic.name, partition);
                let file = File::create(&path).map_err(RecordingError::io(&path))?;
                let key = TopicPartition {
                    topic: topic.name.as_str().into(),
                    partition,
                };
                let file = BufWriter::with_capacity(BUFFER, file);
                partitions.insert(
                    key,
                    Partition {
                        path,
                        file,
                        last_offset: -1,
                    },
                );
            }
        }
        fs::create_dir_all(folder).map_err(RecordingError::io(folder))?;
        write_metadata(&metadata_path, topics)?;
        Ok(RecordingWriter {
            folder: folder.to_owned(),
            partitions,
            scratch: Vec::new(),
        })
    }

    /// Appends a record; returns the bytes it takes.
    ///
    /// # Errors
    /// The partition is not of this recording, the offset does not ascend, or the file system refuses.
    pub fn append(
        &mut self,
        partition: &TopicPartition,
        record: &Record,
    ) -> Result<u64, RecordingError> {
        let Some(target) = self.partitions.get_mut(partition) else {
            return Err(RecordingError::NoPartition {
                path: self.folder.clone(),
                topic: partition.topic.to_string(),
                partition: partition.partition,
            });
        };
        if record.offset <= target.last_offset {
            return Err(RecordingError::NotAscending {
                path: target.path.clone(),
                offset: record.offset,
                last: target.last_offset,
            });
        }
        self.scratch.clear();
        frame::encode(record, &mut self.scratch).map_err(|reason| RecordingError::Metadata {
            path: target.path.clone(),
            reason,
        })?;
        target
            .file
            .write_all(&self.scratch)
            .map_err(RecordingError::io(&target.path))?;
        target.last_offset = record.offset;
        Ok(self.scratch.len() as u64)
    }

    /// Flushes and syncs every partition.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn finish(mut self) -> Result<(), RecordingError> {
        for partition in self.partitions.values_mut() {
            let io = || RecordingError::io(&partition.path);
            partition.file.flush().map_err(io())?;
            partition.file.get_ref().sync_data().map_err(io())?;
        }
        Ok(())
    }
}

fn write_metadata(path: &Path, topics: &[RecordedTopic]) -> Result<(), RecordingError> {
    let metadata = Metadata {
        format: FORMAT.to_owned(),
        version: VERSION,
        topics: topics.to_vec(),
    };
    let mut text =
        serde_json::to_string_pretty(&metadata).map_err(|error| RecordingError::Metadata {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
    text.push('\n');
    fs::write(path, text).map_err(RecordingError::io(path))
}
