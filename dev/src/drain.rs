//! Whether all that the broker has is in the warehouse.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;

use crate::kafka::{self, INPUT_TOPICS};
use crate::sql::Sql;
use crate::wait;

/// Next offset to land, by topic and partition.
pub type Offsets = BTreeMap<(String, i32), i64>;

/// What has landed for good: below the newest row of `ops_epoch`, which an epoch writes last.
///
/// # Errors
/// When the warehouse does not answer.
pub fn landed_offsets(sql: &Sql) -> Result<Offsets> {
    #[derive(Deserialize)]
    struct Landed {
        topic: String,
        partition: i32,
        next: i64,
    }
    let rows: Vec<Landed> = sql.rows(
        "SELECT topic, partition, max(offset) + 1 AS next
         FROM ods_record
         WHERE _epoch <= (SELECT max(epoch) FROM ops_epoch)
         GROUP BY topic, partition",
    )?;
    Ok(rows
        .into_iter()
        .map(|row| ((row.topic, row.partition), row.next))
        .collect())
}

/// Records that the broker has and the warehouse has not. Counts what lies behind the newest landed offset, so a record
/// that a TTL has removed from the warehouse is not missed.
#[must_use]
pub fn missing(ends: &Offsets, landed: &Offsets) -> u64 {
    ends.iter()
        .map(|(partition, &end)| {
            let next = landed.get(partition).copied().unwrap_or(0);
            u64::try_from(end - next).unwrap_or(0)
        })
        .sum()
}

/// Waits until everything that the broker has now is in the warehouse.
///
/// # Errors
/// When the broker or the warehouse does not answer, or after `limit`, with how many records were missing.
pub fn wait_until_drained(bootstrap: &str, sql: &Sql, limit: Duration) -> Result<()> {
    let ends = kafka::end_offsets(bootstrap, INPUT_TOPICS)?;
    let mut left = 0;
    let drained = wait::until(
        "not everything that Kafka has landed in the warehouse",
        limit,
        Duration::from_millis(250),
        || {
            left = missing(&ends, &landed_offsets(sql)?);
            Ok((left == 0).then_some(()))
        },
    );
    drained.map_err(|error| error.context(format!("{left} records are still on their way")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(list: &[(&str, i32, i64)]) -> Offsets {
        list.iter()
            .map(|&(topic, partition, next)| ((topic.to_owned(), partition), next))
            .collect()
    }

    #[test]
    fn a_partition_of_which_nothing_landed_is_missing_whole() {
        let ends = offsets(&[("a", 0, 10), ("a", 1, 5), ("b", 0, 3)]);
        let landed = offsets(&[("a", 0, 10), ("b", 0, 1), ("c", 0, 7)]);
        assert_eq!(missing(&ends, &landed), 7);
        assert_eq!(missing(&ends, &ends), 0);
    }
}
