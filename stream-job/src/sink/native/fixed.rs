//! Columns of values of one width.

use super::{Append, Column};

/// A value of fixed width.
pub trait Element: Copy {
    /// The ClickHouse type.
    const TYPE: &'static str;
    /// Width in bytes.
    const WIDTH: usize;
    /// Writes the value, little-endian, into a slice of [`Element::WIDTH`] bytes.
    fn put(self, slot: &mut [u8]);
}

macro_rules! numbers {
    ($($rust:ty => $name:literal),* $(,)?) => {$(
        impl Element for $rust {
            const TYPE: &'static str = $name;
            const WIDTH: usize = size_of::<$rust>();
            #[inline]
            fn put(self, slot: &mut [u8]) {
                slot.copy_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

numbers! {
    u8 => "UInt8", u16 => "UInt16", u32 => "UInt32", u64 => "UInt64", u128 => "UInt128",
    i16 => "Int16", i32 => "Int32", i64 => "Int64", f64 => "Float64",
}

impl Element for bool {
    const TYPE: &'static str = "Bool";
    const WIDTH: usize = 1;
    #[inline]
    fn put(self, slot: &mut [u8]) {
        slot[0] = u8::from(self);
    }
}

/// `Date`: days since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(pub u16);

/// `DateTime('UTC')`: seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub u32);

/// `DateTime64(3, 'UTC')`: milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub i64);

/// `DateTime64(6, 'UTC')`: microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Micros(pub i64);

macro_rules! times {
    ($($rust:ident($raw:ty) => $name:literal),* $(,)?) => {$(
        impl Element for $rust {
            const TYPE: &'static str = $name;
            const WIDTH: usize = size_of::<$raw>();
            #[inline]
            fn put(self, slot: &mut [u8]) {
                slot.copy_from_slice(&self.0.to_le_bytes());
            }
        }

        impl Append<$raw> for Fixed<$rust> {
            fn append(&mut self, value: &$raw) {
                self.push($rust(*value));
            }
        }
    )*};
}

times! {
    Days(u16) => "Date",
    Seconds(u32) => "DateTime('UTC')",
    Millis(i64) => "DateTime64(3, 'UTC')",
    Micros(i64) => "DateTime64(6, 'UTC')",
}

/// A column of fixed-width values.
#[derive(Debug)]
pub struct Fixed<E> {
    values: Vec<E>,
}

impl<E> Default for Fixed<E> {
    fn default() -> Self {
        Fixed { values: Vec::new() }
    }
}

impl<E: Element> Fixed<E> {
    /// Pushes one value.
    #[inline]
    pub fn push(&mut self, value: E) {
        self.values.push(value);
    }

    /// The values in arrival order.
    #[must_use]
    pub fn values(&self) -> &[E] {
        &self.values
    }
}

impl<E: Element> Column for Fixed<E> {
    const TYPE: &'static str = E::TYPE;

    fn len(&self) -> usize {
        self.values.len()
    }

    fn clear(&mut self) {
        self.values.clear();
    }

    #[inline]
    fn row_bytes(&self, _row: usize) -> usize {
        E::WIDTH
    }

    fn total_bytes(&self) -> usize {
        self.values.len() * E::WIDTH
    }

    fn write(&mut self, rows: &[u32], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + rows.len() * E::WIDTH, 0);
        for (slot, &row) in out[start..].chunks_exact_mut(E::WIDTH).zip(rows) {
            self.values[row as usize].put(slot);
        }
    }
}

impl<E: Element> Append<E> for Fixed<E> {
    fn append(&mut self, value: &E) {
        self.push(*value);
    }
}
