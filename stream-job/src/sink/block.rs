//! Blocks: what one INSERT carries.

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::tables::Table;
use crate::ops::failpoint;

/// Rows of a block at most; above it a block is cut.
pub const MAX_BLOCK_ROWS: usize = 500_000;
/// Bytes of a block's body at most, about; above it a block is cut.
pub const MAX_BLOCK_BYTES: usize = 64 << 20;
/// Rows of one Native block within a body.
const NATIVE_BLOCK_ROWS: usize = 65_536;
/// A body is handed to the HTTP client in pieces of at most this many bytes.
const PIECE_BYTES: usize = 1 << 20;
/// What headers, dictionaries and rounding may add to a body of estimated size.
const SLACK_BYTES: usize = 64 << 10;

/// The rows of one INSERT, encoded. Equal rows give equal bytes, however they were split over workers before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Table.
    pub table: &'static str,
    /// Names and types of the columns in the body.
    pub columns: &'static [(&'static str, &'static str)],
    /// Sink shard.
    pub shard: u16,
    /// Last epoch whose rows the block holds.
    pub epoch: u64,
    /// Number of the piece where a block had to be cut, from 0.
    pub n: u16,
    /// Rows.
    pub rows: u64,
    /// One or more Native blocks, in pieces of at most 1 MiB that share their memory.
    pub body: Vec<Bytes>,
    /// xxh3-128 of the body.
    pub hash: u128,
}

impl Block {
    /// The token under which the warehouse takes the block at most once.
    #[must_use]
    pub fn token(&self, timeline: &str) -> String {
        let Block {
            table,
            shard,
            epoch,
            n,
            ..
        } = self;
        format!("{timeline}/{table}/{shard}/{epoch}/{n}")
    }

    /// Bytes of the body.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }
}

/// Encodes and empties a table: its rows in key order, as one block or, above the limits, as several in row order.
/// No rows, no block.
pub fn cut(table: &mut dyn Table, shard: u16, epoch: u64) -> Vec<Block> {
    cut_within(table, shard, epoch, MAX_BLOCK_ROWS, MAX_BLOCK_BYTES)
}

fn cut_within(
    table: &mut dyn Table,
    shard: u16,
    epoch: u64,
    max_rows: usize,
    max_bytes: usize,
) -> Vec<Block> {
    let order = table.order();
    let mut blocks = Vec::new();
    let mut rest = &order[..];
    while !rest.is_empty() {
        let (rows, after) = rest.split_at(fitting_rows(table, rest, max_rows, max_bytes));
        rest = after;
        let body = encode(table, rows);
        let n = u16::try_from(blocks.len()).expect("a block is cut into fewer than 65,536 pieces");
        blocks.push(block_of(table, shard, epoch, n, rows.len() as u64, body));
    }
    table.clear();
    blocks
}

/// How many of `rows` go into the next block: all if they fit, else as many as fit, one at the least.
fn fitting_rows(table: &dyn Table, rows: &[u32], max_rows: usize, max_bytes: usize) -> usize {
    if rows.len() <= max_rows && table.total_bytes() <= max_bytes {
        return rows.len();
    }
    let mut bytes = 0;
    let fits = rows.iter().take(max_rows).take_while(|&&row| {
        bytes += table.row_bytes(row);
        bytes <= max_bytes
    });
    fits.count().max(1)
}

fn encode(table: &mut dyn Table, rows: &[u32]) -> Vec<u8> {
    let bytes = if rows.len() == table.len() {
        table.total_bytes()
    } else {
        rows.iter().map(|&row| table.row_bytes(row)).sum()
    };
    let mut body = Vec::with_capacity(bytes + bytes / 16 + SLACK_BYTES);
    for native in rows.chunks(NATIVE_BLOCK_ROWS) {
        table.write_native(native, &mut body);
    }
    body
}

fn block_of(
    table: &dyn Table,
    shard: u16,
    epoch: u64,
    n: u16,
    rows: u64,
    mut body: Vec<u8>,
) -> Block {
    failpoint::sabotage(table.name(), &mut body);
    let mut hash = Xxh3::new();
    hash.update(&body);
    let body = Bytes::from(body);
    let pieces = (0..body.len())
        .step_by(PIECE_BYTES)
        .map(|start| body.slice(start..body.len().min(start + PIECE_BYTES)));
    Block {
        table: table.name(),
        columns: table.columns(),
        shard,
        epoch,
        n,
        rows,
        body: pieces.collect(),
        hash: hash.digest128(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::tables::dws_step;
    use crate::sink::tables::tests::step_row;

    fn rows_of(count: u32) -> Box<dyn Table> {
        let mut table = dws_step::one_minute();
        table.extend((0..count).map(|number| step_row("agent", number * 60, 1)));
        Box::new(table)
    }

    #[test]
    fn a_block_over_the_limits_is_cut_in_row_order() {
        let by_rows = cut_within(&mut *rows_of(10), 0, 7, 4, usize::MAX);
        let found: Vec<_> = by_rows.iter().map(|block| (block.n, block.rows)).collect();
        assert_eq!(found, [(0, 4), (1, 4), (2, 2)]);
        let mut first = dws_step::one_minute();
        first.extend((0..4).map(|number| step_row("agent", number * 60, 1)));
        assert_eq!(cut(&mut first, 0, 7)[0].body, by_rows[0].body);

        let whole = cut(&mut *rows_of(1000), 0, 7);
        assert_eq!(whole.len(), 1);
        let limit = whole[0].bytes() / 3;
        let by_bytes = cut_within(&mut *rows_of(1000), 0, 7, usize::MAX, limit);
        assert!(by_bytes.len() >= 3);
        assert_eq!(by_bytes.iter().map(|block| block.rows).sum::<u64>(), 1000);
        assert!(by_bytes.iter().all(|block| block.bytes() < limit + 2048));
        // A row larger than the limit goes alone.
        assert_eq!(cut_within(&mut *rows_of(3), 0, 7, 10, 1).len(), 3);
    }

    #[test]
    fn a_body_comes_in_pieces_of_a_mebibyte() {
        let block = &cut(&mut *rows_of(30_000), 0, 7)[0];
        let (last, full) = block.body.split_last().expect("rows make bytes");
        assert!(!full.is_empty());
        assert!(full.iter().all(|piece| piece.len() == PIECE_BYTES));
        assert!(last.len() <= PIECE_BYTES);
        assert_eq!(
            block.hash,
            xxhash_rust::xxh3::xxh3_128(&block.body.concat())
        );
    }
}
