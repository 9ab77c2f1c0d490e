#![allow(clippy::unwrap_used)]

use super::FlagState::{Open, Resolved, Updated};
use super::*;
use crate::dataflow::buckets::Buckets;
use crate::dataflow::session::Loop;
use crate::dataflow::trace_summary::{SessionKey, ToolCall};
use crate::dataflow::window::StepSums;

#[path = "anomaly_correction_tests.rs"]
mod correction;
#[path = "anomaly_traffic_tests.rs"]
mod traffic;

const RULES: AnomalyRules = AnomalyRules {
    baseline_windows: 30,
    min_windows: 10,
    min_count: 20,
    error_score: 6.0,
    latency_score: 6.0,
};

fn key() -> StepKey {
    StepKey {
        agent: "shop".to_owned(),
        step_type: "act".to_owned(),
        tool_name: "search".to_owned(),
        model: String::new(),
    }
}

/// The closed window of a minute in which `count` steps of `duration_us` each came, `errors` of them failed.
fn window(minute: i64, count: u64, errors: u64, duration_us: u64) -> FiredWindow {
    let mut sums = StepSums {
        count,
        errors,
        ..StepSums::default()
    };
    for _ in 0..count {
        sums.buckets.add(duration_us);
    }
    FiredWindow {
        key: Arc::new(key()),
        kind: WindowKind::Minute,
        start_s: minute * MINUTE_S,
        sums,
        closed: true,
        is_final: false,
    }
}

/// A window like any other: 40 steps of 100 ms, one failed.
fn usual(minute: i64) -> FiredWindow {
    window(minute, 40, 1, 100_000)
}

fn after_usual(minutes: i64) -> Anomalies {
    let mut anomalies = Anomalies::new(RULES);
    for minute in 0..minutes {
        assert!(judge(&mut anomalies, usual(minute)).is_empty());
    }
    anomalies
}

fn judge(anomalies: &mut Anomalies, window: FiredWindow) -> Vec<Flag> {
    anomalies.judge(vec![window], i64::MIN)
}

fn only(flags: Vec<Flag>) -> Flag {
    match <[Flag; 1]>::try_from(flags) {
        Ok([flag]) => flag,
        Err(flags) => panic!("expected one flag, got {flags:?}"),
    }
}

fn states(flags: &[Flag]) -> Vec<(&str, FlagState)> {
    flags
        .iter()
        .map(|flag| (flag.detector.as_str(), flag.state))
        .collect()
}

#[test]
fn a_spike_of_errors_is_flagged_with_what_it_rests_on() {
    let mut anomalies = after_usual(30);
    let flag = only(judge(&mut anomalies, window(30, 40, 24, 100_000)));
    assert_eq!((flag.detector.as_str(), flag.state), ("error_rate", Open));
    assert_eq!(flag.severity, "critical");
    assert_eq!(flag.key, key());
    assert_eq!((flag.window_start_s, flag.window_end_s), (1_800, 1_860));
    assert!((flag.value - 0.6).abs() < 1e-9, "{flag:?}");
    assert!((flag.expected - 30.5 / 1_210.0).abs() < 1e-6, "{flag:?}");
    assert!(flag.score > 12.0, "{flag:?}");
    let p95 = format!(
        "p95_us={}",
        window(0, 1, 0, 100_000).sums.buckets.quantile(0.95)
    );
    let expected = [
        "count=40",
        "errors=24",
        &p95,
        "baseline_windows=30",
        "threshold=6",
    ];
    assert_eq!(flag.evidence, expected);
    assert_eq!(
        flag.message,
        "shop's act search failed in 24 of 40 calls (60.0 %) within one minute; \
         2.5 % is usual over its last 30 windows."
    );
    assert!((flag.session_id + &flag.trace_id).is_empty());
    assert_eq!(flag.anomaly_id.len(), 32);
}

#[test]
fn a_spike_of_latency_is_flagged_with_what_it_rests_on() {
    let mut anomalies = after_usual(30);
    let flag = only(judge(&mut anomalies, window(30, 40, 1, 2_000_000)));
    assert_eq!((flag.detector.as_str(), flag.state), ("latency_p95", Open));
    assert!((flag.value / 2_000_000.0 - 1.0).abs() < 0.01, "{flag:?}");
    assert!((flag.expected / 100_000.0 - 1.0).abs() < 0.01, "{flag:?}");
    // ln 20 in units of the least deviation, 0.1.
    assert!((flag.score - 30.0).abs() < 0.5, "{flag:?}");
    assert!(
        flag.message.starts_with("shop's act search took 1.993 s "),
        "{}",
        flag.message
    );
    assert!(flag.message.ends_with("is usual over its last 30 windows."));
}

