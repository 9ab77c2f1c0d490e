//! The job is killed while data flows, and goes on from its epoch log.

use std::time::Duration;

use dev::wait;

use crate::dead_letters::assert_topic_is_table;
use crate::landed::{assert_nothing_twice, counts, expected};
use crate::stage::Stage;

#[test]
fn a_job_killed_twice_while_data_flows_loses_nothing_and_writes_nothing_twice() {
    let mut stage = Stage::start(&[]);
    let agents = stage.agents(250.0, &["--bad-rate", "0.05", "--duplicate-rate", "0.05"]);
    for kill in 1..=2 {
        let landed = stage.number("SELECT count() FROM dwd_span");
        wait_for_more(&stage, landed + 300);
        let epochs = stage.number("SELECT count() FROM ops_epoch");
        stage.system.job.kill();
        stage.system.job.restart().unwrap();
        assert_the_replay_sends_little(&mut stage, epochs, kill);
    }
    wait_for_more(&stage, stage.number("SELECT count() FROM dwd_span") + 100);
    let report = agents.stop();
    stage.drain();

    let sql = stage.system.sql();
    assert_eq!(counts(&sql), expected(&report));
    assert_nothing_twice(&sql);
    let (letters, copies) = assert_topic_is_table(&stage.system.kafka.bootstrap(), &sql);
    assert!(letters.len() > 5, "only {} bad records", letters.len());
    assert!(
        copies < letters.len(),
        "{copies} copies of {} dead letters: a restart sends all of them again",
        letters.len()
    );
    let timelines = stage.number("SELECT uniqExact(generation) FROM ops_epoch");
    assert_eq!(timelines, 3, "each process wrote epochs of its own");
    stage.reconcile();
}

fn wait_for_more(stage: &Stage, spans: u64) {
    let sql = stage.system.sql();
    wait::until(
        "spans land",
        Duration::from_secs(60),
        Duration::from_millis(50),
        || {
            let landed = sql.number("SELECT count() FROM dwd_span")?;
            Ok((landed >= spans).then_some(()))
        },
    )
    .unwrap();
}

/// The replay goes through every epoch again, and sends only the blocks that were not acknowledged.
fn assert_the_replay_sends_little(stage: &mut Stage, epochs_before: u64, kill: i32) {
    let job = &mut stage.system.job;
    let log = job.process().output();
    let replayed: u64 = log
        .lines()
        .find_map(|line| {
            line.split(" epochs to replay")
                .next()?
                .rsplit(' ')
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or_else(|| panic!("nothing is said of a replay:\n{log}"));
    assert!(
        replayed >= epochs_before,
        "after kill {kill}: {replayed} epochs are replayed, and {epochs_before} had landed"
    );
    let blocks = |name: &str| job.metric(name).unwrap().unwrap_or(0.0);
    wait::until(
        "the replay is done",
        Duration::from_secs(30),
        Duration::from_millis(50),
        || Ok((blocks("spanflow_epochs_total") > replayed as f64).then_some(())),
    )
    .unwrap();
    let (sent, all) = (
        blocks("spanflow_insert_seconds_count"),
        blocks("spanflow_blocks_total"),
    );
    assert!(
        sent < all / 2.0,
        "after kill {kill}: {sent} inserts for {all} blocks, most of which had landed"
    );
}
