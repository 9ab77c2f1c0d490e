//! The time zone of users' days: the database's for good, and every job's over it.

use std::process::Command;

use stream_job::ops::job::exit;

use crate::reference::recording::{Plan, write};
use crate::runs::{Ended, end_of};
use crate::stage::Stage;
use crate::warehouse_process::{migrate_in_zone, reconcile, shared_url};

/// A day begins there a few minutes into the recording.
const GAMBIER: &str = "Pacific/Gambier";

fn stage(database: &str) -> Stage {
    let plan = Plan {
        seed: 91,
        traces: 120,
        documents: 4,
        // One that comes after `dedup_horizon` would land, which the counts of the layers tell.
        copied: 0,
        ..Plan::default()
    };
    Stage::over(shared_url(), database, |recording| write(recording, &plan))
}

/// A job in a zone, with a state folder of its own; without a zone in that of the default.
fn job(stage: &Stage, database: &str, zone: Option<&str>) -> Command {
    let state = format!("{database}_{}", zone.unwrap_or("none").replace('/', "_"));
    let mut command = stage.command(database, &state);
    if let Some(zone) = zone {
        command.args(["--set", &format!("business_time_zone={zone}")]);
    }
    command
}

#[test]
fn users_days_are_those_of_the_zone_and_sum_up_the_traces_that_ended_on_them() {
    let stage = stage("days");
    let database = "days_of_gambier";
    migrate_in_zone(shared_url(), database, GAMBIER);
    end_of(&stage, job(&stage, database, Some(GAMBIER))).succeeded();
    let days = format!("SELECT uniqExact(day) FROM {database}.dws_user_1d_latest");
    assert_eq!(stage.number(&days), 2);
    let sums = "sum(turns), sum(steps), sum(llm_calls), sum(tool_calls), sum(errors), sum(input_tokens), \
                sum(output_tokens), sum(cost_nanousd), min(first_time), max(last_time)";
    let of_traces = format!(
        "SELECT toDate(last_time, '{GAMBIER}') AS day, namespace, user_id, count(), {sums} \
         FROM {database}.dws_trace FINAL WHERE user_id != '' GROUP BY ALL"
    );
    let of_users = format!(
        "SELECT day, namespace, user_id, sum(traces), {sums} FROM {database}.dws_user_1d_latest GROUP BY ALL"
    );
    let count = |rows: &str| stage.number(&format!("SELECT count() FROM ({rows})"));
    assert!(count(&of_users) > 10);
    assert_eq!(count(&format!("{of_users} EXCEPT {of_traces}")), 0);
    assert_eq!(count(&format!("{of_traces} EXCEPT {of_users}")), 0);
    let said = reconcile(shared_url(), database);
    assert!(
        said.contains("traces of dws_trace by user and day = dws_user_1d"),
        "{said}"
    );
}

#[test]
fn a_job_in_another_zone_than_the_databases_is_refused_with_both_named() {
    let stage = stage("zones");
    let database = "zones_of_the_job";
    end_of(&stage, job(&stage, database, Some("Asia/Shanghai"))).succeeded();
    for (zone, name) in [(None, "UTC"), (Some("Europe/Berlin"), "Europe/Berlin")] {
        let Ended { status, said } = end_of(&stage, job(&stage, database, zone));
        assert_eq!(status.code(), Some(exit::REFUSED.into()), "{said}");
        for part in [
            "counts its days in Asia/Shanghai",
            &format!("{name} would need a new database"),
            "Set business_time_zone = \"Asia/Shanghai\"",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

#[test]
fn a_zone_that_there_is_not_is_refused_where_it_was_set() {
    let stage = stage("no_zone");
    let Ended { status, said } = end_of(&stage, job(&stage, "no_zone", Some("Mars/Phobos")));
    assert_eq!(status.code(), Some(exit::USAGE.into()), "{said}");
    for part in [
        "business_time_zone",
        "Mars/Phobos",
        "such as `UTC` or `Asia/Shanghai`",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
