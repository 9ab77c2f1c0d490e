//! Windows against a plain reference, and as an operator.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::LateRule::ByEvent;
use super::cases::{Times, event, written};
use super::*;
use crate::dataflow::fixtures::{record, record_within_block, run_epochs};

type Key = char;

/// One epoch: its watermark, its events, and whether it ends a block.
type Epoch = (i64, Vec<(Key, i64)>, bool);

/// All events of a key in one list; windows are found anew whenever they are asked for.
struct Reference {
    windows: Assigner,
    lateness: i64,
    watermark: i64,
    events: Vec<(Key, i64)>,
    /// Windows that are final, with what they hold.
    sealed: BTreeMap<(Key, TimeWindow), Vec<i64>>,
    told: BTreeMap<(Key, TimeWindow), (Vec<i64>, Stage)>,
}

impl Reference {
    fn new(windows: Assigner, lateness: i64) -> Self {
        Self {
            windows,
            lateness,
            watermark: i64::MIN,
            events: Vec::new(),
            sealed: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    fn windows(&self) -> BTreeMap<(Key, TimeWindow), Vec<i64>> {
        let mut events = self.events.clone();
        events.sort_unstable();
        let mut found: BTreeMap<(Key, TimeWindow), Vec<i64>> = BTreeMap::new();
        for (key, time) in events {
            for mut window in self.windows.windows(time) {
                let mut holds = Vec::new();
                if self.windows.merges()
                    && let Some(((other, before), _)) = found.last_key_value()
                    && *other == key
                    && time <= before.end_us
                {
                    window = before.cover(&window);
                    holds = found.pop_last().unwrap().1;
                }
                holds.push(time);
                found.entry((key, window)).or_default().extend(holds);
            }
        }
        found
    }

    fn stage(&self, window: &TimeWindow) -> Stage {
        match self.watermark {
            i64::MAX => Stage::Final,
            watermark if window.end_us + self.lateness <= watermark => Stage::Final,
            watermark if window.end_us <= watermark => Stage::Closed,
            _ => Stage::Open,
        }
    }

    fn apply(&mut self, (watermark, events, block_ends): &Epoch) -> Vec<String> {
        self.watermark = self.watermark.max(*watermark);
        let sealed: Vec<_> = self
            .windows()
            .into_iter()
            .filter(|((_, window), _)| self.stage(window) == Stage::Final)
            .collect();
        if self.windows.merges() {
            let is_sealed = |(key, time): &(Key, i64)| {
                let of_key = |((other, window), _): &((Key, TimeWindow), _)| {
                    other == key && window.start_us <= *time && *time < window.end_us
                };
                sealed.iter().any(of_key)
            };
            self.events.retain(|event| !is_sealed(event));
        }
        self.sealed.extend(sealed);
        let mut late: Vec<_> = events
            .iter()
            .filter(|(_, time)| {
                self.watermark == i64::MAX
                    || self.watermark != i64::MIN && time + self.lateness < self.watermark
            })
            .copied()
            .collect();
        late.sort_unstable();
        let fresh = events.iter().filter(|event| !late.contains(event));
        self.events.extend(fresh);
        let mut out: Vec<_> = late
            .iter()
            .map(|(_, time)| format!("{time} late"))
            .collect();
        if *block_ends {
            out.extend(self.tell());
        }
        out
    }

    fn tell(&mut self) -> Vec<String> {
        let mut now: BTreeMap<_, _> = self.windows();
        now.extend(self.sealed.clone());
        let mut lines = Vec::new();
        for (at, holds) in &now {
            let state = (holds.clone(), self.stage(&at.1));
            if self.told.get(at) != Some(&state) {
                let (start, end) = (at.1.start_us, at.1.end_us);
                lines.push((*at, format!("{start}..{end} {holds:?} {:?}", state.1)));
                self.told.insert(*at, state);
            }
        }
        self.told.retain(|at, _| {
            let stays = now.contains_key(at);
            if !stays {
                lines.push((*at, format!("{}..{} gone", at.1.start_us, at.1.end_us)));
            }
            stays
        });
        lines.sort();
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

fn apply(
    windows: &mut KeyedWindows<Key, Times>,
    (watermark, events, block_ends): &Epoch,
) -> Vec<String> {
    let events = events.iter().map(|&(key, time)| event(key, time)).collect();
    let told = windows.apply(*watermark, events, *block_ends);
    told.iter().map(written).collect()
}

fn windows() -> impl Strategy<Value = Assigner> {
    prop_oneof![
        (1..30i64).prop_map(|gap| Assigner::session(gap).unwrap()),
        (1..30i64, 0..30i64)
            .prop_map(|(size, offset)| Assigner::tumbling(size, offset % size).unwrap()),
        (1..30i64, 1..15i64, -30..30i64).prop_map(|(size, hop, offset)| Assigner::hopping(
            size,
            hop,
            offset % hop
        )
        .unwrap()),
    ]
}

/// Times near a watermark that mostly grows, and at times jumps to the end.
fn epochs() -> impl Strategy<Value = Vec<Epoch>> {
    let event = (prop::sample::select(vec!['a', 'b']), -40..30i64);
    let epoch = (-5..25i64, prop::collection::vec(event, 0..5), any::<bool>());
    prop::collection::vec(epoch, 1..25).prop_map(|epochs| {
        let mut watermark = -60;
        let mut epochs: Vec<Epoch> = epochs
            .into_iter()
            .map(|(step, events, block_ends)| {
                watermark += step;
                let events = events
                    .into_iter()
                    .map(|(key, behind)| (key, watermark + behind));
                (watermark, events.collect(), block_ends)
            })
            .collect();
        epochs.push((i64::MAX, Vec::new(), true));
        epochs
    })
}

proptest! {
    #[test]
    fn windows_are_those_of_a_plain_list_of_events(
        assigner in windows(), lateness in 0..40i64, epochs in epochs(),
    ) {
        let mut windows = KeyedWindows::new(assigner, lateness, ByEvent);
        let mut reference = Reference::new(assigner, lateness);
        for (at, epoch) in epochs.iter().enumerate() {
            prop_assert_eq!(apply(&mut windows, epoch), reference.apply(epoch), "epoch {}", at);
        }
        prop_assert!(windows.is_empty(), "nothing is left at the end of time");
    }

    #[test]
    fn the_order_within_an_epoch_changes_nothing(
        assigner in windows(), lateness in 0..40i64, epochs in epochs(), by_window in any::<bool>(),
    ) {
        let rule = if by_window { LateRule::ByWindow } else { ByEvent };
        let mut windows = KeyedWindows::new(assigner, lateness, rule);
        let mut other = windows.clone();
        for (watermark, mut events, block_ends) in epochs {
            let told = apply(&mut windows, &(watermark, events.clone(), block_ends));
            events.reverse();
            prop_assert_eq!(told, apply(&mut other, &(watermark, events, block_ends)));
        }
    }

    #[test]
    fn an_event_that_is_not_late_has_no_window_that_is_final(
        assigner in windows(), lateness in 0..40i64, watermark in -100..100i64, time in -100..100i64,
    ) {
        let lifecycle = Lifecycle::new(lateness, watermark);
        prop_assert_eq!(lifecycle.is_late(time), time < watermark - lateness);
        for window in assigner.windows(time) {
            prop_assert!(window.start_us <= time && time < window.end_us);
            prop_assert!(lifecycle.is_late(time) || lifecycle.stage(window.end_us) < Stage::Final);
        }
    }
}

#[test]
fn windows_that_were_merged_before_the_block_ends_are_not_mentioned() {
    let mut windows = KeyedWindows::new(Assigner::session(10).unwrap(), 0, ByEvent);
    let mut apply = |epoch: Epoch| apply(&mut windows, &epoch);
    assert!(apply((0, vec![('a', 0), ('a', 15)], false)).is_empty());
    assert!(apply((5, vec![('a', 8)], false)).is_empty());
    assert_eq!(apply((5, vec![], true)), ["0..25 [0, 8, 15] Open"]);
}

#[test]
fn a_window_that_becomes_final_within_a_block_is_told_at_its_end_and_merges_no_more() {
    let mut windows = KeyedWindows::new(Assigner::session(10).unwrap(), 0, ByEvent);
    let mut apply = |epoch: Epoch| apply(&mut windows, &epoch);
    assert!(apply((0, vec![('a', 0)], false)).is_empty());
    assert!(apply((10, vec![('a', 10)], false)).is_empty());
    let told = apply((12, vec![], true));
    assert_eq!(told, ["0..10 [0] Final", "10..20 [10] Open"]);
}

#[test]
fn sessions_of_two_keys_are_two() {
    let mut windows = KeyedWindows::new(Assigner::session(10).unwrap(), 0, ByEvent);
    let told = apply(&mut windows, &(0, vec![('b', 3), ('a', 0)], true));
    assert_eq!(told, ["0..10 [0] Open", "3..13 [3] Open"]);
}

#[test]
fn lengths_that_make_no_windows_are_refused() {
    let says = |made: Result<Assigner, BadWindows>| made.unwrap_err().to_string();
    assert_eq!(
        says(Assigner::tumbling(0, 0)),
        "a window's size, hop or gap must be above 0, but one is 0 µs"
    );
    assert_eq!(
        says(Assigner::hopping(10, 5, -5)),
        "an offset must be shorter than the hop of 5 µs, but it is -5 µs"
    );
    assert!(Assigner::hopping(10, -1, 0).is_err() && Assigner::session(-1).is_err());
}

/// Sessions as an operator on so many workers: what is told, by epoch, sorted.
fn told_by_operator(workers: usize) -> Vec<(u64, String)> {
    let mut records: Vec<_> = (1..40i64).map(|at| record(at as u64, at * 7)).collect();
    records[10] = record_within_block(11, 77);
    records.push(record(40, i64::MAX));
    let sends = move |worker: usize, epoch: u64| {
        // Everything is sent once, by whichever worker's turn it is.
        let events = (0..30u64).filter(move |at| (at + epoch) % workers as u64 == worker as u64);
        let last = epoch == 40;
        let events = events.filter(move |_| !last).map(move |at| {
            let behind = (at * 13 + epoch * 5) % 120;
            event(
                format!("key {}", at % 7),
                epoch as i64 * 7 - behind as i64 + 20,
            )
        });
        events.collect()
    };
    let out = run_epochs(workers, records, sends, |stream, epochs| {
        let windows = KeyedWindows::new(Assigner::session(9).unwrap(), 30, ByEvent);
        let owner = |key: &String| xxhash_rust::xxh3::xxh3_64(key.as_bytes());
        stream.window_by_key("sessions", windows, owner, epochs)
    });
    let mut told: Vec<_> = out
        .into_iter()
        .flatten()
        .map(|(epoch, told)| {
            let key = match &told {
                Told::Fired { key, .. } | Told::Gone { key, .. } => key.clone(),
                Told::Late(event) => event.key.clone(),
            };
            (epoch, format!("{key}: {}", written(&told)))
        })
        .collect();
    told.sort();
    told
}

#[test]
fn an_operator_tells_the_same_on_any_number_of_workers() {
    let one = told_by_operator(1);
    for what in ["gone", "late", "Open", "Closed", "Final"] {
        assert!(one.iter().any(|(_, told)| told.contains(what)), "{what}");
    }
    assert!(
        !one.iter()
            .any(|&(epoch, ref told)| epoch == 11 && !told.contains("late"))
    );
    assert_eq!(told_by_operator(2), one);
    assert_eq!(told_by_operator(4), one);
}
