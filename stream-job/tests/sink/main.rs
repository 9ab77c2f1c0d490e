//! The sink against the real engine.

#![allow(clippy::unwrap_used, missing_docs)]
#![recursion_limit = "256"]

mod job;
mod rows;
mod values;
#[path = "../warehouse_process/mod.rs"]
mod warehouse_process;

use std::time::Duration;

use serde_json::json;
use stream_job::checkpoint::epoch_log::Replay;
use stream_job::sink::block;
use stream_job::sink::durability::sync_inserts;
use stream_job::sink::probe::{ProbeError, prove_warehouse};
use stream_job::sink::tables::{DwdSpan, every_table};
use stream_job::sink::target::Target;
use stream_job::sink::writer::WriterEvent;

use job::{Job, count, select_one};
use rows::{EPOCH, STAMP, close, contents, many_spans, origin, span, span_blocks};
use warehouse_process::{migrate, serve, shared_url};

#[tokio::test]
async fn a_replay_sends_what_is_not_acknowledged_and_nothing_lands_twice() {
    let target = migrate(shared_url(), "replay");
    let log = tempfile::tempdir().unwrap();
    let run = |change: fn(&mut Replay)| {
        let job = Job::start_changed(log.path(), &target, change);
        for block in span_blocks() {
            job.handle().send(block).unwrap();
        }
        job.handle().close_epoch(close(EPOCH, 3)).unwrap();
        let metrics = job.handle().metrics();
        let events = job.finish().unwrap();
        assert!(matches!(
            events.last(),
            Some(&WriterEvent::Complete { epoch: EPOCH, .. })
        ));
        metrics.skipped.get()
    };
    assert_eq!(run(|_| ()), 0);
    // Acknowledged: nothing is sent.
    assert_eq!(run(|_| ()), 4);
    // The acks were lost: all is sent, and dropped by token.
    let forget = |replay: &mut Replay| {
        replay
            .blocks
            .values_mut()
            .for_each(|block| block.acked_ms = None)
    };
    assert_eq!(run(forget), 0);
    // The same long ago: the warehouse is asked.
    let long_ago = |replay: &mut Replay| {
        replay
            .blocks
            .values_mut()
            .for_each(|block| block.acked_ms = None);
        replay
            .intents
            .values_mut()
            .for_each(|count| *count += 20_000);
    };
    assert_eq!(run(long_ago), 0);
    for table in ["dwd_span", "dwd_event", "dwd_content", "ops_epoch"] {
        assert_eq!(count(&target, table).await, 1, "{table}");
    }

    // Other rows than promised.
    let job = Job::start(log.path(), &target);
    let mut spans = DwdSpan::default();
    spans.push(
        &span(77, &[]),
        &origin(1),
        1,
        false,
        &STAMP,
        &mut contents(),
    );
    job.handle()
        .send(block::cut(&mut spans, 1, EPOCH).remove(0))
        .unwrap();
    let error = job.finish().unwrap_err();
    assert!(
        error.contains("the replay diverges at block 0 of dwd_span, shard 1"),
        "{error}"
    );
    assert_eq!(count(&target, "dwd_span").await, 1);
}

#[tokio::test]
async fn a_warehouse_that_is_away_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let served = serve(folder.path(), 0);
    let target = migrate(&served.url, "away");
    let port = port_of(&served.url);
    drop(served);
    let log = tempfile::tempdir().unwrap();
    let job = Job::start(log.path(), &target);
    for block in span_blocks() {
        job.handle().send(block).unwrap();
    }
    let metrics = job.handle().metrics();
    while metrics.retries.get() < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(metrics.waiting_since_ms().is_some());
    assert!(metrics.in_flight_bytes.get() > 0);
    let _served = serve(folder.path(), port);
    let events = tokio::task::spawn_blocking(move || job.finish())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(events.len(), 3);
    assert_eq!(metrics.waiting_since_ms(), None);
    assert_eq!(count(&target, "dwd_span").await, 1);
}

