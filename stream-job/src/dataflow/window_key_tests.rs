//! The cap on the keys of an agent.

use super::*;

fn tools_after(windows: &mut Windows, epoch: u64, tools: &[&str]) -> Vec<String> {
    let comes = tools.iter().map(|tool| partial(key("a", tool), 0, 1));
    let fired = windows.apply(&record(epoch, 0), comes.collect());
    let minutes = fired.iter().filter(|window| window.kind == Minute);
    minutes
        .map(|window| format!("{}:{}", window.key.tool_name, window.sums.count))
        .collect()
}

#[test]
fn the_key_cap_takes_the_first_in_key_order_whatever_order_they_arrive_in() {
    for arrival in [["x", "c", "a", "b"], ["b", "a", "c", "x"]] {
        let mut windows = Windows::new(0, 2);
        let found = tools_after(&mut windows, 1, &arrival);
        assert_eq!(found, ["__overflow__:2", "a:1", "b:1"]);
        // A key that was admitted stays, one that was not stays out, in later epochs too.
        let found = tools_after(&mut windows, 2, &["a", "0", "c"]);
        assert_eq!(found, ["__overflow__:4", "a:2"]);
    }
}

#[test]
fn an_agents_cap_is_its_own_and_overflow_keeps_the_step_type() {
    let mut windows = Windows::new(0, 1);
    let think = StepKey {
        step_type: "think".to_owned(),
        model: "m".to_owned(),
        ..key("a", "")
    };
    let comes = [key("a", "t"), think, key("b", "t")].map(|key| partial(key, 0, 1));
    let fired = windows.apply(&record(1, 0), comes.to_vec());
    let found: Vec<_> = fired
        .iter()
        .filter(|window| window.kind == Minute)
        .map(|window| {
            let StepKey {
                agent,
                step_type,
                tool_name,
                model,
            } = window.key.as_ref();
            [agent, step_type, tool_name, model].map(String::as_str)
        })
        .collect();
    assert_eq!(
        found,
        [
            ["a", "act", "t", ""],
            ["a", "think", OVERFLOW, OVERFLOW],
            ["b", "act", "t", ""],
        ]
    );
}

#[test]
fn keys_are_given_back_when_all_of_their_windows_are_gone() {
    let mut windows = Windows::new(0, 1);
    assert_eq!(tools_after(&mut windows, 1, &["a"]), ["a:1"]);
    assert_eq!(tools_after(&mut windows, 2, &["b"]), ["__overflow__:1"]);
    windows.apply(&record(3, 3_600 * SECOND_US), Vec::new());
    assert!(windows.is_empty());
    let comes = vec![partial(key("a", "b"), 7_200, 1)];
    let fired = windows.apply(&record(4, 3_600 * SECOND_US), comes);
    assert!(fired.iter().all(|window| window.key.tool_name == "b"));
}

#[test]
fn a_tool_that_calls_itself_overflow_takes_no_place_for_ever() {
    let mut windows = Windows::new(0, 1);
    for round in 0..3 {
        let hour_s = round * 7_200;
        let named = StepKey {
            model: OVERFLOW.to_owned(),
            ..key("a", OVERFLOW)
        };
        let comes = vec![
            partial(named, hour_s, 1),
            partial(key("a", "real"), hour_s, 1),
        ];
        let fired = windows.apply(&record(1, hour_s * SECOND_US), comes);
        assert!(fired.iter().any(|window| window.key.tool_name == "real"));
        windows.apply(&record(2, (hour_s + 3_600) * SECOND_US), Vec::new());
        assert!(windows.keys_of_agent.is_empty());
    }
}
