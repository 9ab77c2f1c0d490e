//! The topic of dead letters, held against the table.

use std::collections::BTreeMap;
use std::time::Duration;

use dev::kafka;
use dev::sql::Sql;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

const TOPIC: &str = "agent.deadletter";
const LIMIT: Duration = Duration::from_secs(30);

/// What must be equal in the topic and in the table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Letter {
    pub(crate) unit: String,
    pub(crate) error_code: String,
    pub(crate) error: String,
    topic: String,
    partition: String,
    offset: String,
    payload_hash: u64,
}

/// Letters by id, from the table.
fn in_table(sql: &Sql) -> BTreeMap<String, Letter> {
    #[derive(Deserialize)]
    struct Row {
        id: String,
        #[serde(flatten)]
        letter: Letter,
    }
    let rows: Vec<Row> = sql
        .rows(
            "SELECT concat(topic, '/', toString(partition), '/', toString(offset),
                        if(unit = 'span', concat('/', toString(index)), '')) AS id,
                    unit, error_code, error, topic, toString(partition) AS partition, toString(offset) AS offset,
                    xxh3(payload) AS payload_hash
             FROM ods_dead_letter",
        )
        .unwrap();
    rows.into_iter().map(|row| (row.id, row.letter)).collect()
}

/// Letters by id, from the topic, and how many messages they came in: a letter may come more than once.
fn in_topic(bootstrap: &str) -> (BTreeMap<String, Letter>, usize) {
    let ends = kafka::end_offsets(bootstrap, &[TOPIC]).unwrap();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for (topic, partition) in ends.keys() {
        list.add_partition_offset(topic, *partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    let total: i64 = ends.values().sum();
    let mut letters = BTreeMap::new();
    for _ in 0..total {
        let message = consumer.poll(LIMIT).expect("a letter").unwrap();
        let headers = message.headers().unwrap();
        let header = |name: &str| {
            let found = headers.iter().find(|header| header.key == name);
            let value = found.unwrap_or_else(|| panic!("no header {name}")).value;
            String::from_utf8(value.unwrap().to_vec()).unwrap()
        };
        let letter = Letter {
            unit: header("spanflow-unit"),
            error_code: header("spanflow-error-code"),
            error: header("spanflow-error"),
            topic: header("spanflow-topic"),
            partition: header("spanflow-partition"),
            offset: header("spanflow-offset"),
            payload_hash: xxh3_64(message.payload().unwrap_or_default()),
        };
        let id = header("spanflow-dead-letter-id");
        if let Some(other) = letters.insert(id, letter.clone()) {
            assert_eq!(other, letter, "copies of a letter differ");
        }
    }
    (letters, usize::try_from(total).unwrap())
}

/// The topic holds what the table holds. Gives the letters by id, and how many copies the topic has.
pub(crate) fn assert_topic_is_table(
    bootstrap: &str,
    sql: &Sql,
) -> (BTreeMap<String, Letter>, usize) {
    let table = in_table(sql);
    let (topic, messages) = in_topic(bootstrap);
    let copies = messages - topic.len();
    assert_eq!(topic, table);
    (table, copies)
}
