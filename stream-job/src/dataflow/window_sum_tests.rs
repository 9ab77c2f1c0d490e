//! Sums: before they travel, and in windows, against a plain loop.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::dataflow::fixtures::span;
use crate::span::clean::{Status, StepType};

#[test]
fn spans_are_summed_per_key_and_minute_before_they_travel() {
    let mut sums = PreAggregate::default();
    let tools: [Cow<'static, str>; 2] = ["search".into(), "fetch".into()];
    for (at, tool) in tools.iter().cycle().take(6).enumerate() {
        let mut one = span();
        one.step_type = StepType::Act;
        one.tool_name = tool.clone();
        one.end_us = 59_999_999 + at as i64 / 4;
        one.duration_us = 1_000 * (at as u64 + 1);
        one.status = [Status::Ok, Status::Unset, Status::Error][at % 3];
        (one.input_tokens, one.output_tokens, one.cost_nanousd) = (1, 2, 3);
        sums.add(&one);
    }
    let mut taken = sums.take();
    taken.sort_by(|a, b| (&a.key, a.minute_s).cmp(&(&b.key, b.minute_s)));
    let found: Vec<_> = taken
        .iter()
        .map(|one| {
            let sums = &one.sums;
            (
                one.key.tool_name.as_str(),
                one.minute_s,
                sums.count,
                sums.errors,
                sums.duration_sum_us,
                sums.duration_max_us,
                sums.cost_nanousd,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("fetch", 0, 2, 0, 6_000, 4_000, 6),
            ("fetch", 60, 1, 1, 6_000, 6_000, 3),
            ("search", 0, 2, 1, 4_000, 3_000, 6),
            ("search", 60, 1, 0, 5_000, 5_000, 3),
        ]
    );
    assert!(
        taken
            .iter()
            .all(|one| one.sums.buckets.count() == one.sums.count)
    );
    assert!(sums.take().is_empty(), "taken once");
}

/// Tool, minute and count of a step partial.
type Step = (u8, i64, u64);

fn final_windows(epochs: &[Vec<Step>]) -> BTreeMap<(StepKey, WindowKind, i64), StepSums> {
    let mut windows = Windows::new(90 * SECOND_US, 100);
    let mut finals = BTreeMap::new();
    let least_later = |at: usize| {
        let later = epochs[at..].iter().flatten();
        later.map(|&(_, minute, _)| minute * 60).min()
    };
    let partials = |steps: &[Step]| {
        let one = |&(tool, minute, count): &Step| {
            partial(key("a", &tool.to_string()), minute * 60, count)
        };
        steps.iter().map(one).collect()
    };
    for (at, steps) in epochs.iter().enumerate() {
        // Nothing is late: the watermark is never beyond what is still to come, and the lateness.
        let watermark_us = least_later(at).map_or(i64::MAX, |s| (s + 90) * SECOND_US);
        let mut of_epoch = record(at as u64, watermark_us);
        of_epoch.dws_block_ends = at % 3 == 0 || at + 1 == epochs.len();
        take_finals(windows.apply(&of_epoch, partials(steps)), &mut finals);
    }
    take_finals(
        windows.apply(&record(1_000, i64::MAX), Vec::new()),
        &mut finals,
    );
    assert!(windows.is_empty());
    finals
}

fn take_finals(
    fired: Vec<FiredWindow>,
    finals: &mut BTreeMap<(StepKey, WindowKind, i64), StepSums>,
) {
    for window in fired {
        let at = (window.key.as_ref().clone(), window.kind, window.start_s);
        assert!(!finals.contains_key(&at), "fires after final: {at:?}");
        if window.is_final {
            finals.insert(at, window.sums);
        }
    }
}

fn naive(epochs: &[Vec<Step>]) -> BTreeMap<(StepKey, WindowKind, i64), StepSums> {
    let mut sums: BTreeMap<_, StepSums> = BTreeMap::new();
    for &(tool, minute, count) in epochs.iter().flatten() {
        let one = partial(key("a", &tool.to_string()), minute * 60, count);
        for kind in [Minute, FiveMinutes, Hour] {
            let hop = if kind == Hour { HOUR_S } else { MINUTE_S };
            let last = one.minute_s.div_euclid(hop) * hop;
            for start in (0..kind.length_s() / hop).map(|back| last - back * hop) {
                let at = (one.key.clone(), kind, start);
                sums.entry(at).or_default().merge(&one.sums);
            }
        }
    }
    sums
}

proptest! {
    #[test]
    fn any_split_over_epochs_without_lateness_gives_the_sums_of_a_plain_loop(
        epochs in proptest::collection::vec(
            proptest::collection::vec((0_u8..3, -70_i64..70, 1_u64..9), 0..6), 1..12),
    ) {
        prop_assert_eq!(final_windows(&epochs), naive(&epochs));
    }

    #[test]
    fn five_minutes_are_always_the_sum_of_their_five_panes(
        epochs in proptest::collection::vec(
            proptest::collection::vec((0_i64..12, 1_u64..9), 0..5), 1..10),
    ) {
        let mut windows = Windows::new(3_600 * SECOND_US, 10);
        let mut minutes = BTreeMap::new();
        for (at, steps) in (0_i64..).zip(&epochs) {
            let partials = steps.iter().map(|&(m, count)| partial(key("a", "t"), m * 60, count));
            let fired = windows.apply(&record(1, at * 90 * SECOND_US), partials.collect());
            let of = |kind| fired.iter().filter(move |window| window.kind == kind);
            minutes.extend(of(Minute).map(|window| (window.start_s, window.sums.count)));
            for window in of(FiveMinutes) {
                let panes = minutes.range(window.start_s..window.start_s + 300);
                prop_assert_eq!(window.sums.count, panes.map(|(_, count)| count).sum::<u64>());
            }
        }
    }
}