/// Port of `http://127.0.0.1:PORT`.
fn port_of(url: &str) -> u16 {
    let (_, port) = url.trim_end_matches('/').rsplit_once(':').unwrap();
    port.parse().unwrap()
}

#[tokio::test]
async fn a_warehouse_killed_again_and_again_ends_with_every_row_once() {
    const BLOCKS: u64 = 60;
    let folder = tempfile::tempdir().unwrap();
    let mut served = serve(folder.path(), 0);
    let target = migrate(&served.url, "killed");
    let port = port_of(&served.url);
    let log = tempfile::tempdir().unwrap();
    let job = Job::start(log.path(), &target);
    let block = many_spans(2_000).remove(0);
    for number in 0..BLOCKS {
        let block = block::Block {
            epoch: EPOCH + number,
            shard: (number % 3) as u16,
            ..block.clone()
        };
        job.handle().send(block).unwrap();
    }
    let metrics = job.handle().metrics();
    for landed in [5, 20, 40] {
        while BLOCKS - metrics.in_flight_blocks.get() < landed {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(served);
        served = serve(folder.path(), port);
    }
    tokio::task::spawn_blocking(move || job.finish())
        .await
        .unwrap()
        .unwrap();
    assert!(metrics.retries.get() > 0);
    assert_eq!(count(&target, "dwd_span").await, BLOCKS * 2_000);
}

#[tokio::test]
async fn a_compressed_body_lands_too() {
    let target = Target {
        lz4: true,
        ..migrate(shared_url(), "compressed")
    };
    let log = tempfile::tempdir().unwrap();
    let job = Job::start(log.path(), &target);
    job.handle().send(many_spans(20_000).remove(0)).unwrap();
    job.finish().unwrap();
    let sums = select_one(&target, "SELECT sum(offset) AS n FROM dwd_span").await;
    assert_eq!(sums["n"], 19_999 * 10_000);
}

#[tokio::test]
async fn tables_sync_every_insert_if_asked_and_no_longer_if_not() {
    let target = migrate(shared_url(), "synced");
    let synced = "SELECT count() AS n FROM system.tables WHERE database = 'synced' AND \
                  engine_full LIKE '%fsync_after_insert = 1, fsync_part_directory = 1%'";
    let all = every_table().len();
    for (wanted, tables) in [(true, all), (true, all), (false, 0), (false, 0)] {
        sync_inserts(&target, wanted).await.unwrap();
        assert_eq!(select_one(&target, synced).await, json!({"n": tables}));
        prove_warehouse(&target).await.unwrap();
    }
}

#[tokio::test]
async fn a_refusal_stops_the_writer_and_names_the_block() {
    let target = migrate(shared_url(), "refusal");
    target
        .client()
        .query("DROP TABLE dwd_event")
        .execute()
        .await
        .unwrap();
    let log = tempfile::tempdir().unwrap();
    let job = Job::start(log.path(), &target);
    for block in span_blocks() {
        // It may stop before all are sent.
        let _ = job.handle().send(block);
    }
    let error = job.finish().unwrap_err();
    assert!(
        error.contains(&format!("refuses block t1/dwd_event/1/{EPOCH}/0")),
        "{error}"
    );
    assert!(error.contains("Code: 60"), "{error}");
    let error = prove_warehouse(&target).await.unwrap_err().to_string();
    assert!(
        error.contains("table refusal.dwd_event is missing"),
        "{error}"
    );
}

#[tokio::test]
async fn a_warehouse_that_does_not_deduplicate_is_refused() {
    let target = migrate(shared_url(), "no_window");
    prove_warehouse(&target).await.unwrap();
    let sql = "ALTER TABLE ops_probe MODIFY SETTING non_replicated_deduplication_window = 0";
    target.client().query(sql).execute().await.unwrap();
    let error = prove_warehouse(&target).await.unwrap_err();
    assert!(
        matches!(&error, ProbeError::NoDeduplication { found, .. } if found == &[1, 1, 2]),
        "{error}"
    );
}
