//! Windows that fire again: corrected by late spans, or final.

use super::*;

fn is_final(window: FiredWindow) -> FiredWindow {
    FiredWindow {
        is_final: true,
        ..window
    }
}

#[test]
fn late_spans_correct_the_newest_flagged_window_and_take_the_flag_back() {
    let mut anomalies = after_usual(30);
    let opened = only(judge(&mut anomalies, window(30, 40, 24, 100_000)));
    let more = only(judge(&mut anomalies, window(30, 50, 30, 100_000)));
    assert_eq!(
        (more.state, &more.anomaly_id),
        (Updated, &opened.anomaly_id)
    );
    assert_eq!(more.evidence[0], "count=50");
    let back = only(judge(&mut anomalies, window(30, 1_000, 30, 100_000)));
    assert_eq!(
        (back.state, &back.anomaly_id),
        (Resolved, &opened.anomaly_id)
    );
}

#[test]
fn late_spans_make_the_newest_window_anomalous() {
    let mut anomalies = after_usual(31);
    let flag = only(judge(&mut anomalies, window(30, 80, 40, 100_000)));
    assert_eq!((flag.state, flag.window_start_s), (Open, 1_800));
}

#[test]
fn late_spans_make_an_older_window_anomalous_and_the_flag_is_over_already() {
    let mut anomalies = after_usual(40);
    let flag = only(judge(&mut anomalies, window(35, 80, 40, 100_000)));
    assert_eq!((flag.state, flag.window_start_s), (Resolved, 2_100));
    assert!(
        judge(&mut anomalies, usual(40)).is_empty(),
        "nothing is open"
    );
}

#[test]
fn a_corrected_older_window_leaves_a_flag_alone_that_later_windows_carry() {
    let mut anomalies = after_usual(30);
    for minute in 30..33 {
        judge(&mut anomalies, window(minute, 40, 30, 100_000));
    }
    assert!(judge(&mut anomalies, window(30, 2_000, 30, 100_000)).is_empty());
    assert!(judge(&mut anomalies, window(31, 41, 31, 100_000)).is_empty());
    assert!(judge(&mut anomalies, window(20, 41, 1, 100_000)).is_empty());
    let flag = only(judge(&mut anomalies, window(33, 40, 30, 100_000)));
    assert_eq!((flag.state, flag.window_start_s), (Updated, 1_800));
}

#[test]
fn becoming_final_changes_no_flag() {
    let mut anomalies = after_usual(30);
    judge(&mut anomalies, window(30, 40, 30, 100_000));
    assert_eq!(only(judge(&mut anomalies, usual(31))).state, Resolved);
    let again = (0..30)
        .map(usual)
        .chain([window(30, 40, 30, 100_000), usual(31)]);
    let again: Vec<_> = again.map(is_final).collect();
    for window in again.clone() {
        assert!(judge(&mut anomalies, window).is_empty());
    }
    assert!(anomalies.judge(again, i64::MIN).is_empty());
}

#[test]
fn an_incident_longer_than_the_lateness_is_one_flag() {
    let mut anomalies = after_usual(30);
    let mut flags = Vec::new();
    for minute in 30..45 {
        flags.extend(judge(&mut anomalies, window(minute, 40, 30, 100_000)));
        // Windows of ten minutes ago become final meanwhile.
        let past = minute - 10;
        let past = if past < 30 {
            usual(past)
        } else {
            window(past, 40, 30, 100_000)
        };
        flags.extend(judge(&mut anomalies, is_final(past)));
    }
    assert_eq!(flags.len(), 15);
    assert!(
        flags
            .iter()
            .all(|flag| flag.anomaly_id == flags[0].anomaly_id)
    );
    assert!(flags[1..].iter().all(|flag| flag.state == Updated));
}

#[test]
fn a_window_older_than_the_baseline_is_let_go() {
    let mut anomalies = after_usual(60);
    assert!(judge(&mut anomalies, window(10, 400, 400, 9_000_000)).is_empty());
    assert!(judge(&mut anomalies, usual(60)).is_empty());
    let held = &anomalies.keys[&key()].windows;
    assert_eq!(held.len(), RULES.baseline_windows + 1);
    assert_eq!(held.keys().next(), Some(&(30 * MINUTE_S)));
}
