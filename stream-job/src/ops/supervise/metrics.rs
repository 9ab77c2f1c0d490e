//! The supervisor's own metrics.

use super::status::JobState;
use crate::ops::metrics::{MetricSpec, head};

const fn spec(
    name: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> MetricSpec {
    MetricSpec {
        name,
        kind,
        labels,
        help,
    }
}

const STATE: MetricSpec = spec(
    "spanflow_job_state",
    "gauge",
    &["state"],
    "1 for the state that the job is in, 0 for the others.",
);
const PROCESSES: MetricSpec = spec(
    "spanflow_job_processes",
    "gauge",
    &[],
    "Processes of the job that run.",
);
const RESTARTS: MetricSpec = spec(
    "spanflow_job_restarts_total",
    "counter",
    &[],
    "Times that the job's processes were started again since the supervisor's start.",
);

/// Every metric of the supervisor, for the documentation and its test.
pub const METRICS: &[MetricSpec] = &[STATE, PROCESSES, RESTARTS];

const STATES: [JobState; 7] = [
    JobState::Starting,
    JobState::Restoring,
    JobState::Running,
    JobState::Draining,
    JobState::Restarting,
    JobState::Failed,
    JobState::Finished,
];

pub(super) fn render(state: JobState, processes: usize, restarts: u64, out: &mut String) {
    head(out, STATE.name, STATE.kind, STATE.help);
    for one in STATES {
        let is = u8::from(one == state);
        out.push_str(&format!(
            "{}{{state=\"{}\"}} {is}\n",
            STATE.name,
            one.word()
        ));
    }
    head(out, PROCESSES.name, PROCESSES.kind, PROCESSES.help);
    out.push_str(&format!("{} {processes}\n", PROCESSES.name));
    head(out, RESTARTS.name, RESTARTS.kind, RESTARTS.help);
    out.push_str(&format!("{} {restarts}\n", RESTARTS.name));
}
