//! Reads a recording, partition by partition, from any offset.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::frame::{self, HEAD, LARGEST_BODY, SMALLEST_BODY};
use super::{
    FORMAT, METADATA_FILE, Metadata, RecordedTopic, RecordingError, VERSION, check_topics,
    partition_file,
};
use crate::source::{Record, TopicPartition};

/// Bytes read at once.
const BUFFER: usize = 1 << 20;
/// Bytes between two entries of the index that a seek starts from.
const INDEX_STEP: u64 = 1 << 20;

/// An open recording. Opening it looks at the head of every frame, so that ends, offsets and a torn tail are known
/// before the first record is read; checksums are compared as records are read.
#[derive(Debug)]
pub struct RecordingReader {
    folder: PathBuf,
    topics: Vec<RecordedTopic>,
    partitions: Vec<TopicPartition>,
    files: Vec<PartitionFile>,
}

/// What is known of one partition's file.
#[derive(Clone, Debug)]
struct PartitionFile {
    path: PathBuf,
    /// Bytes up to the end of the last whole frame.
    length: u64,
    records: u64,
    first_offset: i64,
    end_offset: i64,
    /// Offset and byte of one frame in every [`INDEX_STEP`] bytes.
    index: Vec<(i64, u64)>,
}

impl RecordingReader {
    /// Opens the recording in `folder`.
    ///
    /// # Errors
    /// The folder holds no recording of a version that is known, a file is missing, or a frame is damaged.
    pub fn open(folder: &Path) -> Result<RecordingReader, RecordingError> {
        let topics = read_metadata(folder)?;
        let mut partitions: Vec<TopicPartition> = topics
            .iter()
            .flat_map(|topic| {
                (0..topic.partitions).map(|partition| TopicPartition {
                    topic: topic.name.as_str().into(),
                    partition,
                })
            })
            .collect();
        partitions.sort();
        let files = partitions
            .iter()
            .map(|tp| PartitionFile::scan(partition_file(folder, &tp.topic, tp.partition)))
            .collect::<Result<_, _>>()?;
        Ok(RecordingReader {
            folder: folder.to_owned(),
            topics,
            partitions,
            files,
        })
    }

    /// The topics in the order of `recording.json`.
    #[must_use]
    pub fn topics(&self) -> &[RecordedTopic] {
        &self.topics
    }

    /// The broker's id of a topic, empty where the recording has none.
    #[must_use]
    pub fn topic_id(&self, topic: &str) -> &str {
        let found = self.topics.iter().find(|recorded| recorded.name == topic);
        found.map_or("", |recorded| &recorded.topic_id)
    }

    /// Every partition, sorted by topic and number.
    #[must_use]
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }

    /// Number of records of a partition.
    ///
    /// # Errors
    /// The recording has no such partition.
    pub fn records(&self, partition: &TopicPartition) -> Result<u64, RecordingError> {
        self.file(partition).map(|file| file.records)
    }

    /// Offset of a partition's first record; of an empty one, its end offset.
    ///
    /// # Errors
    /// The recording has no such partition.
    pub fn first_offset(&self, partition: &TopicPartition) -> Result<i64, RecordingError> {
        self.file(partition).map(|file| file.first_offset)
    }

    /// The offset after a partition's last record, 0 for an empty one.
    ///
    /// # Errors
    /// The recording has no such partition.
    pub fn end_offset(&self, partition: &TopicPartition) -> Result<i64, RecordingError> {
        self.file(partition).map(|file| file.end_offset)
    }

    /// Reads a partition's records from the first one whose offset is not below `from_offset`.
    ///
    /// # Errors
    /// The recording has no such partition, or its file can't be opened.
    pub fn read_partition(
        &self,
        partition: &TopicPartition,
        from_offset: i64,
    ) -> Result<PartitionReader, RecordingError> {
        let file = self.file(partition)?;
        let after = file
            .index
            .partition_point(|(offset, _)| *offset <= from_offset);
        let at = after.checked_sub(1).map_or(0, |i| file.index[i].1);
        let io = || RecordingError::io(&file.path);
        let mut input = File::open(&file.path).map_err(io())?;
        input.seek(SeekFrom::Start(at)).map_err(io())?;
        Ok(PartitionReader {
            input: BufReader::with_capacity(BUFFER, input),
            path: file.path.clone(),
            at,
            length: file.length,
            from_offset,
            body: Vec::new(),
            failed: false,
        })
    }

    fn file(&self, partition: &TopicPartition) -> Result<&PartitionFile, RecordingError> {
        match self.partitions.binary_search(partition) {
            Ok(i) => Ok(&self.files[i]),
            Err(_) => Err(RecordingError::NoPartition {
                path: self.folder.clone(),
                topic: partition.topic.to_string(),
                partition: partition.partition,
            }),
        }
    }
}

fn read_metadata(folder: &Path) -> Result<Vec<RecordedTopic>, RecordingError> {
    let path = folder.join(METADATA_FILE);
    let refuse = |reason: String| RecordingError::Metadata {
        path: path.clone(),
        reason,
    };
    let text = std::fs::read_to_string(&path).map_err(RecordingError::io(&path))?;
    let metadata: Metadata =
        serde_json::from_str(&text).map_err(|error| refuse(format!("not a recording: {error}")))?;
    if metadata.format != FORMAT {
        return Err(refuse(format!(
            "format is `{}`, expected `{FORMAT}`",
            metadata.format
        )));
    }
    if metadata.version != VERSION {
        return Err(refuse(format!(
            "version is {}, this program reads version {VERSION}",
            metadata.version
        )));
    }
    check_topics(&path, &metadata.topics)?;
    Ok(metadata.topics)
}

