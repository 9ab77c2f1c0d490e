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
        for ((reader, buffer), end) in self
            .partitions
            .iter_mut()
            .zip(buffers.iter_mut())
            .zip(&self.end_offsets)
        {
            while buffer.records() < self.quota && buffer.position < *end {
                let Some(record) = reader.next() else { break };
                let record = record?;
                buffer.position = record.offset + 1;
                buffer.held().push_record(record);
                polled.changed = true;
            }
        }
        let mut ready = buffers.iter().zip(&self.end_offsets);
        let is_ready =
            ready.all(|(buffer, end)| buffer.records() >= self.quota || buffer.position >= *end);
        polled.full = is_ready && buffers.iter().any(|buffer| buffer.records() > 0);
        Ok(polled)
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
