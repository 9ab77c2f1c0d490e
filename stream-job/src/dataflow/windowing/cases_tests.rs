//! The cases that docs/windows.md lists, from `tests/fixtures/windows/cases.json`. `make oracle` asks Flink the same ones.

use serde::{Deserialize, Serialize};

use super::*;

const CASES: &str = include_str!("../../../tests/fixtures/windows/cases.json");
const LISTED: &str = include_str!("../../../../docs/windows.md");

/// The times that a window holds, so that what is told shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Times(pub Vec<i64>);

impl Accumulator for Times {
    fn merge(&mut self, other: &Self) {
        self.0.extend(&other.0);
        self.0.sort_unstable();
    }
}

pub(super) fn event<K>(key: K, time_us: i64) -> Event<K, Times> {
    Event {
        key,
        time_us,
        value: Times(vec![time_us]),
    }
}

/// As the cases write it: `0..10 [1, 4] Open`, `0..10 gone`, `3 late`.
pub(super) fn written<K>(told: &Told<K, Times>) -> String {
    match told {
        Told::Fired {
            window: TimeWindow { start_us, end_us },
            value,
            stage,
            ..
        } => format!("{start_us}..{end_us} {:?} {stage:?}", value.0),
        Told::Gone { window, .. } => format!("{}..{} gone", window.start_us, window.end_us),
        Told::Late(event) => format!("{} late", event.time_us),
    }
}

#[derive(Deserialize)]
struct Case {
    name: String,
    windows: Kind,
    lateness: i64,
    late: Late,
    epochs: Vec<Epoch>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Kind {
    Tumbling { size: i64, offset: i64 },
    Hopping { size: i64, hop: i64, offset: i64 },
    Session { gap: i64 },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Late {
    ByEvent,
    ByWindow,
}

/// One epoch, which ends a block.
#[derive(Deserialize)]
struct Epoch {
    watermark: i64,
    times: Vec<i64>,
    told: Vec<String>,
}

impl Case {
    fn windows(&self) -> KeyedWindows<char, Times> {
        let assigner = match self.windows {
            Kind::Tumbling { size, offset } => Assigner::tumbling(size, offset),
            Kind::Hopping { size, hop, offset } => Assigner::hopping(size, hop, offset),
            Kind::Session { gap } => Assigner::session(gap),
        };
        let rule = match self.late {
            Late::ByEvent => LateRule::ByEvent,
            Late::ByWindow => LateRule::ByWindow,
        };
        let assigner = assigner.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        KeyedWindows::new(assigner, self.lateness, rule)
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(CASES).expect("the cases are as this test reads them")
}

#[test]
fn the_cases_of_the_documentation_hold() {
    for case in cases() {
        let mut windows = case.windows();
        for (at, epoch) in case.epochs.iter().enumerate() {
            let events = epoch.times.iter().map(|&time| event('a', time));
            let told = windows.apply(epoch.watermark, events.collect(), true);
            let told: Vec<_> = told.iter().map(written).collect();
            assert_eq!(told, epoch.told, "{}, epoch {at}", case.name);
        }
    }
}

#[test]
fn the_documentation_lists_every_case() {
    for Case { name, .. } in cases() {
        let row = format!("| {name} |");
        assert!(LISTED.contains(&row), "docs/windows.md has no row {row}");
    }
}
