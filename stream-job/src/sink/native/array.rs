//! Array columns: end offsets, then all elements.

use super::{Append, Column, Element, put_offsets, put_string};

const OFFSET_BYTES: usize = 8;

/// Where each row of an array column ends: in elements, and in the bytes of its buffers.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    elements: usize,
    first: usize,
    second: usize,
}

fn bounds(ends: &[End], row: usize) -> (End, End) {
    let start = if row == 0 {
        End::default()
    } else {
        ends[row - 1]
    };
    (start, ends[row])
}

fn put_row_offsets(out: &mut Vec<u8>, ends: &[End], rows: &[u32]) {
    let counts = rows.iter().map(|&row| {
        let (start, end) = bounds(ends, row as usize);
        end.elements - start.elements
    });
    put_offsets(out, counts);
}

/// `Array(String)`.
#[derive(Debug, Default)]
pub struct StringArray {
    wire: Vec<u8>,
    end: End,
    ends: Vec<End>,
}

impl StringArray {
    /// Pushes one row.
    pub fn push(&mut self, texts: impl IntoIterator<Item = impl AsRef<str>>) {
        for text in texts {
            put_string(&mut self.wire, text.as_ref().as_bytes());
            self.end.elements += 1;
        }
        self.end.first = self.wire.len();
        self.ends.push(self.end);
    }
}

impl Column for StringArray {
    const TYPE: &'static str = "Array(String)";

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn clear(&mut self) {
        *self = StringArray {
            wire: std::mem::take(&mut self.wire),
            end: End::default(),
            ends: std::mem::take(&mut self.ends),
        };
        self.wire.clear();
        self.ends.clear();
    }

    fn row_bytes(&self, row: usize) -> usize {
        let (start, end) = bounds(&self.ends, row);
        OFFSET_BYTES + end.first - start.first
    }

    fn total_bytes(&self) -> usize {
        OFFSET_BYTES * self.ends.len() + self.wire.len()
    }

    fn write(&mut self, rows: &[u32], out: &mut Vec<u8>) {
        put_row_offsets(out, &self.ends, rows);
        for &row in rows {
            let (start, end) = bounds(&self.ends, row as usize);
            out.extend_from_slice(&self.wire[start.first..end.first]);
        }
    }
}

impl Append<Vec<String>> for StringArray {
    fn append(&mut self, value: &Vec<String>) {
        self.push(value);
    }
}

/// An element of an array of numbers.
pub trait ArrayElement: Element {
    /// The ClickHouse type of the array.
    const ARRAY_TYPE: &'static str;
}

impl ArrayElement for u64 {
    const ARRAY_TYPE: &'static str = "Array(UInt64)";
}

impl ArrayElement for f64 {
    const ARRAY_TYPE: &'static str = "Array(Float64)";
}

/// An array of numbers.
#[derive(Debug)]
pub struct NumberArray<E> {
    elements: Vec<E>,
    ends: Vec<usize>,
}

impl<E> Default for NumberArray<E> {
    fn default() -> Self {
        Self {
            elements: Vec::new(),
            ends: Vec::new(),
        }
    }
}

impl<E: ArrayElement> NumberArray<E> {
    /// Pushes one row.
    pub fn push(&mut self, elements: &[E]) {
        self.elements.extend_from_slice(elements);
        self.ends.push(self.elements.len());
    }

    fn row(&self, row: usize) -> &[E] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.elements[start..self.ends[row]]
    }
}

impl<E: ArrayElement> Column for NumberArray<E> {
    const TYPE: &'static str = E::ARRAY_TYPE;

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn clear(&mut self) {
        self.elements.clear();
        self.ends.clear();
    }

    fn row_bytes(&self, row: usize) -> usize {
        OFFSET_BYTES + self.row(row).len() * E::WIDTH
    }

    fn total_bytes(&self) -> usize {
        OFFSET_BYTES * self.ends.len() + self.elements.len() * E::WIDTH
    }

    fn write(&mut self, rows: &[u32], out: &mut Vec<u8>) {
        put_offsets(out, rows.iter().map(|&row| self.row(row as usize).len()));
        for element in rows.iter().flat_map(|&row| self.row(row as usize)) {
            let at = out.len();
            out.resize(at + E::WIDTH, 0);
            element.put(&mut out[at..]);
        }
    }
}

/// `Array(Tuple(name String, value String))`: record headers. All names come before all values.
#[derive(Debug, Default)]
pub struct StringPairs {
    names: Vec<u8>,
    values: Vec<u8>,
    end: End,
    ends: Vec<End>,
}

impl StringPairs {
    /// Pushes one row; values are bytes, as record headers are.
    pub fn push<'a>(&mut self, pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
        for (name, value) in pairs {
            put_string(&mut self.names, name.as_bytes());
            put_string(&mut self.values, value);
            self.end.elements += 1;
        }
        self.end.first = self.names.len();
        self.end.second = self.values.len();
        self.ends.push(self.end);
    }
}

impl Column for StringPairs {
    const TYPE: &'static str = "Array(Tuple(name String, value String))";

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn clear(&mut self) {
        self.names.clear();
        self.values.clear();
        self.end = End::default();
        self.ends.clear();
    }

    fn row_bytes(&self, row: usize) -> usize {
        let (start, end) = bounds(&self.ends, row);
        OFFSET_BYTES + (end.first - start.first) + (end.second - start.second)
    }

    fn total_bytes(&self) -> usize {
        OFFSET_BYTES * self.ends.len() + self.names.len() + self.values.len()
    }

    fn write(&mut self, rows: &[u32], out: &mut Vec<u8>) {
        put_row_offsets(out, &self.ends, rows);
        for &row in rows {
            let (start, end) = bounds(&self.ends, row as usize);
            out.extend_from_slice(&self.names[start.first..end.first]);
        }
        for &row in rows {
            let (start, end) = bounds(&self.ends, row as usize);
            out.extend_from_slice(&self.values[start.second..end.second]);
        }
    }
}
