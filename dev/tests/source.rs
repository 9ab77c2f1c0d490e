//! The job's reader against a real broker: partitions that are added while it reads, and offsets that are gone.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use dev::kafka::{Broker, BrokerOptions};
use dev::wait;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use stream_job::source::buffer::PartitionBuffer;
use stream_job::source::kafka::KafkaReader;
use stream_job::source::{Reader, TopicPartition};

const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
const TOPIC: &str = "grows";

struct Cluster {
    broker: Broker,
    _folder: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker =
            BrokerOptions::in_folder(folder.path().join("kafka"), folder.path().join("logs"));
        Self {
            broker: Broker::start(broker).unwrap(),
            _folder: folder,
        }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.broker.bootstrap())
            .set("fetch.wait.max.ms", "50");
        config
    }

    fn admin<T>(
        &self,
        ask: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> T,
    ) -> T {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(ask(&admin, &options))
    }

    fn make_topic(&self, partitions: i32) {
        let topic = NewTopic::new(TOPIC, partitions, TopicReplication::Fixed(1));
        self.admin(async |admin, options| {
            let made = admin.create_topics(&[topic], options).await.unwrap();
            made[0].as_ref().unwrap();
        });
    }

    fn delete_below(&self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(offset);
        list.add_partition_offset(TOPIC, partition, offset).unwrap();
        self.admin(async |admin, options| {
            admin.delete_records(&list, options).await.unwrap();
        });
    }

    /// Sends `count` records to a partition.
    fn send(&self, partition: i32, count: usize) {
        let producer: BaseProducer = self.config().create().unwrap();
        for _ in 0..count {
            let record = BaseRecord::<(), [u8]>::to(TOPIC)
                .partition(partition)
                .payload(b"x");
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(LIMIT).unwrap();
    }

    fn read(&self, buffers: &[PartitionBuffer]) -> KafkaReader {
        let every = Duration::from_millis(100);
        KafkaReader::assign(self.config(), buffers, every, || {}, |_| {}).unwrap()
    }
}

fn buffer(partition: i32, position: i64) -> PartitionBuffer {
    let topic = TOPIC.into();
    PartitionBuffer::new(TopicPartition { topic, partition }, position)
}

/// Polls until the buffers stand at these positions.
fn read_to(reader: &mut KafkaReader, buffers: &mut [PartitionBuffer], wanted: &[i64]) {
    let mut at = Vec::new();
    let reached = wait::until("the positions are reached", LIMIT, PAUSE, || {
        reader.poll(buffers, 1 << 20)?;
        at = buffers.iter().map(|buffer| buffer.position).collect();
        Ok((at == wanted).then_some(()))
    });
    assert!(
        reached.is_ok(),
        "at {at:?} instead of {wanted:?}: {reached:?}"
    );
}

#[test]
fn partitions_that_are_added_are_read_and_those_there_were_lose_nothing() {
    let cluster = Cluster::start();
    cluster.make_topic(2);
    cluster.send(0, 10);
    let mut buffers = vec![buffer(0, 0), buffer(1, 0)];
    let mut reader = cluster.read(&buffers);
    read_to(&mut reader, &mut buffers, &[10, 0]);

    cluster.admin(async |admin, options| {
        let more = NewPartitions::new(TOPIC, 4);
        let made = admin.create_partitions([&more], options).await.unwrap();
        made[0].as_ref().unwrap();
    });
    // Some lie in the queues of the first two while the others are added.
    cluster.send(0, 300);
    cluster.send(1, 300);
    buffers.extend([buffer(2, 0), buffer(3, 0)]);
    reader.add(&buffers[2..]).unwrap();
    (0..4).for_each(|partition| cluster.send(partition, 50));
    read_to(&mut reader, &mut buffers, &[360, 350, 50, 50]);
    let held: Vec<usize> = buffers.iter().map(PartitionBuffer::records).collect();
    assert_eq!(held, [360, 350, 50, 50], "each record once");
    wait::until("the ends of all are known", LIMIT, PAUSE, || {
        let ends: Vec<_> = (0..4).map(|at| reader.end_offset(at)).collect();
        Ok((ends == [360, 350, 50, 50].map(Some)).then_some(()))
    })
    .unwrap();
}

#[test]
fn an_offset_that_is_gone_is_told_and_the_partition_goes_on_where_it_is_said() {
    let cluster = Cluster::start();
    cluster.make_topic(2);
    (0..2).for_each(|partition| cluster.send(partition, 100));
    cluster.delete_below(0, 60);
    let mut buffers = vec![buffer(0, 20), buffer(1, 0)];
    let mut reader = cluster.read(&buffers);
    wait::until("the offset is missing", LIMIT, PAUSE, || {
        reader.poll(&mut buffers, 1 << 20)?;
        Ok((buffers[0].missing && buffers[1].position == 100).then_some(()))
    })
    .unwrap();
    assert_eq!((buffers[0].position, buffers[0].records()), (20, 0));
    assert_eq!(reader.available(&buffers[0]).unwrap(), (60, 100));
    reader.skip_to(0, &mut buffers[0], 60).unwrap();
    read_to(&mut reader, &mut buffers, &[100, 100]);
    assert_eq!(buffers[0].records(), 40);

    // Again, in the middle of reading.
    cluster.delete_below(0, 100);
    (0..2).for_each(|partition| cluster.send(partition, 10));
    read_to(&mut reader, &mut buffers, &[110, 110]);
    assert_eq!(buffers[0].records(), 50);
}