#[test]
fn a_flag_opens_is_updated_and_resolves_under_one_id() {
    let mut anomalies = after_usual(30);
    let flags: Vec<_> = [(30, 24), (31, 30), (32, 1), (33, 1)]
        .into_iter()
        .flat_map(|(minute, errors)| judge(&mut anomalies, window(minute, 40, errors, 100_000)))
        .collect();
    let expected = [Open, Updated, Resolved].map(|state| ("error_rate", state));
    assert_eq!(states(&flags), expected);
    assert!(
        flags
            .iter()
            .all(|flag| flag.anomaly_id == flags[0].anomaly_id)
    );
    assert!(flags.iter().all(|flag| flag.window_start_s == 1_800));
    assert_eq!(flags[1].window_end_s, 1_920);
    assert!((flags[1].value - 0.75).abs() < 1e-9);
    // What resolved it is not part of it.
    assert_eq!(
        (flags[2].window_end_s, flags[2].value),
        (1_920, flags[1].value)
    );
}

#[test]
fn both_detectors_may_flag_one_window_under_ids_of_their_own() {
    let mut anomalies = after_usual(30);
    let flags = judge(&mut anomalies, window(30, 40, 30, 5_000_000));
    let mut found = states(&flags);
    found.sort_by_key(|(detector, _)| *detector);
    assert_eq!(found, [("error_rate", Open), ("latency_p95", Open)]);
    assert_ne!(flags[0].anomaly_id, flags[1].anomaly_id);
}

#[test]
fn ids_are_the_same_in_every_run_and_differ_by_key_and_window() {
    let id = |minute: i64, tool: &str| {
        let mut anomalies = Anomalies::new(RULES);
        let named = |mut window: FiredWindow| {
            let key = StepKey {
                tool_name: tool.to_owned(),
                ..key()
            };
            window.key = Arc::new(key);
            window
        };
        let before = (0..minute).map(|minute| named(usual(minute)));
        assert!(anomalies.judge(before.collect(), i64::MIN).is_empty());
        only(judge(
            &mut anomalies,
            named(window(minute, 40, 30, 100_000)),
        ))
        .anomaly_id
    };
    assert_eq!(id(30, "search"), id(30, "search"));
    assert_ne!(id(30, "search"), id(31, "search"));
    assert_ne!(id(30, "search"), id(30, "fetch"));
}

#[test]
fn nothing_is_flagged_before_the_baseline_has_its_windows() {
    for (windows, flagged) in [(0, false), (9, false), (10, true)] {
        let mut anomalies = after_usual(windows);
        let flags = judge(&mut anomalies, window(windows, 40, 40, 9_000_000));
        assert_eq!(!flags.is_empty(), flagged, "{windows} windows");
    }
}

#[test]
fn a_window_with_few_steps_is_not_judged() {
    for (count, flagged) in [(19, false), (20, true)] {
        let mut anomalies = after_usual(30);
        let flags = judge(&mut anomalies, window(30, count, count, 9_000_000));
        assert_eq!(!flags.is_empty(), flagged, "{count} steps");
    }
}

#[test]
fn only_closed_minutes_are_judged() {
    let mut anomalies = after_usual(30);
    let spike = window(30, 40, 40, 9_000_000);
    let others = [
        FiredWindow {
            closed: false,
            ..spike.clone()
        },
        FiredWindow {
            kind: WindowKind::FiveMinutes,
            ..spike.clone()
        },
        FiredWindow {
            kind: WindowKind::Hour,
            ..spike
        },
    ];
    assert!(anomalies.judge(others.to_vec(), i64::MIN).is_empty());
}

#[test]
fn a_small_change_of_a_very_steady_key_is_not_flagged() {
    let mut anomalies = Anomalies::new(RULES);
    for minute in 0..30 {
        judge(&mut anomalies, window(minute, 5_000, 0, 100_000));
    }
    // 4 % errors after none at all, and 40 % slower: certain, and of no interest.
    assert!(judge(&mut anomalies, window(30, 5_000, 200, 140_000)).is_empty());
}

