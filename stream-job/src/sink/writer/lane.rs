//! One table and shard: blocks land one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clickhouse::error::Error;
use tokio::sync::{Semaphore, mpsc};

use super::{Message, WriterError, WriterMetrics};
use crate::ops::failpoint;
use crate::sink::block::Block;
use crate::sink::target::{Pauses, Verdict, WaitReport, verdict};

/// How long a piece may take to be sent, and how long the warehouse may take to answer, before the attempt counts as
/// failed. The token makes the repetition safe.
const SEND_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: Duration = Duration::from_secs(300);

/// Settings of every insert.
const INSERT_SETTINGS: [(&str, &str); 8] = [
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    // Of a table that is distributed over a cluster: the shards have answered when it answers.
    ("distributed_foreground_insert", "1"),
    ("max_insert_threads", "1"),
    // What comes years late is still counted on its day, and lands in the partition of that month.
    ("max_partitions_per_insert_block", "0"),
    // The Native blocks of a body become one part: a body is far below this, and nothing else cuts it.
    ("min_insert_block_size_rows", "16000000"),
    ("min_insert_block_size_bytes", "4294967296"),
];

/// A block to land.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) block: Block,
    /// If set, ask first: with this many rows of its epoch and shard in the warehouse the block is there.
    pub(super) rows_if_there: Option<u64>,
}

/// What all lanes share.
pub(super) struct Lanes {
    pub(super) client: clickhouse::Client,
    pub(super) timeline: String,
    pub(super) permits: Semaphore,
    pub(super) report: WaitReport,
    pub(super) metrics: Arc<WriterMetrics>,
    pub(super) done: mpsc::UnboundedSender<Message>,
}

impl Lanes {
    /// Lands blocks in order until there are no more, or one can't be landed.
    pub(super) async fn run(self: Arc<Self>, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(job) = jobs.recv().await {
            let message = match self.land(&job).await {
                Ok(took) => Message::Landed {
                    block: job.block,
                    acked_ms: crate::source::wall_ms(),
                    took,
                },
                Err(error) => Message::Failed(error),
            };
            let failed = matches!(message, Message::Failed(_));
            if self.done.send(message).is_err() || failed {
                return;
            }
        }
    }

    /// Lands one block; tells how long the insert took, or `None` where the block was there already.
    async fn land(&self, job: &Job) -> Result<Option<Duration>, WriterError> {
        let token = job.block.token(&self.timeline);
        if let Some(rows_if_there) = job.rows_if_there {
            let (count, _) = self.persist(&token, || self.count(&job.block)).await?;
            if count >= rows_if_there {
                return Ok(None);
            }
            let before = rows_if_there - job.block.rows;
            if count > before {
                return Err(WriterError::PartOfABlock { token, count });
            }
        }
        let ((), took) = self
            .persist(&token, || insert_once(&self.client, &job.block, &token))
            .await?;
        failpoint::hit("insert-answered");
        let block = &job.block;
        self.metrics
            .count_insert(block.table, block.rows, block.bytes());
        Ok(Some(took))
    }

    /// Tries until it succeeds or no waiting can help; tells how long the attempt took that succeeded.
    async fn persist<T, F>(
        &self,
        token: &str,
        attempt: impl Fn() -> F,
    ) -> Result<(T, Duration), WriterError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut pauses = Pauses::new();
        loop {
            let (result, took) = {
                let _permit = self
                    .permits
                    .acquire()
                    .await
                    .expect("the permits are never closed");
                let began = Instant::now();
                (attempt().await, began.elapsed())
            };
            match result {
                Ok(value) => {
                    self.report.over();
                    return Ok((value, took));
                }
                Err(error) if verdict(&error) == Verdict::Stop => {
                    return Err(WriterError::Refused {
                        token: token.to_owned(),
                        reason: error.to_string(),
                    });
                }
                Err(error) => {
                    self.metrics.count_retry(crate::source::wall_ms());
                    self.report
                        .waiting(&format!("insert block {token}"), &error);
                    tokio::time::sleep(pauses.next()).await;
                }
            }
        }
    }

    async fn count(&self, block: &Block) -> Result<u64, Error> {
        let sql = match block.table {
            "ops_epoch" => "SELECT count() FROM ops_epoch WHERE epoch = ?".to_owned(),
            table => format!("SELECT count() FROM {table} WHERE _epoch = ? AND _shard = ?"),
        };
        let query = self.client.query(&sql).bind(block.epoch);
        match block.table {
            "ops_epoch" => query.fetch_one().await,
            _ => query.bind(block.shard).fetch_one().await,
        }
    }
}

/// One attempt to insert a block under a token. An error says nothing about whether the block landed; the same bytes
/// under the same token may be sent again.
pub(crate) async fn insert_once(
    client: &clickhouse::Client,
    block: &Block,
    token: &str,
) -> Result<(), Error> {
    let mut insert = client
        .insert_formatted_with(insert_statement(block))
        .with_timeouts(Some(SEND_LIMIT), Some(ANSWER_LIMIT))
        .with_setting("insert_deduplication_token", token);
    for (name, value) in INSERT_SETTINGS {
        insert = insert.with_setting(name, value);
    }
    let mut pieces = block.body.iter();
    if failpoint::is_armed("insert-body") {
        die_in_the_body(&mut insert, pieces.next()).await?;
    }
    for piece in pieces {
        insert.send(piece.clone()).await?;
    }
    insert.end().await
}

/// Sends a piece in two halves, with the failpoint `insert-body` between them. The pause lets the first one leave.
async fn die_in_the_body(
    insert: &mut clickhouse::insert_formatted::InsertFormatted,
    piece: Option<&Bytes>,
) -> Result<(), Error> {
    let Some(piece) = piece else {
        return Ok(());
    };
    let (first, second) = piece.split_at(piece.len() / 2);
    insert.send(piece.slice_ref(first)).await?;
    tokio::time::sleep(Duration::from_millis(5)).await;
    failpoint::hit("insert-body");
    insert.send(piece.slice_ref(second)).await
}

/// `INSERT INTO table (columns) FORMAT Native`.
fn insert_statement(block: &Block) -> String {
    let columns: Vec<String> = (block.columns.iter())
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    format!(
        "INSERT INTO {} ({}) FORMAT Native",
        block.table,
        columns.join(", ")
    )
}
