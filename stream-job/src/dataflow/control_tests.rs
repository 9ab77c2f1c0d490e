#![allow(clippy::unwrap_used)]

use timely::bytes::arc::BytesMut;
use timely::dataflow::channels::ContainerBytes;

use super::*;
use crate::checkpoint::manifest::StateRef;
use crate::checkpoint::record::{CheckpointRef, Position, Rewrite};
use crate::dataflow::coordinator::PartitionReport;
use crate::dataflow::fixtures;

/// As timely carries it to another process.
fn through_bytes<T>(sent: Vec<T>) -> Vec<T>
where
    Vec<T>: ContainerBytes,
{
    let mut bytes = Vec::new();
    sent.into_bytes(&mut bytes);
    Vec::from_bytes(BytesMut::from(bytes).freeze())
}

/// The format of the links has no names: a field that is left out would shift all that follow.
#[test]
fn what_the_processes_tell_each_other_arrives_as_it_was_sent() {
    let plain = EpochRecord {
        positions: vec![Position {
            topic: "t".to_owned(),
            topic_id: "id".to_owned(),
            partition: 3,
            next_offset: 9,
        }],
        ack_times: vec![AckTime {
            epoch: 6,
            acked_ms: 60,
        }],
        ..fixtures::record(7, 1)
    };
    let with_checkpoint = EpochRecord {
        checkpoint: Some(Rewrite { from: 1, to: 2 }),
        ..plain.clone()
    };
    let kept = Kept {
        newest: CheckpointRef {
            epoch: 7,
            manifest: "m".to_owned(),
            crc32c: 1,
            bytes: 2,
        },
        oldest: 5,
    };
    let told = through_bytes(vec![
        Told::Epoch(Arc::new(plain.clone())),
        Told::Epoch(Arc::new(with_checkpoint.clone())),
        Told::Checkpointed(kept.clone()),
        Told::Stop,
    ]);
    match &told[..] {
        [
            Told::Epoch(one),
            Told::Epoch(two),
            Told::Checkpointed(three),
            Told::Stop,
        ] => assert_eq!((&**one, &**two, three), (&plain, &with_checkpoint, &kept)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_workers_and_processes_report_arrives_as_it_was_sent() {
    let report = Report {
        worker: 3,
        released: 7,
        full: true,
        partitions: vec![PartitionReport {
            slot: 1,
            position: 2,
            max_event_us: None,
            idle: false,
            ended: true,
            gaps: Vec::new(),
        }],
        saved: Some(StateRef {
            epoch: 7,
            worker: 3,
            bytes: 10,
            crc32c: 11,
            rewritten_bytes: 12,
            operators: [("windows".to_owned(), 1)].into_iter().collect(),
            path: "p".to_owned(),
        }),
    };
    let process = ProcessReport {
        process: 1,
        raw: 8,
        whole: 7,
        whole_ms: 70,
        acks: vec![AckTime {
            epoch: 8,
            acked_ms: 80,
        }],
        stopping: true,
    };
    let said = through_bytes(vec![
        Said::Worker(report.clone()),
        Said::Process(process.clone()),
    ]);
    match &said[..] {
        [Said::Worker(one), Said::Process(two)] => {
            assert_eq!((one, two), (&report, &process));
        }
        other => panic!("{other:?}"),
    }
}
