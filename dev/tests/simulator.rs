//! The simulated agents, for real: what they say they sent is what the broker has.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use dev::kafka::{self, Broker, BrokerOptions};
use dev::simulator::{Simulator, SimulatorOptions};

#[test]
fn the_report_counts_the_records_that_the_broker_has() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    let broker =
        Broker::start(BrokerOptions::in_folder(folder.path().join("kafka"), &logs)).unwrap();
    broker.create_topics().unwrap();
    let mut agents = Simulator::start(&SimulatorOptions {
        bootstrap: broker.bootstrap(),
        logs,
        sessions: 10,
        rate: 200.0,
        seed: 7,
        arguments: Vec::new(),
    })
    .unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let report = agents.stop().unwrap();
    let ends = kafka::end_offsets(&broker.bootstrap(), kafka::INPUT_TOPICS).unwrap();
    let records: i64 = ends.values().sum();
    assert!(report.expected.spans_landed > 100, "{report:?}");
    assert_eq!(records, i64::try_from(report.expected.records).unwrap());
}
