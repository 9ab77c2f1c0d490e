//! What Kafka does to its topics while the job reads them: it gets more of them, and loses what they held.

use std::time::Duration;

use dev::wait;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::BaseProducer;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::landed::assert_nothing_twice;
use crate::stage::Stage;
use crate::wire::{LIMIT, Outgoing, Span, producer, request, send_all};

const SPANS: &str = "SELECT count() FROM dwd_span";

fn admin<T>(
    stage: &Stage,
    ask: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> T,
) -> T {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", stage.system.kafka.bootstrap());
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(ask(&admin, &options))
}

fn make_topic(stage: &Stage, name: &str) {
    let topic = NewTopic::new(name, 2, TopicReplication::Fixed(1));
    admin(stage, async |admin, options| {
        let made = admin.create_topics(&[topic], options).await.unwrap();
        made[0].as_ref().unwrap();
    });
}

fn sender(stage: &Stage) -> BaseProducer {
    producer(&stage.system.kafka.bootstrap(), &[("linger.ms", "1")])
}

/// Sends so many records of one span each.
fn send_spans(sender: &BaseProducer, topic: &'static str, partition: i32, count: usize) {
    let spans: Vec<Outgoing> = (0..count)
        .map(|_| Outgoing {
            topic,
            partition,
            payload: Some(request("grown", &[Span::now().view()])),
            ..Outgoing::default()
        })
        .collect();
    send_all(sender, &spans);
}

#[test]
fn partitions_and_topics_that_come_while_the_job_runs_are_read_from_their_first_record() {
    let settings = [
        ("spans_topic", "^otlp_spans.*"),
        ("discovery_interval", "200ms"),
        ("idle_timeout", "1s"),
    ];
    let mut stage = Stage::start(&settings);
    let sender = sender(&stage);
    // The simulated broker's topics are there from the start.
    send_spans(&sender, "otlp_spans", 0, 20);
    stage.wait_for(SPANS, 20, LIMIT);

    admin(&stage, async |admin, options| {
        let more = NewPartitions::new("otlp_spans", 8);
        let made = admin.create_partitions([&more], options).await.unwrap();
        made[0].as_ref().unwrap();
    });
    make_topic(&stage, "otlp_spans_of_another_team");
    let sender = self::sender(&stage);
    send_spans(&sender, "otlp_spans", 7, 30);
    send_spans(&sender, "otlp_spans_of_another_team", 1, 40);
    send_spans(&sender, "otlp_spans", 1, 10);
    stage.wait_for(SPANS, 100, LIMIT);

    // A restart goes on with them, and takes in what came while nobody looked.
    stage.system.job.kill();
    make_topic(&stage, "otlp_spans_of_a_third");
    let sender = self::sender(&stage);
    send_spans(&sender, "otlp_spans_of_a_third", 0, 15);
    stage.system.job.restart().unwrap();
    send_spans(&sender, "otlp_spans_of_another_team", 0, 5);
    stage.wait_for(SPANS, 120, LIMIT);
    stage.stop_job();
    let topics = "SELECT uniqExact(topic, partition) FROM ods_record";
    assert_eq!(stage.number(topics), 6);
    assert_nothing_twice(&stage.system.sql());
    stage.reconcile();
}

#[test]
fn a_topic_that_is_deleted_while_it_is_read_stops_the_job_which_names_it() {
    let mut stage = Stage::start(&[
        ("spans_topic", "^otlp_spans.*"),
        ("discovery_interval", "200ms"),
    ]);
    make_topic(&stage, "otlp_spans_short_lived");
    let sender = sender(&stage);
    send_spans(&sender, "otlp_spans_short_lived", 0, 5);
    stage.wait_for(SPANS, 5, LIMIT);
    admin(&stage, async |admin, options| {
        let gone = admin.delete_topics(&["otlp_spans_short_lived"], options);
        gone.await.unwrap()[0].as_ref().unwrap();
    });
    let status = stage.system.job.process().wait(LIMIT).unwrap();
    assert!(!status.success());
    let said = stage.system.job.process().log_tail(3);
    assert!(
        said.contains("otlp_spans_short_lived") && said.contains("deleted"),
        "{said}"
    );
    // Nobody has said that it may be left out.
    assert!(stage.system.job.restart().is_err());
    let said = stage.system.job.process().log_tail(3);
    assert!(
        said.contains("refused to start") && said.contains("otlp_spans_short_lived"),
        "{said}"
    );
}

