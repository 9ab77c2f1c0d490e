//! Tables whose rows are structs: DWS and ADS, where the newest `rev` of a key replaces the ones before.

use std::cmp::Ordering;

use super::Table;

/// A row of a table with `ReplacingMergeTree(rev, is_deleted)`.
pub trait Keyed: Clone + Ord {
    /// The columns it is written to.
    type Columns: RowColumns + Default + std::fmt::Debug;
    /// Names and types of the columns, as written.
    const COLUMNS: &'static [(&'static str, &'static str)];

    /// Whether `other` is of the same key.
    fn same_key(&self, other: &Self) -> bool;
    /// Compares by the table's key, strings bytewise.
    fn key_order(&self, other: &Self) -> Ordering;
    /// Epoch of the change.
    fn rev(&self) -> u64;
    /// Whether the row is taken back.
    fn is_deleted(&self) -> bool;
    /// Pushes the row.
    fn append_to(&self, columns: &mut Self::Columns);
}

/// Keeps [`RowColumns`] ours.
pub trait Sealed {}

/// The columns of a row struct.
pub trait RowColumns: Sealed {
    /// Encoded size of what was pushed, in bytes, about.
    fn total_bytes(&self) -> usize;
    /// Encoded size of one row, in bytes, rounded up.
    fn row_bytes(&self, row: u32) -> usize;
    /// Writes one Native block.
    fn write_native(&mut self, rows: &[u32], out: &mut Vec<u8>);
    /// Forgets all rows and keeps the buffers.
    fn clear(&mut self);
}

/// A table built from row structs. Rows may be pushed in any order; of each key only the newest `rev` is written, and
/// of equal revs the live row rather than the deleted one.
#[derive(Debug)]
pub struct RowTable<R: Keyed> {
    name: &'static str,
    rows: Vec<R>,
    columns: R::Columns,
}

impl<R: Keyed> RowTable<R> {
    /// An empty table of this name.
    pub(super) fn named(name: &'static str) -> Self {
        RowTable {
            name,
            rows: Vec::new(),
            columns: R::Columns::default(),
        }
    }

    /// Pushes one row.
    pub fn push(&mut self, row: R) {
        self.rows.push(row);
    }
}

impl<R: Keyed> Extend<R> for RowTable<R> {
    fn extend<I: IntoIterator<Item = R>>(&mut self, rows: I) {
        self.rows.extend(rows);
    }
}

impl<R: Keyed> Table for RowTable<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn columns(&self) -> &'static [(&'static str, &'static str)] {
        R::COLUMNS
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    /// Known only after [`Table::order`].
    fn total_bytes(&self) -> usize {
        self.columns.total_bytes()
    }

    fn order(&mut self) -> Vec<u32> {
        // The last of a key is the one to keep. Rows that differ in nothing but their content cannot come from a
        // correct dataflow; comparing them whole still gives one outcome for one set of rows.
        self.rows.sort_unstable_by(|a, b| {
            (a.key_order(b))
                .then_with(|| a.rev().cmp(&b.rev()))
                .then_with(|| b.is_deleted().cmp(&a.is_deleted()))
                .then_with(|| a.cmp(b))
        });
        self.columns.clear();
        let mut kept = 0;
        for (at, row) in self.rows.iter().enumerate() {
            let newest = self.rows.get(at + 1).is_none_or(|next| !row.same_key(next));
            if newest {
                row.append_to(&mut self.columns);
                kept += 1;
            }
        }
        (0..kept).collect()
    }

    fn row_bytes(&self, row: u32) -> usize {
        self.columns.row_bytes(row)
    }

    fn write_native(&mut self, rows: &[u32], out: &mut Vec<u8>) {
        self.columns.write_native(rows, out);
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.columns.clear();
    }
}
