//! A part of the topics is read again, into a database of its own, while the job runs.

use std::process::{Command, Output};

use dev::sql::Sql;

use crate::landed::assert_nothing_twice;
use crate::stage::Stage;
use crate::wire::{LIMIT, Outgoing, Span, now_ns, producer, request, send_all};

const HOUR_MS: i64 = 3_600_000;

/// Runs the job with these flags until it ends.
pub(crate) fn run(stage: &Stage, flags: &[&str]) -> Output {
    let mut command = Command::new(dev::paths::binary("stream-job").unwrap());
    command.arg("run").args(flags);
    let state = stage.system.home().job();
    for setting in [
        format!("kafka_bootstrap_servers={}", stage.system.kafka.bootstrap()),
        format!("clickhouse_url={}", stage.system.warehouse.url()),
        format!(
            "http_listen={}",
            stage.system.job.url().trim_start_matches("http://")
        ),
    ] {
        command.arg("--set").arg(setting);
    }
    // As the running job has it: what a backfill is set apart from.
    command.env("SPANFLOW_STATE_DIR", state);
    for name in ["SPANFLOW_HOME", "SPANFLOW_CACHE", "SPANFLOW_BIN_DIR"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_part_of_the_topics_is_read_again_beside_the_running_job_and_ends_by_itself() {
    let mut stage = Stage::start(&[]);
    let sender = producer(&stage.system.kafka.bootstrap(), &[]);
    let now_ms = i64::try_from(now_ns() / 1_000_000).unwrap();
    // Ten hours, a record an hour in each of two partitions.
    let records: Vec<Outgoing> = (0..20)
        .map(|n| {
            let ms = now_ms - (10 - n / 2) * HOUR_MS;
            let span = Span::ending_at(u64::try_from(ms).unwrap() * 1_000_000);
            Outgoing {
                topic: "otlp_spans",
                partition: i32::try_from(n % 2).unwrap(),
                payload: Some(request("hourly", &[span.view()])),
                timestamp_ms: Some(ms),
                ..Outgoing::default()
            }
        })
        .collect();
    send_all(&sender, &records);
    stage.wait_for("SELECT count() FROM dwd_span", 20, LIMIT);

    let from = (now_ms - 7 * HOUR_MS).to_string();
    let until = (now_ms - 2 * HOUR_MS).to_string();
    let flags = ["--from-timestamp", &from, "--until", &until];
    for (database, reason) in [
        (None, "needs --database"),
        (Some("spanflow"), "where the job itself writes"),
    ] {
        let mut refused = flags.to_vec();
        refused.extend(database.iter().flat_map(|name| ["--database", name]));
        let output = run(&stage, &refused);
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert!(said(&output).contains(reason), "{}", said(&output));
    }

    let mut backfill = flags.to_vec();
    backfill.extend(["--database", "again"]);
    let output = run(&stage, &backfill);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("the input has ended"),
        "{}",
        said(&output)
    );
    let sql = stage.system.warehouse.sql_of("again");
    let number = |sql: &Sql, select: &str| sql.number(select).unwrap();
    let spans = "SELECT count() FROM dwd_span";
    assert_eq!(number(&sql, spans), 10, "five hours of two partitions");
    let open = "SELECT countIf(NOT final) FROM dws_step_1m_latest";
    assert_eq!(number(&sql, open), 0, "the end of the input closes all");
    assert_eq!(
        number(&sql, "SELECT sum(count) FROM dws_step_1m_latest"),
        10
    );
    assert_nothing_twice(&sql);

    // The same again is done already; with other bounds it is another run.
    let output = run(&stage, &backfill);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(number(&sql, spans), 10);
    let output = run(&stage, &["--until", "latest", "--database", "again"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("backfill.from"), "{}", said(&output));

    let offsets = ["--from-offsets", "otlp_spans:0=8", "--database", "third"];
    let output = run(&stage, &offsets);
    assert!(output.status.success(), "{}", said(&output));
    let third = stage.system.warehouse.sql_of("third");
    assert_eq!(
        number(&third, spans),
        12,
        "two of one partition, all of the other"
    );
    assert_eq!(stage.number(spans), 20, "the running job is left alone");
    stage.stop_job();
}
