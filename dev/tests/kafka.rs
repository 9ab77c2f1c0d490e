//! The broker, for real: Apache Kafka on this machine's JVM.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use dev::kafka::{self, Broker, BrokerOptions, Ports};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

const LIMIT: Duration = Duration::from_secs(30);

fn start(folder: &std::path::Path) -> Broker {
    let options = BrokerOptions::in_folder(folder.join("kafka"), folder.join("logs"));
    Broker::start(options).unwrap()
}

fn produce(bootstrap: &str, payload: &[u8]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("message.max.bytes", kafka::MAX_MESSAGE_BYTES.to_string())
        .create()
        .unwrap();
    producer
        .send(
            BaseRecord::<(), [u8]>::to("otlp_spans")
                .partition(0)
                .payload(payload),
        )
        .unwrap();
    producer.flush(LIMIT).unwrap();
}

fn first_payload(bootstrap: &str) -> Vec<u8> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("otlp_spans", 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&list).unwrap();
    let message = consumer.poll(LIMIT).unwrap().unwrap();
    message.payload().unwrap().to_vec()
}

#[test]
fn messages_of_nearly_eight_mebibytes_survive_a_kill_and_a_restart_on_the_same_port() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = start(folder.path());
    broker.create_topics().unwrap();
    broker.create_topics().unwrap();
    let bootstrap = broker.bootstrap();
    // Bytes that don't compress, so that the batch is as large as the message.
    let payload: Vec<u8> = (0..8_300_000u64)
        .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect();
    produce(&bootstrap, &payload);
    broker.kill();
    broker.restart().unwrap();
    assert_eq!(broker.bootstrap(), bootstrap);
    assert!(first_payload(&bootstrap) == payload);
    let ends = kafka::end_offsets(&bootstrap, kafka::INPUT_TOPICS).unwrap();
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[&("otlp_spans".to_owned(), 0)], 1);
    assert!(broker.stop(), "the broker did not stop by itself");
}

#[test]
fn a_broker_moves_to_other_ports_when_its_own_are_taken_and_keeps_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = start(folder.path());
    broker.create_topics().unwrap();
    let before = broker.bootstrap();
    produce(&before, b"kept");
    broker.stop();
    drop(broker);
    let _taken = std::net::TcpListener::bind(&before).unwrap();
    let broker = start(folder.path());
    assert_ne!(broker.bootstrap(), before);
    assert_eq!(first_payload(&broker.bootstrap()), b"kept");
}

#[test]
fn a_second_broker_on_the_same_folder_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(folder.path());
    let mut options =
        BrokerOptions::in_folder(folder.path().join("kafka"), folder.path().join("logs"));
    options.ports = Some(Ports::any().unwrap());
    let error = Broker::start(options).unwrap_err();
    assert!(
        error.to_string().contains("another broker uses"),
        "{error:#}"
    );
    first.create_topics().unwrap();
}