#[test]
fn a_new_level_becomes_normal_in_the_end() {
    let mut anomalies = after_usual(40);
    let flags: Vec<_> = (40..140)
        .flat_map(|minute| judge(&mut anomalies, window(minute, 40, 20, 900_000)))
        .collect();
    let last = flags.iter().map(|flag| flag.window_end_s).max().unwrap();
    assert!(
        last <= (40 + 31) * MINUTE_S,
        "it is normal after a baseline's length"
    );
    let resolved = flags.iter().filter(|flag| flag.state == Resolved);
    assert_eq!(resolved.count(), 2, "one flag of each detector, resolved");
    assert_eq!(flags.iter().filter(|flag| flag.state == Open).count(), 2);
    // And the old level, now that the new one is usual, is as good as any lower one: not flagged.
    assert!(judge(&mut anomalies, usual(140)).is_empty());
    // A spike over the new level is.
    assert!(!judge(&mut anomalies, window(141, 40, 40, 9_000_000)).is_empty());
}

#[test]
fn a_key_that_falls_silent_is_forgotten_and_its_flag_resolved() {
    let mut anomalies = after_usual(30);
    let opened = only(judge(&mut anomalies, window(30, 40, 30, 100_000)));
    assert!(anomalies.judge(Vec::new(), 1_800).is_empty());
    let flag = only(anomalies.judge(Vec::new(), 1_801));
    assert_eq!(flag.anomaly_id, opened.anomaly_id);
    assert_eq!((flag.state, flag.window_end_s), (Resolved, 1_860));
    assert!(anomalies.keys.is_empty());
}

#[test]
fn a_block_tells_of_a_flag_once_as_it_stands_in_the_end() {
    let mut anomalies = after_usual(30);
    let fired = vec![window(30, 40, 30, 100_000), usual(31)];
    assert_eq!(only(anomalies.judge(fired, i64::MIN)).state, Resolved);
    let mut anomalies = after_usual(30);
    let fired = vec![window(31, 40, 30, 100_000), window(30, 40, 30, 100_000)];
    assert_eq!(only(anomalies.judge(fired, i64::MIN)).state, Updated);
    // A flag that opens in the block in which its key is forgotten.
    let mut anomalies = after_usual(30);
    let fired = vec![window(30, 40, 30, 100_000)];
    assert_eq!(only(anomalies.judge(fired, 10_000)).state, Resolved);
}

fn found(calls: i64, tool: &str) -> Loop {
    let call = |at: i64| ToolCall {
        place: ((100 + at) * 1_000_000 + 7, at as u64),
        end_us: (100 + at) * 1_000_000 + 500_000,
        tool_name: tool.to_owned(),
        args_hash: 0xabc,
    };
    Loop {
        calls: (0..calls).map(call).collect(),
        trace_id: 0xfeed,
    }
}

fn session() -> SessionKey {
    SessionKey {
        namespace: "ns".to_owned(),
        session_id: "s1".to_owned(),
    }
}

#[test]
fn a_loop_is_flagged_with_its_calls_as_evidence() {
    let flag = loop_flag(
        &session(),
        "shop",
        &found(12, "search"),
        5,
        100_000_007,
        true,
    )
    .unwrap();
    assert_eq!((flag.detector.as_str(), flag.state), ("loop", Open));
    assert_eq!(flag.severity, "critical");
    assert_eq!((flag.window_start_s, flag.window_end_s), (100, 112));
    assert!((flag.value - 12.0).abs() < 1e-9 && (flag.score - 2.4).abs() < 1e-9);
    assert_eq!(flag.session_id, "s1");
    assert_eq!(flag.trace_id, "0000000000000000000000000000feed");
    assert_eq!(flag.evidence.len(), 10);
    assert_eq!(flag.evidence[9], "span_id=0000000000000009");
    assert_eq!(
        flag.message,
        "shop called search 12 times in a row with equal arguments in session s1."
    );
    assert!(loop_flag(&session(), "shop", &found(0, ""), 5, 0, true).is_none());
}

#[test]
fn a_loops_id_stays_as_it_grows_and_as_its_session_learns_its_agent() {
    let id = |agent: &str, calls, opened_us, session: &SessionKey| {
        let found = found(calls, "search");
        let flag = loop_flag(session, agent, &found, 5, opened_us, false).unwrap();
        assert_eq!(flag.state, Updated);
        flag.anomaly_id
    };
    assert_eq!(
        id("shop", 5, 7, &session()),
        id("planner", 9, 7, &session())
    );
    assert_ne!(id("shop", 5, 7, &session()), id("shop", 5, 8, &session()));
    let other = SessionKey {
        session_id: "s2".to_owned(),
        ..session()
    };
    assert_ne!(id("shop", 5, 7, &session()), id("shop", 5, 7, &other));
}

#[test]
fn buckets_of_a_window_are_those_of_its_steps() {
    let mut expected = Buckets::new();
    expected.add_to(crate::dataflow::buckets::bucket_of(100_000), 40);
    assert_eq!(usual(0).sums.buckets, expected);
}
