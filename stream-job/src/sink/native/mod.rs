//! Columns of ClickHouse's [Native format](https://clickhouse.com/docs/interfaces/formats/Native), built row by row.
//!
//! A column keeps its values in arrival order, strings already in their wire form, and writes any selection of its
//! rows in any order. What it writes depends on the selected values and their order alone: dictionaries are numbered
//! by first appearance within the Native block, whatever was interned before.
//!
//! A Native block is `varint columns, varint rows`, then for each column its name, its type, and its data.

mod array;
mod fixed;
mod low_cardinality;
mod map;
mod shared_strings;
mod strings;

pub use array::{ArrayElement, NumberArray, StringArray, StringPairs};
pub use fixed::{Days, Element, Fixed, Micros, Millis, Seconds};
pub use low_cardinality::LowCardinality;
pub use map::{BucketMap, LabelMap};
pub use shared_strings::SharedStrings;
pub(crate) use strings::HEX;
pub use strings::Strings;

/// One column under construction.
pub trait Column: Default {
    /// The ClickHouse type, spelled as `system.columns` spells it.
    const TYPE: &'static str;

    /// Rows pushed.
    fn len(&self) -> usize;

    /// Whether no row was pushed.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all rows and keeps the buffers.
    fn clear(&mut self);

    /// Encoded size of one row in bytes, rounded up: at least its share of what [`Column::write`] writes.
    fn row_bytes(&self, row: usize) -> usize;

    /// Encoded size of all rows in bytes, in constant time; never more than the sum of [`Column::row_bytes`].
    fn total_bytes(&self) -> usize;

    /// Writes the column's data for `rows`, in that order.
    fn write(&mut self, rows: &[u32], out: &mut Vec<u8>);
}

/// A column that takes values of one Rust type; lets row structs and columns be declared side by side.
pub trait Append<T: ?Sized>: Column {
    /// Pushes one value.
    fn append(&mut self, value: &T);
}

/// Writes an unsigned LEB128 number.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a string as its length and its bytes.
#[inline]
pub fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Writes a Native block's header.
pub(crate) fn put_block_header(out: &mut Vec<u8>, columns: usize, rows: usize) {
    put_varint(out, columns as u64);
    put_varint(out, rows as u64);
}

/// Writes a column's name and type, which its data follows.
pub(crate) fn put_column_header(out: &mut Vec<u8>, name: &str, type_name: &str) {
    put_string(out, name.as_bytes());
    put_string(out, type_name.as_bytes());
}

/// Writes the cumulative end offsets that Array and Map columns start with.
fn put_offsets(out: &mut Vec<u8>, counts: impl Iterator<Item = usize>) {
    let mut end = 0_u64;
    for count in counts {
        end += count as u64;
        out.extend_from_slice(&end.to_le_bytes());
    }
}

#[cfg(test)]
mod tests;
