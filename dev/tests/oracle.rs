//! Our windows against what Apache Flink answered when it was asked (`make oracle` asks it again). No JVM is needed here.
#![allow(clippy::unwrap_used)]

use dev::oracle::{
    Answer, Compared, Done, Late, Recorded, Transcript, Windows, compare, corpus_path, read_lines,
    rules_apart, transcript,
};

fn corpus() -> Vec<Recorded> {
    read_lines(&corpus_path()).unwrap()
}

fn difference(transcript: &Transcript, flink: &Answer) -> Option<String> {
    compare(transcript, flink).unwrap().1
}

#[test]
fn our_windows_do_what_flink_did() {
    let mut total = Compared::default();
    for Recorded { transcript, flink } in corpus() {
        let (compared, difference) = compare(&transcript, &flink).unwrap();
        total.add(compared);
        let text = serde_json::to_string(&transcript).unwrap();
        assert_eq!(difference, None, "in {text}");
    }
    assert!(total.firings > 1_000 && total.finals > 500, "{total:?}");
    assert!(total.late > 100 && total.merged > 50, "{total:?}");
    assert!(total.of_job > 5, "{total:?}");
}

#[test]
fn an_answer_that_is_changed_anywhere_differs() {
    let changes: [fn(&mut Done) -> bool; 5] = [
        |done| done.fired.pop().is_some(),
        |done| done.dropped.pop().is_some(),
        |done| done.gone.pop().is_some(),
        |done| done.late.pop().is_some(),
        |done| {
            let fired = done.fired.last_mut();
            fired.is_some_and(|fired| fired.elements.pop().is_some())
        },
    ];
    let mut changed = [0; 5];
    for Recorded { transcript, flink } in corpus().iter().rev().take(40) {
        for (at, change) in changes.iter().enumerate() {
            let mut other = flink.clone();
            // The first step that can be changed in this way.
            if other.steps.iter_mut().any(change) {
                changed[at] += 1;
                assert!(difference(transcript, &other).is_some(), "change {at}");
            }
        }
    }
    assert!(changed.iter().all(|&n| n > 3), "{changed:?}");
}

#[test]
fn our_rule_of_what_is_late_turns_away_what_flink_would_count_and_nothing_else() {
    let corpus = corpus();
    let by = |late| {
        let of_rule = corpus.iter().filter(move |one| one.transcript.late == late);
        of_rule.map(|one| (one.transcript.id, one))
    };
    let mut more = 0;
    for (id, by_event) in by(Late::ByEvent) {
        let Some((_, by_window)) = by(Late::ByWindow).find(|(other, _)| *other == id) else {
            continue;
        };
        let apart = rules_apart(&by_event.transcript, &by_event.flink, &by_window.flink).unwrap();
        more += apart.counted_by_flink;
    }
    assert!(more > 10, "the corpus must show the difference: {more}");
}

#[test]
fn equal_seeds_give_equal_transcripts_of_every_kind() {
    let all = |seed| {
        (0..60)
            .map(move |id| transcript(seed, id))
            .collect::<Vec<_>>()
    };
    assert_eq!(all(7), all(7));
    assert_ne!(all(7), all(8));
    let has = |is: fn(&Windows) -> bool| all(7).iter().any(|one| is(&one.windows));
    assert!(has(|windows| matches!(windows, Windows::Tumbling { .. })));
    assert!(has(|windows| matches!(windows, Windows::Hopping { .. })));
    assert!(has(|windows| matches!(windows, Windows::Session { .. })));
    assert!(all(7).iter().any(|one| one.of_job));
}
