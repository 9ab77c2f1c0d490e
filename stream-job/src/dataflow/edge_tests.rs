use super::*;
use crate::dataflow::fixtures::record as epoch_record;

const LATENESS_US: i64 = 60_000_000;

fn at(epoch: u64, watermark_s: i64) -> EpochRecord {
    EpochRecord {
        dws_block_ends: true,
        ..epoch_record(epoch, watermark_s * 1_000_000)
    }
}

fn change(minute_s: i64, tool: &str, count: i64) -> EdgePartial {
    let edge = Edge {
        agent: "planner",
        minute_s,
        from: (StepKind::Think, ""),
        to: (StepKind::Act, tool),
    };
    let sums = EdgeSums {
        count,
        gap_sum_us: count * 5,
        ..EdgeSums::default()
    };
    EdgePartial {
        key: EdgeKey::from(&edge),
        sums,
    }
}

fn told(updates: &[EdgeUpdate]) -> Vec<(i64, &str, i64, bool)> {
    let told = |update: &EdgeUpdate| update.sums.count;
    updates
        .iter()
        .map(|update| {
            (
                update.minute_s,
                update.to.as_str(),
                told(update),
                update.is_final,
            )
        })
        .collect()
}

#[test]
fn a_transition_is_counted_corrected_and_taken_back_until_its_window_is_final() {
    let mut edges = Edges::new(LATENESS_US, 100);
    let told_of = edges.apply(
        &at(1, 0),
        vec![change(0, "search", 2), change(0, "book", 1)],
    );
    assert_eq!(
        told(&told_of),
        [(0, "act:book", 1, false), (0, "act:search", 2, false)]
    );
    let told_of = edges.apply(
        &at(2, 60),
        vec![change(0, "search", -2), change(0, "book", 3)],
    );
    assert_eq!(
        told(&told_of),
        [(0, "act:book", 4, false), (0, "act:search", 0, false)]
    );
    assert!(edges.apply(&at(3, 119), vec![]).is_empty());
    let told_of = edges.apply(&at(4, 120), vec![change(0, "book", 1)]);
    assert_eq!(
        told(&told_of),
        [(0, "act:book", 5, true)],
        "what is gone is not told of again"
    );
    assert!(edges.is_empty());
    assert!(
        edges
            .apply(&at(5, 121), vec![change(0, "book", 1)])
            .is_empty()
    );
}

#[test]
fn what_came_and_went_within_a_block_is_not_told_of() {
    let mut edges = Edges::new(LATENESS_US, 100);
    assert!(
        edges
            .apply(&at(1, 0), vec![change(0, "a", 1), change(0, "a", -1)])
            .is_empty()
    );
}

#[test]
fn at_the_end_of_time_what_still_came_is_final_with_the_rest() {
    let mut edges = Edges::new(LATENESS_US, 100);
    let end = EpochRecord {
        watermark_us: i64::MAX,
        ..at(1, 0)
    };
    let told_of = edges.apply(&end, vec![change(60, "a", 1)]);
    assert_eq!(told(&told_of), [(60, "act:a", 1, true)]);
}

#[test]
fn beyond_the_cap_transitions_are_counted_together_whoever_sent_them_first() {
    for order in [["a", "b", "c"], ["c", "b", "a"]] {
        let mut edges = Edges::new(LATENESS_US, 1);
        let partials = order.iter().map(|tool| change(0, tool, 1)).collect();
        let told_of = edges.apply(&at(1, 0), partials);
        assert_eq!(
            told(&told_of),
            [(0, "act:a", 1, false), (0, OVERFLOW, 2, false)]
        );
        let told_of = edges.apply(&at(2, 0), vec![change(0, "c", -1)]);
        assert_eq!(told(&told_of), [(0, OVERFLOW, 1, false)]);
    }
}

#[test]
fn a_fork_tells_every_transition_again() {
    let mut edges = Edges::new(LATENESS_US, 100);
    edges.apply(&at(1, 0), vec![change(0, "a", 1)]);
    let again = EpochRecord {
        tells_all: true,
        ..at(2, 0)
    };
    assert_eq!(told(&edges.apply(&again, vec![])), [(0, "act:a", 1, false)]);
}
