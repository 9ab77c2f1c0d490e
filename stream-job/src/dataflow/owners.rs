//! Which worker builds which block: a function of table, shard and the number of workers, and of nothing else. Partitions
//! are read by the worker that builds their shard's blocks, and the process that a worker lives in promises them.

use super::collect;

/// The worker that reads a sink shard's partitions and builds its ODS and DWD blocks.
#[must_use]
pub fn worker_of_shard(shard: u16, shards: u16, workers: usize) -> usize {
    usize::from(shard) * workers / usize::from(shards.max(1))
}

/// The worker that gives a block to the writer; blocks of `ops_epoch` come from the first one's process.
#[must_use]
pub fn worker_of_block(table: &str, shard: u16, shards: u16, workers: usize) -> usize {
    match collect::TABLES.iter().position(|name| *name == table) {
        Some(number) => number % workers,
        None if table == "ops_epoch" => 0,
        None => worker_of_shard(shard, shards, workers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_spread_over_all_workers_in_order() {
        let owners = |shards, workers| -> Vec<usize> {
            (0..shards)
                .map(|shard| worker_of_shard(shard, shards, workers))
                .collect()
        };
        assert_eq!(owners(4, 4), [0, 1, 2, 3]);
        assert_eq!(owners(4, 2), [0, 0, 1, 1]);
        assert_eq!(owners(2, 4), [0, 2]);
        assert_eq!(owners(3, 1), [0, 0, 0]);
    }

    #[test]
    fn a_collected_table_has_one_owner_and_the_epochs_the_first() {
        assert_eq!(worker_of_block("dws_step_1m", 0, 4, 4), 0);
        assert_eq!(worker_of_block("dws_trace", 0, 4, 4), 3);
        assert_eq!(worker_of_block("ads_freshness", 0, 4, 4), 1);
        assert_eq!(worker_of_block("ops_epoch", 0, 4, 4), 0);
        assert_eq!(worker_of_block("dwd_span", 3, 4, 4), 3);
    }
}
