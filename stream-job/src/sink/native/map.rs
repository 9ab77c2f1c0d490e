//! Map columns. On the wire a map is an array of pairs: end offsets, then all keys, then all values.

use super::low_cardinality::Dictionary;
use super::{Append, Column, put_offsets, put_string};
use crate::dataflow::buckets::Buckets;

/// `Map(LowCardinality(String), String)`: attributes. A row is pushed as its entries, then [`LabelMap::end_row`].
#[derive(Debug, Default)]
pub struct LabelMap {
    dictionary: Dictionary,
    keys: Vec<u32>,
    values: Vec<u8>,
    /// End of each row in `keys` and in `values`.
    ends: Vec<(usize, usize)>,
}

/// An end offset, and for each entry the widest index.
const OFFSET_BYTES: usize = 8;
const INDEX_BYTES: usize = 4;

impl LabelMap {
    /// Adds an entry to the row under construction.
    #[inline]
    pub fn entry(&mut self, key: &str, value: &str) {
        self.keys.push(self.dictionary.intern(key));
        put_string(&mut self.values, value.as_bytes());
    }

    /// Ends the row under construction.
    #[inline]
    pub fn end_row(&mut self) {
        self.ends.push((self.keys.len(), self.values.len()));
    }

    fn start(&self, row: usize) -> (usize, usize) {
        if row == 0 { (0, 0) } else { self.ends[row - 1] }
    }
}

impl Column for LabelMap {
    const TYPE: &'static str = "Map(LowCardinality(String), String)";

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.ends.clear();
        self.dictionary.trim();
    }

    fn row_bytes(&self, row: usize) -> usize {
        let (keys, values) = self.start(row);
        let (keys_end, values_end) = self.ends[row];
        let texts: usize = (self.keys[keys..keys_end].iter())
            .map(|&id| INDEX_BYTES + self.dictionary.wire_bytes(id))
            .sum();
        OFFSET_BYTES + texts + (values_end - values)
    }

    fn total_bytes(&self) -> usize {
        self.ends.len() * OFFSET_BYTES + self.keys.len() * INDEX_BYTES + self.values.len()
    }

    fn write(&mut self, rows: &[u32], out: &mut Vec<u8>) {
        Dictionary::put_version(out);
        let (keys, ends) = (&self.keys, &self.ends);
        let start = |row: usize| if row == 0 { (0, 0) } else { ends[row - 1] };
        put_offsets(
            out,
            rows.iter()
                .map(|&row| ends[row as usize].0 - start(row as usize).0),
        );
        let ids = rows.iter().flat_map(|&row| {
            let row = row as usize;
            keys[start(row).0..ends[row].0].iter().copied()
        });
        self.dictionary.write(ids, out);
        for &row in rows {
            let row = row as usize;
            out.extend_from_slice(&self.values[start(row).1..ends[row].1]);
        }
    }
}

/// `Map(Int16, UInt64)`: counts in logarithmic buckets.
#[derive(Debug, Default)]
pub struct BucketMap {
    entries: Vec<(i16, u64)>,
    ends: Vec<usize>,
}

impl BucketMap {
    /// Pushes one row.
    pub fn push(&mut self, buckets: &Buckets) {
        self.entries.extend(buckets.iter());
        self.ends.push(self.entries.len());
    }

    fn row(&self, row: u32) -> &[(i16, u64)] {
        let row = row as usize;
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.entries[start..self.ends[row]]
    }
}

impl Column for BucketMap {
    const TYPE: &'static str = "Map(Int16, UInt64)";

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.ends.clear();
    }

    fn row_bytes(&self, row: usize) -> usize {
        OFFSET_BYTES + self.row(row as u32).len() * (2 + 8)
    }

    fn total_bytes(&self) -> usize {
        self.ends.len() * OFFSET_BYTES + self.entries.len() * (2 + 8)
    }

    fn write(&mut self, rows: &[u32], out: &mut Vec<u8>) {
        put_offsets(out, rows.iter().map(|&row| self.row(row).len()));
        for &row in rows {
            for (bucket, _) in self.row(row) {
                out.extend_from_slice(&bucket.to_le_bytes());
            }
        }
        for &row in rows {
            for (_, count) in self.row(row) {
                out.extend_from_slice(&count.to_le_bytes());
            }
        }
    }
}

impl Append<Buckets> for BucketMap {
    fn append(&mut self, value: &Buckets) {
        self.push(value);
    }
}