impl PartitionFile {
    /// Walks the heads of all frames.
    fn scan(path: PathBuf) -> Result<PartitionFile, RecordingError> {
        let input = File::open(&path).map_err(RecordingError::io(&path))?;
        let size = input.metadata().map_err(RecordingError::io(&path))?.len();
        let mut input = BufReader::with_capacity(BUFFER, input);
        let mut file = PartitionFile {
            path,
            length: 0,
            records: 0,
            first_offset: 0,
            end_offset: 0,
            index: Vec::new(),
        };
        while file.length < size {
            match file.scan_frame(&mut input, size)? {
                Some(next) => file.length = next,
                None => {
                    tracing::warn!(
                        "recording file {}: the last {} bytes, from byte {}, are a torn frame and were cut off",
                        file.path.display(),
                        size - file.length,
                        file.length
                    );
                    break;
                }
            }
        }
        Ok(file)
    }

    /// Takes note of the frame at `self.length`; gives where the next one begins, or `None` for a torn tail.
    fn scan_frame(
        &mut self,
        input: &mut BufReader<File>,
        size: u64,
    ) -> Result<Option<u64>, RecordingError> {
        let at = self.length;
        let damaged = |reason: String| RecordingError::Frame {
            path: self.path.clone(),
            byte: at,
            reason,
        };
        let io = || RecordingError::io(&self.path);
        if size - at < HEAD as u64 {
            return Ok(None);
        }
        let mut head = [0; HEAD];
        input.read_exact(&mut head).map_err(io())?;
        let (body_length, crc) = frame::decode_head(head);
        let next = at + (HEAD + body_length) as u64;
        if !(SMALLEST_BODY..=LARGEST_BODY).contains(&body_length) {
            // A file system may leave zeros behind a write that a power cut interrupted.
            if head == [0; HEAD] && rest_is_zero(input).map_err(io())? {
                return Ok(None);
            }
            return Err(damaged(format!(
                "a frame can't have a body of {body_length} bytes"
            )));
        }
        if next > size {
            return Ok(None);
        }
        let mut offset = [0; 8];
        if next == size {
            // Only the last frame can be torn with its whole length there, so only it is read in full here.
            let mut body = vec![0; body_length];
            input.read_exact(&mut body).map_err(io())?;
            if crc32fast::hash(&body) != crc {
                return Ok(None);
            }
            offset.copy_from_slice(&body[..8]);
        } else {
            input.read_exact(&mut offset).map_err(io())?;
            let skip = i64::try_from(body_length - offset.len()).unwrap_or(i64::MAX);
            input.seek_relative(skip).map_err(io())?;
        }
        let offset = i64::from_le_bytes(offset);
        if offset < self.end_offset {
            return Err(damaged(format!(
                "its offset {offset} does not ascend: {} was expected at least",
                self.end_offset
            )));
        }
        if self.records == 0 {
            self.first_offset = offset;
        }
        if self
            .index
            .last()
            .is_none_or(|(_, byte)| at - byte >= INDEX_STEP)
        {
            self.index.push((offset, at));
        }
        self.records += 1;
        self.end_offset = offset.saturating_add(1);
        Ok(Some(next))
    }
}

fn rest_is_zero(input: &mut impl Read) -> std::io::Result<bool> {
    let mut chunk = [0; 4096];
    loop {
        let n = input.read(&mut chunk)?;
        if n == 0 {
            return Ok(true);
        }
        if chunk[..n].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
}

/// The records of one partition in order. After an error it ends.
#[derive(Debug)]
pub struct PartitionReader {
    input: BufReader<File>,
    path: PathBuf,
    at: u64,
    length: u64,
    from_offset: i64,
    body: Vec<u8>,
    failed: bool,
}

impl PartitionReader {
    fn next_frame(&mut self) -> Result<Record, RecordingError> {
        let byte = self.at;
        let io = || RecordingError::io(&self.path);
        let mut head = [0; HEAD];
        self.input.read_exact(&mut head).map_err(io())?;
        let (length, crc) = frame::decode_head(head);
        let damaged = |reason: String| RecordingError::Frame {
            path: self.path.clone(),
            byte,
            reason,
        };
        if length as u64 > self.length.saturating_sub(byte) {
            return Err(damaged("the file was changed while it was read".to_owned()));
        }
        self.body.resize(length, 0);
        self.input.read_exact(&mut self.body).map_err(io())?;
        self.at += (HEAD + length) as u64;
        let found = crc32fast::hash(&self.body);
        if found != crc {
            return Err(damaged(format!(
                "its CRC-32 is {found:08x}, expected {crc:08x}"
            )));
        }
        frame::decode_body(&self.body).map_err(damaged)
    }
}

impl Iterator for PartitionReader {
    type Item = Result<Record, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed && self.at < self.length {
            match self.next_frame() {
                Ok(record) if record.offset < self.from_offset => {}
                Ok(record) => return Some(Ok(record)),
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
