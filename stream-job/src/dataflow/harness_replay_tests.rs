//! The same epoch log, other workers and cuts: the same bytes.

use super::*;

/// Traces over several messages and partitions, with errors, loops, duplicates and rejects.
pub(super) fn mixed() -> Recorded {
    let mut tape = Tape::new();
    let ids: Vec<[u8; 16]> = (1..=20).map(|n| [n; 16]).collect();
    for (at, trace_id) in (0_u64..).zip(&ids) {
        for step in 0..12_u8 {
            let id = [step + 1, trace_id[0], 1, 1, 1, 1, 1, 1];
            let end_s = at * 40 + u64::from(step) * 7;
            let parent = [1, trace_id[0], 1, 1, 1, 1, 1, 1];
            let kind = ["invoke_agent", "chat", "execute_tool"][usize::from(step.min(2))];
            let mut one = SpanView {
                parent_span_id: if step == 0 { &[] } else { &parent },
                status_code: if step == 5 { 2 } else { 0 },
                ..span(trace_id, &id, end_s)
            };
            one.attributes = vec![
                encode::text_attr("gen_ai.operation.name", kind),
                encode::text_attr("gen_ai.tool.name", "search"),
                encode::text_attr("gen_ai.tool.call.arguments", r#"{"q":1}"#),
            ];
            if step == 3 {
                one.attributes.push(encode::text_attr("session.id", "s1"));
            }
            let agent = ["shop", "desk", "lab"][at as usize % 3];
            let partition = (at as i32 + i32::from(step)) % PARTITIONS;
            tape.put_spans(partition, agent, &[one.clone()]);
            if step == 7 {
                tape.put_spans((partition + 1) % PARTITIONS, agent, &[one.clone()]);
                tape.put(SPANS, partition, Some(vec![0xff; 9]));
            }
        }
    }
    tape.finish()
}

#[test]
fn any_number_of_workers_writes_the_same_bytes_and_gives_the_same_alerts() {
    let recorded = mixed();
    let shards = |s: &mut Settings| s.sink_shards = 4;
    let (replay, first) = recorded.run("one", None, |s| {
        shards(s);
        (s.workers, s.epoch_records) = (1, 40);
        s.dws_block_interval = s.epoch_interval * 2;
    });
    assert!(replay.epochs.len() > 5);
    let counted = first.counted();
    assert_eq!(counted[1..4], [240, 20, 0]);
    let outcome = first.outcome();
    for table in [
        "dws_step_5m",
        "dws_trace",
        "dws_session",
        "ads_top_error",
        "ads_top_slow",
        "ads_anomaly",
        "ads_freshness",
    ] {
        assert!(outcome.keys().any(|id| id.0 == table), "no {table}");
    }
    let alerts = first.alerts();
    assert_eq!(alerts.len() as u64, first.rows("ads_anomaly"));
    for workers in [2, 3, 4] {
        let name = format!("{workers} workers");
        let (again, memory) = recorded.run(&name, Some(&replay), |s| {
            shards(s);
            (s.workers, s.epoch_records) = (workers, 40);
        });
        assert!(
            again.epochs.is_empty(),
            "what is followed is not written again"
        );
        assert_eq!(memory.counted(), counted, "{name}");
        assert_eq!(memory.alerts(), alerts, "{name}");
        assert!(
            memory.outcome() == outcome,
            "{name}: {}",
            differing(&memory.outcome(), &outcome)
        );
    }
}

#[test]
fn a_log_is_followed_whatever_epochs_one_would_cut_oneself() {
    let recorded = mixed();
    let (replay, first) = recorded.run("first", None, |s| s.epoch_records = 64);
    for epoch_records in [4, 10_000] {
        let name = epoch_records.to_string();
        let (_, memory) = recorded.run(&name, Some(&replay), |s| s.epoch_records = epoch_records);
        assert!(memory.outcome() == first.outcome(), "{name}");
    }
}

pub(super) fn differing(one: &Outcome, other: &Outcome) -> String {
    let ids = one.keys().chain(other.keys());
    let differ: std::collections::BTreeSet<_> =
        ids.filter(|id| one.get(id) != other.get(id)).collect();
    format!("{differ:?}")
}
