//! What is on a topic.

use std::collections::BTreeMap;
use std::time::Duration;

use dev::kafka;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const LIMIT: Duration = Duration::from_secs(30);

/// One record.
pub(crate) struct Received {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
}

impl Received {
    /// The first header of this name, as text.
    pub(crate) fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(key, _)| key == name);
        let (_, value) = found.unwrap_or_else(|| panic!("no header {name}"));
        String::from_utf8(value.clone()).unwrap()
    }
}

/// All records that a topic has now.
pub(crate) fn all_of(bootstrap: &str, topic: &str) -> Vec<Received> {
    let ends = kafka::end_offsets(bootstrap, &[topic]).unwrap();
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
    (0..total)
        .map(|_| {
            let message = consumer.poll(LIMIT).expect("a record").unwrap();
            let headers = message.headers().into_iter().flat_map(Headers::iter);
            Received {
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: headers
                    .map(|one| (one.key.to_owned(), one.value.unwrap_or_default().to_vec()))
                    .collect(),
            }
        })
        .collect()
}

/// Records by the id that copies share, and how many of them were copies, which must be equal.
pub(crate) fn by_id<T: Clone + PartialEq + std::fmt::Debug>(
    all: impl IntoIterator<Item = (String, T)>,
) -> (BTreeMap<String, T>, usize) {
    let (mut found, mut copies) = (BTreeMap::new(), 0);
    for (id, one) in all {
        if let Some(other) = found.insert(id, one.clone()) {
            assert_eq!(other, one, "copies differ");
            copies += 1;
        }
    }
    (found, copies)
}
