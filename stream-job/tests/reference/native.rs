//! Reads the Native blocks that the job writes.

use stream_job::sink::block::Block;

use super::tables::{Cell, Row};

/// The rows of a block, in the order written.
pub fn rows(block: &Block) -> Vec<Row> {
    let bytes = block.body.concat();
    let mut input = Input {
        bytes: &bytes,
        at: 0,
    };
    let mut rows = Vec::new();
    while input.at < bytes.len() {
        let (columns, count) = (input.varint(), input.varint());
        assert_eq!(columns, block.columns.len());
        let mut these = vec![Row::new(); count];
        for (name, type_name) in block.columns {
            assert_eq!(input.text(), name.as_bytes());
            assert_eq!(input.text(), type_name.as_bytes());
            for (row, cell) in these.iter_mut().zip(input.column(type_name, count)) {
                row.insert(name, cell);
            }
        }
        rows.extend(these);
    }
    assert_eq!(rows.len() as u64, block.rows);
    rows
}

struct Input<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Input<'b> {
    fn take(&mut self, count: usize) -> &'b [u8] {
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        taken
    }

    fn varint(&mut self) -> usize {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = self.take(1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(value).unwrap();
            }
            shift += 7;
        }
    }

    fn text(&mut self) -> &'b [u8] {
        let length = self.varint();
        self.take(length)
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn column(&mut self, type_name: &str, rows: usize) -> Vec<Cell> {
        match type_name {
            "String" => self.texts(rows),
            "LowCardinality(String)" => {
                assert_eq!(self.u64(), 1);
                self.labels(rows)
            }
            "Array(String)" => {
                let counts = self.counts(rows);
                let mut all = self.texts(counts.iter().sum()).into_iter();
                let lists = counts.iter().map(|&n| all.by_ref().take(n).collect());
                lists.map(Cell::List).collect()
            }
            "Array(UInt64)" | "Array(Float64)" => {
                let counts = self.counts(rows);
                let element = type_name.trim_start_matches("Array(").trim_end_matches(')');
                let mut all = self.numbers(element, counts.iter().sum()).into_iter();
                let lists = counts.iter().map(|&n| all.by_ref().take(n).collect());
                lists.map(Cell::List).collect()
            }
            "Array(Tuple(name String, value String))" => {
                let counts = self.counts(rows);
                let all = counts.iter().sum();
                let (names, values) = (self.texts(all), self.texts(all));
                pairs(&counts, names, values)
            }
            "Map(LowCardinality(String), String)" => {
                assert_eq!(self.u64(), 1);
                let counts = self.counts(rows);
                let all = counts.iter().sum();
                let (keys, values) = (self.labels(all), self.texts(all));
                pairs(&counts, keys, values)
            }
            "Map(Int16, UInt64)" => {
                let counts = self.counts(rows);
                let all = counts.iter().sum();
                let (keys, values) = (self.numbers("Int16", all), self.numbers("UInt64", all));
                pairs(&counts, keys, values)
            }
            number => self.numbers(number, rows),
        }
    }

    fn texts(&mut self, rows: usize) -> Vec<Cell> {
        (0..rows).map(|_| Cell::from(self.text())).collect()
    }

    fn labels(&mut self, rows: usize) -> Vec<Cell> {
        if rows == 0 {
            return Vec::new();
        }
        let width = match self.u64() {
            0x600 => 1,
            0x601 => 2,
            0x602 => 4,
            flags => panic!("a dictionary with flags {flags:x}"),
        };
        let keys = usize::try_from(self.u64()).unwrap();
        let keys = self.texts(keys);
        assert_eq!(self.u64(), rows as u64);
        let index = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b));
        (0..rows)
            .map(|_| keys[index(self.take(width))].clone())
            .collect()
    }

    fn counts(&mut self, rows: usize) -> Vec<usize> {
        let mut before = 0;
        let mut next = || {
            let end = self.u64();
            usize::try_from(end - std::mem::replace(&mut before, end)).unwrap()
        };
        (0..rows).map(|_| next()).collect()
    }

    fn numbers(&mut self, type_name: &str, rows: usize) -> Vec<Cell> {
        let (width, signed) = match type_name {
            "UInt8" | "Bool" => (1, false),
            "UInt16" | "Date" => (2, false),
            "UInt32" | "DateTime('UTC')" => (4, false),
            "UInt64" => (8, false),
            "UInt128" => (16, false),
            "Int16" => (2, true),
            "Int32" => (4, true),
            "Int64" | "DateTime64(3, 'UTC')" | "DateTime64(6, 'UTC')" => (8, true),
            "Float64" => return (0..rows).map(|_| Cell::Real(self.u64())).collect(),
            other => panic!("a column of type {other}"),
        };
        let mut next = || {
            let mut bytes = [0; 16];
            bytes[..width].copy_from_slice(self.take(width));
            let shift = 128 - 8 * width as u32;
            let raised = u128::from_le_bytes(bytes) << shift;
            if signed {
                Cell::Number(raised.cast_signed() >> shift)
            } else {
                // A UInt128 beyond i128 wraps, the same number always to the same cell.
                Cell::Number((raised >> shift).cast_signed())
            }
        };
        (0..rows).map(|_| next()).collect()
    }
}

fn pairs(counts: &[usize], keys: Vec<Cell>, values: Vec<Cell>) -> Vec<Cell> {
    let mut all = keys.into_iter().zip(values);
    let rows = counts.iter().map(|&n| all.by_ref().take(n).collect());
    rows.map(Cell::Pairs).collect()
}
