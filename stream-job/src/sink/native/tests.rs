#![allow(clippy::unwrap_used)]

use super::*;
use crate::dataflow::buckets::Buckets;

fn written(column: &mut impl Column, rows: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    column.write(rows, &mut out);
    out
}

#[test]
fn strings_are_written_in_the_order_asked_for() {
    let mut column = Strings::default();
    column.push("a");
    column.push_hex(&[0x0f, 0xa0]);
    column.push(&"x".repeat(300));
    assert_eq!(written(&mut column, &[1, 0]), b"\x040fa0\x01a");
    assert_eq!(&written(&mut column, &[2])[..3], [0xac, 0x02, b'x']);
    assert_eq!(column.row_bytes(2), 302);
    assert_eq!(column.total_bytes(), 2 + 5 + 302);
}

#[test]
fn labels_are_numbered_by_first_appearance_in_the_block_alone() {
    let mut column = LowCardinality::default();
    for text in ["b", "a", "b", ""] {
        column.push(text);
    }
    let expected: Vec<u8> = [
        &1_u64.to_le_bytes()[..],
        &0x600_u64.to_le_bytes(),
        &3_u64.to_le_bytes(),
        b"\x01a\x01b\x00",
        &4_u64.to_le_bytes(),
        &[0, 1, 1, 2],
    ]
    .concat();
    assert_eq!(written(&mut column, &[1, 0, 2, 3]), expected);

    // The same rows after others were interned first.
    let mut other = LowCardinality::default();
    for text in ["zzz", "b"] {
        other.push(text);
    }
    other.clear();
    for text in ["a", "b", "b", ""] {
        other.push(text);
    }
    assert_eq!(written(&mut other, &[0, 1, 2, 3]), expected);
}

#[test]
fn wide_dictionaries_get_wide_indexes() {
    for (labels, width) in [(256, 1), (257, 2), (65_536, 2), (65_537, 4)] {
        let mut column = LowCardinality::default();
        (0..labels).for_each(|label| column.push(&format!("{label:05}")));
        let rows: Vec<u32> = (0..labels).collect();
        let bytes = written(&mut column, &rows);
        let expected = 8 + 8 + 8 + labels as usize * 6 + 8 + labels as usize * width;
        assert_eq!(bytes.len(), expected, "{labels}");
        let sum: usize = (0..labels as usize).map(|row| column.row_bytes(row)).sum();
        assert!(sum >= column.total_bytes());
        assert!(sum + 32 >= bytes.len());
    }
}

#[test]
fn maps_write_offsets_then_keys_then_values() {
    let mut column = LabelMap::default();
    column.entry("k", "v");
    column.entry("l", "");
    column.end_row();
    column.end_row();
    column.entry("l", "w");
    column.end_row();
    let expected: Vec<u8> = [
        &1_u64.to_le_bytes()[..],
        &1_u64.to_le_bytes(),
        &1_u64.to_le_bytes(),
        &3_u64.to_le_bytes(),
        &0x600_u64.to_le_bytes(),
        &2_u64.to_le_bytes(),
        b"\x01l\x01k",
        &3_u64.to_le_bytes(),
        &[0, 1, 0],
        b"\x01w\x01v\x00",
    ]
    .concat();
    assert_eq!(written(&mut column, &[2, 1, 0]), expected);
    // ClickHouse writes no dictionary where there is no element at all.
    let empty: Vec<u8> = [1_u64.to_le_bytes(), 0_u64.to_le_bytes()].concat();
    assert_eq!(written(&mut column, &[1]), empty);
}

#[test]
fn bucket_maps_and_arrays_are_columns_of_their_parts() {
    let mut buckets = Buckets::new();
    buckets.add_to(-1, 2);
    buckets.add_to(7, 3);
    let mut column = BucketMap::default();
    column.push(&Buckets::new());
    column.push(&buckets);
    let expected: Vec<u8> = [
        &2_u64.to_le_bytes()[..],
        &2_u64.to_le_bytes(),
        &(-1_i16).to_le_bytes(),
        &7_i16.to_le_bytes(),
        &2_u64.to_le_bytes(),
        &3_u64.to_le_bytes(),
    ]
    .concat();
    assert_eq!(written(&mut column, &[1, 0]), expected);

    let mut pairs = StringPairs::default();
    pairs.push([("a", &b"1"[..]), ("b", b"2")]);
    pairs.push([]);
    let offsets = [0_u64.to_le_bytes(), 2_u64.to_le_bytes()].concat();
    assert_eq!(
        written(&mut pairs, &[1, 0]),
        [&offsets[..], b"\x01a\x01b\x011\x012"].concat()
    );

    let mut array = StringArray::default();
    array.push(["x", "y"]);
    array.clear();
    array.push(["z"]);
    assert_eq!(
        written(&mut array, &[0]),
        [&1_u64.to_le_bytes()[..], b"\x01z"].concat()
    );
}

#[test]
fn numbers_are_little_endian() {
    let mut column = Fixed::<u128>::default();
    column.push(1);
    column.push(u128::MAX);
    let bytes = written(&mut column, &[1, 0]);
    assert_eq!(bytes[..16], [0xff; 16]);
    assert_eq!(bytes[16..], 1_u128.to_le_bytes());
    assert_eq!(<Fixed<Micros> as Column>::TYPE, "DateTime64(6, 'UTC')");
}
