//! Counters of the writer, for the job's metrics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::sink::tables::every_table;

/// A counter or gauge that any thread may read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// What landed in one table.
#[derive(Debug, Default)]
pub struct TableMetrics {
    /// Rows.
    pub rows: Count,
    /// Bytes of Native format.
    pub bytes: Count,
    /// Inserts.
    pub inserts: Count,
}

/// What the writer has done and is doing.
#[derive(Debug)]
pub struct WriterMetrics {
    tables: Vec<(&'static str, TableMetrics)>,
    /// Attempts that failed and were repeated.
    pub retries: Count,
    /// Blocks that a replay computed again and found acknowledged.
    pub skipped: Count,
    /// Blocks taken from the dataflow that have not landed.
    pub in_flight_blocks: Count,
    /// Their bytes.
    pub in_flight_bytes: Count,
    waiting_since_ms: AtomicI64,
}

impl Default for WriterMetrics {
    fn default() -> Self {
        let tables = every_table().into_iter();
        WriterMetrics {
            tables: tables
                .map(|table| (table.name(), TableMetrics::default()))
                .collect(),
            retries: Count::default(),
            skipped: Count::default(),
            in_flight_blocks: Count::default(),
            in_flight_bytes: Count::default(),
            waiting_since_ms: AtomicI64::new(0),
        }
    }
}

impl WriterMetrics {
    /// What landed, by table, in the order of the layers.
    pub fn tables(&self) -> impl Iterator<Item = (&'static str, &TableMetrics)> {
        self.tables.iter().map(|(name, metrics)| (*name, metrics))
    }

    /// Since when the warehouse takes nothing, ms since 1970; `None` while all is well.
    #[must_use]
    pub fn waiting_since_ms(&self) -> Option<i64> {
        Some(self.waiting_since_ms.load(Ordering::Relaxed)).filter(|&since| since != 0)
    }

    pub(super) fn count_insert(&self, table: &str, rows: u64, bytes: usize) {
        let known = self.tables.iter().find(|(name, _)| *name == table);
        if let Some((_, metrics)) = known {
            metrics.rows.add(rows);
            metrics.bytes.add(bytes as u64);
            metrics.inserts.add(1);
        }
        self.waiting_since_ms.store(0, Ordering::Relaxed);
    }

    pub(super) fn count_retry(&self, now_ms: i64) {
        self.retries.add(1);
        // Whoever failed first has set it.
        let _ =
            self.waiting_since_ms
                .compare_exchange(0, now_ms, Ordering::Relaxed, Ordering::Relaxed);
    }
}
