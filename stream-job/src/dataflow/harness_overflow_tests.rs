//! The cap on the keys of an agent, through the whole dataflow.

use super::*;

const STEPS: [&str; 3] = ["dws_step_1m", "dws_step_5m", "dws_step_1h"];

fn call(tape: &mut Tape, partition: i32, number: u8, tool: &str) {
    let id = [number, partition as u8 + 1, 1, 1, 1, 1, 1, 1];
    let mut one = span(&[1; 16], &id, u64::from(number));
    one.attributes = vec![
        encode::text_attr("gen_ai.operation.name", "execute_tool"),
        encode::text_attr("gen_ai.tool.name", tool),
    ];
    tape.put_spans(partition, "shop", &[one]);
}

/// One agent whose tools come from all partitions, in each epoch other ones, and in no order.
fn many_tools() -> Recorded {
    let mut tape = Tape::new();
    for partition in 0..PARTITIONS {
        for (number, tool) in (1..).zip([9, 4, 7, 2, 8, 0, 5, 1, 6, 3]) {
            // The first five records of every partition are in the first epoch.
            let batch = if number <= 5 { "m" } else { "a" };
            let tool = format!("tool-{batch}{}", (tool + partition * 3) % 10);
            call(&mut tape, partition, number, &tool);
        }
    }
    tape.finish()
}

#[test]
fn which_keys_an_agent_has_is_decided_in_the_order_of_epoch_and_key_by_any_number_of_workers() {
    let recorded = many_tools();
    let shape = |s: &mut Settings, workers| {
        // Shared by the partitions of both topics: five each.
        (s.workers, s.epoch_records) = (workers, 5 * 2 * PARTITIONS as u32);
        (s.sink_shards, s.max_keys_per_agent) = (4, 3);
    };
    let (replay, one) = recorded.run("one", None, |s| shape(s, 1));
    let read = |epoch: usize| replay.epochs[epoch].positions.last().unwrap().next_offset;
    assert_eq!([read(0), read(1)], [5, 10]);
    for table in STEPS {
        // The first epoch has the places, although its keys are behind those of the second in their own order.
        for tool in ["tool-m0", "tool-m1", "tool-m2", "__overflow__"] {
            assert!(one.says(table, tool), "{tool} in {table}");
        }
        for tool in ["tool-m3", "tool-m9", "tool-a"] {
            assert!(!one.says(table, tool), "{tool} in {table}");
        }
    }
    for workers in [2, 4] {
        let name = format!("with {workers}");
        let (_, other) = recorded.run(&name, Some(&replay), |s| shape(s, workers));
        assert_eq!(other.outcome(), one.outcome(), "{workers} workers");
    }
}