/// Deletes what a partition holds below an offset, as retention would.
fn delete_below(stage: &Stage, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    let offset = Offset::Offset(offset);
    list.add_partition_offset("otlp_spans", partition, offset)
        .unwrap();
    admin(stage, async |admin, options| {
        admin.delete_records(&list, options).await.unwrap();
    });
}

#[test]
fn records_deleted_before_they_were_read_stop_the_job_or_are_counted_and_recorded_as_it_is_told() {
    // After the checkpoint of a stop, the epoch log is all that a restart has.
    let mut stage = Stage::start(&[("checkpoint_interval", "1h")]);
    let sender = sender(&stage);
    send_spans(&sender, "otlp_spans", 1, 20);
    stage.wait_for(SPANS, 20, LIMIT);
    stage.stop_job();
    // Partition 0 was never read: nothing of it is replayed.
    send_spans(&sender, "otlp_spans", 0, 50);
    delete_below(&stage, 0, 30);
    send_spans(&sender, "otlp_spans", 1, 5);

    assert!(stage.system.job.restart().is_err());
    let said = stage.system.job.process().log_tail(3);
    for part in [
        "refused to start",
        "otlp_spans/0",
        "offset 0",
        "begins at 30",
        "continue",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }

    let options = stage.system.job.options();
    options
        .settings
        .insert("on_data_loss".into(), "continue".into());
    stage.system.job.restart().unwrap();
    stage.wait_for(SPANS, 45, LIMIT);
    let lost = || {
        stage
            .system
            .job
            .metric("spanflow_records_lost_total")
            .unwrap()
    };
    assert_eq!(lost(), Some(30.0));
    let said = stage.system.job.process().output();
    assert!(
        said.contains("otlp_spans/0") && said.contains("up to 30 records"),
        "{said}"
    );

    // The gap is in the epoch log: a replay goes over it, whatever the policy says now.
    stage.system.job.kill();
    stage.system.job.options().settings.remove("on_data_loss");
    stage.system.job.restart().unwrap();
    send_spans(&sender, "otlp_spans", 0, 5);
    stage.wait_for(SPANS, 50, LIMIT);
    let gap = "SELECT count() FROM ods_dead_letter WHERE unit = 'gap' AND error_code = 'offset_out_of_range'
               AND topic = 'otlp_spans' AND partition = 0 AND offset = 0";
    assert_eq!(stage.number(gap), 1);
    stage.stop_job();
    assert_nothing_twice(&stage.system.sql());
    let reconciled = stage.system.warehouse.run(&["reconcile", "--drained"]);
    reconciled.unwrap();

    // What the log has read behind its checkpoint is needed for a replay: no policy lets that pass.
    let options = stage.system.job.options();
    options
        .settings
        .insert("on_data_loss".into(), "continue".into());
    stage.system.job.restart().unwrap();
    send_spans(&sender, "otlp_spans", 1, 10);
    stage.wait_for(SPANS, 60, LIMIT);
    stage.system.job.kill();
    delete_below(&stage, 1, 30);
    assert!(stage.system.job.restart().is_err());
    let said = stage.system.job.process().log_tail(3);
    assert!(
        said.contains("otlp_spans/1") && said.contains("reads again"),
        "{said}"
    );
}

#[test]
fn records_deleted_while_the_job_runs_behind_stop_it() {
    // The budget is small and the warehouse goes away, so the job falls behind as a slow one would.
    let mut stage = Stage::start(&[("epoch_max_bytes", "64KiB"), ("max_epochs_in_flight", "1")]);
    let sender = sender(&stage);
    send_spans(&sender, "otlp_spans", 0, 10);
    stage.wait_for(SPANS, 10, LIMIT);
    stage.system.warehouse.kill();
    // More than librdkafka takes ahead.
    let big: Vec<u8> = vec![b'x'; 4 << 20];
    for _ in 0..12 {
        let outgoing = Outgoing {
            topic: "otlp_spans",
            payload: Some(big.clone()),
            ..Outgoing::default()
        };
        send_all(&sender, &[outgoing]);
    }
    delete_below(&stage, 0, 22);
    stage.system.warehouse.restart().unwrap();
    let status = stage
        .system
        .job
        .process()
        .wait(Duration::from_secs(60))
        .unwrap();
    assert!(!status.success());
    let said = stage.system.job.process().log_tail(3);
    for part in ["otlp_spans/0", "broker has is 22", "on_data_loss"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    wait::until("nothing is left", LIMIT, Duration::from_millis(50), || {
        Ok(stage.system.job.process().exited().map(|_| ()))
    })
    .unwrap();
}
