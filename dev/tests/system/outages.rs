//! The broker and the warehouse come late, go away and come back.

use std::time::{Duration, Instant};

use dev::job::{Job, JobOptions};
use dev::kafka::{Broker, BrokerOptions, Ports};
use dev::warehouse::{Warehouse, WarehouseOptions};
use dev::{drain, ports, wait};

use crate::landed::{assert_nothing_twice, counts, expected};
use crate::stage::{Agents, DRAIN_LIMIT, Folder, with_short_epochs};

const SOON: Duration = Duration::from_secs(30);
/// How long each part is away.
const AWAY: Duration = Duration::from_secs(8);

struct Parts {
    // Ended in this order.
    job: Job,
    warehouse: Warehouse,
    kafka: Broker,
}

#[test]
fn a_job_waits_for_the_broker_and_the_warehouse_and_outlives_their_outages() {
    let folder = Folder::new();
    let mut parts = start_job_first(&folder);
    let agents = Agents::start(&folder, &parts.kafka.bootstrap(), 100.0, &["--flush", "60"]);
    wait_for_more_spans(&parts);

    survive(&mut parts, "Kafka", end_kafka, start_kafka);
    survive(&mut parts, "the warehouse", end_warehouse, start_warehouse);

    let report = agents.stop();
    let sql = parts.warehouse.sql();
    drain::wait_until_drained(&parts.kafka.bootstrap(), &sql, DRAIN_LIMIT).unwrap();
    assert!(parts.job.metric("spanflow_insert_retries_total").unwrap() > Some(0.0));
    assert!(parts.job.stop(), "the job did not end by itself");
    assert_eq!(counts(&sql), expected(&report));
    assert_nothing_twice(&sql);
    let generations = sql.number("SELECT uniqExact(generation) FROM ops_epoch");
    assert_eq!(generations.unwrap(), 1, "the job was never started again");
    parts.warehouse.run(&["reconcile", "--drained"]).unwrap();
}

fn end_kafka(parts: &mut Parts) {
    assert!(parts.kafka.stop(), "Kafka did not stop by itself");
}

fn start_kafka(parts: &mut Parts) {
    parts.kafka.restart().unwrap();
}

fn end_warehouse(parts: &mut Parts) {
    parts.warehouse.kill();
}

fn start_warehouse(parts: &mut Parts) {
    parts.warehouse.restart().unwrap();
}

/// Ends a part for a while: the job says what it waits for, and goes on when the part is back.
fn survive(parts: &mut Parts, what: &str, end: fn(&mut Parts), start: fn(&mut Parts)) {
    let said_before = times_said(&mut parts.job, what);
    let lines_before = parts.job.process().output().lines().count();
    end(parts);
    let ended = Instant::now();
    wait_until_it_waits_for(&mut parts.job, what, said_before);
    std::thread::sleep(AWAY.saturating_sub(ended.elapsed()));
    start(parts);
    parts.job.wait_until_ready(SOON).unwrap();
    wait_for_more_spans(parts);
    let lines = parts.job.process().output().lines().count() - lines_before;
    assert!(lines <= 40, "{lines} lines of log for one outage");
}

#[test]
fn a_job_that_still_waits_for_the_broker_ends_as_asked() {
    let folder = Folder::new();
    let [kafka, warehouse] = ports::free::<2>().unwrap();
    let mut job = start_job_alone(&folder, kafka, warehouse);
    wait_until_it_waits_for(&mut job, "Kafka", 0);
    assert!(job.stop(), "the job did not end by itself");
    let status = job.process().exited().unwrap();
    assert!(status.success(), "{status}: {}", job.process().log_tail(5));
}

/// Starts the job while nothing else is there, then the broker, then the warehouse. The job makes topics and tables.
fn start_job_first(folder: &Folder) -> Parts {
    let home = folder.path().join("home");
    let (kafka_ports, [warehouse_port]) = (Ports::any().unwrap(), ports::free::<1>().unwrap());
    let mut job = start_job_alone(folder, kafka_ports.client, warehouse_port);
    wait_until_it_waits_for(&mut job, "Kafka", 0);
    let kafka = Broker::start(BrokerOptions {
        ports: Some(kafka_ports),
        ..BrokerOptions::in_folder(home.join("kafka"), home.join("logs"))
    })
    .unwrap();
    let port = kafka_ports.client.to_string();
    assert!(kafka.bootstrap().ends_with(&port), "port {port} was taken");
    wait_until_it_waits_for(&mut job, "the warehouse", 0);
    let warehouse = Warehouse::start(WarehouseOptions {
        folder: home.join("warehouse"),
        logs: home.join("logs"),
        port: Some(warehouse_port),
    })
    .unwrap();
    job.wait_until_ready(SOON).unwrap();
    Parts {
        job,
        warehouse,
        kafka,
    }
}

fn start_job_alone(folder: &Folder, kafka_port: u16, warehouse_port: u16) -> Job {
    let home = folder.path().join("home");
    let job = Job::start_unready(JobOptions {
        state: home.join("job"),
        logs: home.join("logs"),
        port: None,
        bootstrap: format!("127.0.0.1:{kafka_port}"),
        warehouse_url: format!("http://127.0.0.1:{warehouse_port}"),
        settings: with_short_epochs(&[]),
        environment: std::collections::BTreeMap::new(),
        supervised: false,
    });
    job.unwrap()
}

fn since(what: &str) -> String {
    format!("waiting for {what} at ")
}

/// How often the job's log says that it waits for `what`.
fn times_said(job: &mut Job, what: &str) -> usize {
    job.process().output().matches(&since(what)).count()
}

/// Waits until the job says, in /readyz, in its status and once more in its log, that it waits for `what`, which it
/// names with its address.
fn wait_until_it_waits_for(job: &mut Job, what: &str, said_before: usize) {
    let server = job.server();
    let mut answer = String::new();
    let said = wait::until(&since(what), SOON, Duration::from_millis(100), || {
        job.process().check_alive()?;
        let response = server.get("/readyz", Duration::from_secs(2))?;
        answer = response.text();
        Ok((response.status == 503 && answer.contains(&since(what))).then_some(()))
    });
    assert!(said.is_ok(), "{said:?}: /readyz says {answer:?}");
    let status = server.get("/api/v1/status", Duration::from_secs(2));
    let status: serde_json::Value = serde_json::from_slice(&status.unwrap().body).unwrap();
    let waiting_for = status["waiting_for"].as_str().unwrap_or_default();
    assert!(waiting_for.starts_with(what), "{status}");
    let alive = server.get("/healthz", Duration::from_secs(2)).unwrap();
    assert_eq!(alive.status, 200);
    wait::until("the log says so", SOON, Duration::from_millis(100), || {
        Ok((times_said(job, what) > said_before).then_some(()))
    })
    .unwrap();
}

fn wait_for_more_spans(parts: &Parts) {
    let sql = parts.warehouse.sql();
    let spans = || sql.number("SELECT count() FROM dwd_span");
    let before = spans().unwrap();
    wait::until("spans land", SOON, Duration::from_millis(100), || {
        Ok((spans()? > before + 50).then_some(()))
    })
    .unwrap();
}
