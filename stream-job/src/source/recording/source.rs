//! A recording as the job's source: each partition is read up to a quota of records an epoch.

use super::{PartitionReader, RecordingReader};
use crate::source::buffer::PartitionBuffer;
use crate::source::{Polled, Reader};

/// Reads a worker's share of a recording's partitions.
pub struct RecordingSource {
    partitions: Vec<PartitionReader>,
    end_offsets: Vec<i64>,
    /// Records that a partition gives to an epoch, so that epochs are cut by record counts alone.
    quota: usize,
    /// Records that a partition may hold now: more than the quota while an epoch of the log reaches further.
    limit: usize,
}

impl RecordingSource {
    /// Reads the buffers' partitions from the buffers' positions on.
    ///
    /// # Errors
    /// When a partition cannot be opened.
    pub fn open(
        recording: &RecordingReader,
        buffers: &[PartitionBuffer],
        quota: usize,
    ) -> anyhow::Result<Self> {
        let mut partitions = Vec::new();
        let mut end_offsets = Vec::new();
        for buffer in buffers {
            partitions.push(recording.read_partition(&buffer.partition, buffer.position)?);
            end_offsets.push(recording.end_offset(&buffer.partition)?);
        }
        Ok(Self {
            partitions,
            end_offsets,
            quota: quota.max(1),
            limit: quota.max(1),
        })
    }
}

impl Reader for RecordingSource {
    fn poll(
        &mut self,
        buffers: &mut [PartitionBuffer],
        _budget_bytes: usize,
    ) -> anyhow::Result<Polled> {
        let mut polled = Polled::default();
        if buffers.iter().all(|buffer| buffer.records() < self.quota) {
            self.limit = self.quota;
        }
        for ((reader, buffer), end) in self
            .partitions
            .iter_mut()
            .zip(buffers.iter_mut())
            .zip(&self.end_offsets)
        {
            while !buffer.paused && buffer.records() < self.limit && buffer.position < *end {
                let Some(record) = reader.next() else { break };
                let record = record?;
                buffer.position = record.offset + 1;
                buffer.held().push_record(record);
                polled.changed = true;
            }
        }
        let mut ready = buffers.iter().zip(&self.end_offsets);
        let is_ready = ready.all(|(buffer, end)| {
            buffer.paused || buffer.records() >= self.limit || buffer.position >= *end
        });
        polled.full = is_ready && buffers.iter().any(|buffer| buffer.records() > 0);
        Ok(polled)
    }

    fn read_further(&mut self) {
        self.limit = self.limit.saturating_mul(2);
    }

    fn confirmed_at_end_ms(&self, _at: usize, _buffer: &PartitionBuffer) -> Option<i64> {
        None
    }

    fn end_offset(&self, at: usize) -> Option<i64> {
        self.end_offsets.get(at).copied()
    }

    fn has_ended(&self, at: usize, buffer: &PartitionBuffer) -> bool {
        buffer.position >= self.end_offsets[at]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::source::recording::{RecordedTopic, RecordingWriter};
    use crate::source::{Record, TopicPartition};

    fn partition(partition: i32) -> TopicPartition {
        TopicPartition {
            topic: "t".into(),
            partition,
        }
    }

    /// A recording with these offsets in each partition.
    fn recording(offsets: &[&[i64]]) -> (tempfile::TempDir, RecordingReader) {
        let folder = tempfile::tempdir().unwrap();
        let topic = RecordedTopic {
            name: "t".to_owned(),
            topic_id: String::new(),
            partitions: offsets.len() as i32,
        };
        let mut writer = RecordingWriter::create(folder.path(), &[topic]).unwrap();
        for (at, offsets) in (0..).zip(offsets) {
            for &offset in *offsets {
                let record = Record {
                    offset,
                    timestamp_ms: -1,
                    key: None,
                    headers: Vec::new(),
                    payload: Some(vec![7; 10]),
                };
                writer.append(&partition(at), &record).unwrap();
            }
        }
        writer.finish().unwrap();
        let recording = RecordingReader::open(folder.path()).unwrap();
        (folder, recording)
    }

    fn source(
        recording: &RecordingReader,
        quota: usize,
    ) -> (RecordingSource, Vec<PartitionBuffer>) {
        let buffers: Vec<_> = recording
            .partitions()
            .iter()
            .map(|tp| PartitionBuffer::new(tp.clone(), recording.first_offset(tp).unwrap()))
            .collect();
        let source = RecordingSource::open(recording, &buffers, quota).unwrap();
        (source, buffers)
    }

    fn release_all(buffers: &mut [PartitionBuffer]) {
        for buffer in buffers {
            buffer.release(buffer.position);
        }
    }

    fn held(buffers: &[PartitionBuffer]) -> Vec<usize> {
        buffers.iter().map(PartitionBuffer::records).collect()
    }

    #[test]
    fn a_partition_is_read_up_to_its_quota_and_ends_with_its_last_record() {
        let (_folder, recording) = recording(&[&[3, 4, 9, 10, 11], &[0], &[]]);
        let (mut source, mut buffers) = source(&recording, 2);
        let polled = source.poll(&mut buffers, 0).unwrap();
        assert!(polled.changed && polled.full);
        assert_eq!(held(&buffers), [2, 1, 0]);
        let ended = |source: &RecordingSource, buffers: &[PartitionBuffer]| {
            (0..3)
                .map(|at| source.has_ended(at, &buffers[at]))
                .collect::<Vec<_>>()
        };
        assert_eq!(ended(&source, &buffers), [false, true, true]);
        let polled = source.poll(&mut buffers, 0).unwrap();
        assert!(
            !polled.changed && polled.full,
            "nothing more until it is released"
        );
        release_all(&mut buffers);
        source.poll(&mut buffers, 0).unwrap();
        release_all(&mut buffers);
        source.poll(&mut buffers, 0).unwrap();
        assert_eq!(ended(&source, &buffers), [true; 3]);
        assert_eq!((buffers[0].position, source.end_offset(0)), (12, Some(12)));
        release_all(&mut buffers);
        let polled = source.poll(&mut buffers, 0).unwrap();
        assert!(
            !polled.changed && !polled.full,
            "there is nothing to release"
        );
    }

    #[test]
    fn an_epoch_of_the_log_that_reaches_beyond_the_quota_is_read_to_its_end() {
        let offsets: Vec<i64> = (0..20).collect();
        let (_folder, recording) = recording(&[&offsets]);
        let (mut source, mut buffers) = source(&recording, 2);
        let mut polls = 0;
        while buffers[0].position < 15 {
            assert!(source.poll(&mut buffers, 0).unwrap().full);
            source.read_further();
            polls += 1;
            assert!(polls < 10, "it stands at {}", buffers[0].position);
        }
        assert_eq!(buffers[0].release(15).len(), 15);
        // What lies beyond is held, and then the quota holds again.
        release_all(&mut buffers);
        source.poll(&mut buffers, 0).unwrap();
        assert!(buffers[0].records() <= 2);
    }

    #[test]
    fn damage_is_an_error_and_not_an_end() {
        let (folder, recording) = recording(&[&[0, 1, 2]]);
        let file = folder.path().join("t/0.log");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let (mut source, mut buffers) = source(&recording, 10);
        let error = source.poll(&mut buffers, 0).unwrap_err().to_string();
        assert!(error.contains("frame at byte 0"), "{error}");
    }
}
