//! Dead letters that are sent again.

use super::*;
use crate::dataflow::replays::REPLAY_OF;

const LETTER: &str = "otlp_spans/9/4";

fn put_replay(tape: &mut Tape, partition: i32, payload: Vec<u8>) {
    let headers = vec![(REPLAY_OF.to_owned(), Some(LETTER.as_bytes().to_vec()))];
    tape.put_with(SPANS, partition, headers, Some(payload));
}

#[test]
fn of_the_replays_of_a_dead_letter_one_lands_however_it_was_repaired_and_wherever_it_comes() {
    let mut tape = Tape::new();
    let repaired = |n: u8| message("shop", &[span(&[n; 16], &[n; 8], u64::from(n))]);
    let torn = repaired(1)[..20].to_vec();
    // Rejected again, so that it stands for nothing; then repaired in three ways, and one that is nobody's replay.
    put_replay(&mut tape, 0, torn);
    put_replay(&mut tape, 0, repaired(1));
    put_replay(&mut tape, 0, repaired(2));
    put_replay(&mut tape, 3, repaired(3));
    tape.put_spans(0, "shop", &[span(&[4; 16], &[4; 8], 4)]);
    let recorded = tape.finish();
    for (name, epoch_records, workers) in [("one", 100, 1), ("many", 1, 2)] {
        let (_, memory) = recorded.run(name, None, |s| {
            (s.epoch_records, s.workers) = (epoch_records, workers);
        });
        assert_eq!(memory.counted(), [5, 2, 2, 0, 0], "{name}");
        assert_eq!(memory.rows("dwd_span"), 2, "{name}");
        assert_eq!(memory.rows("ods_record"), 5, "{name}");
        assert_eq!(memory.rows("ods_dead_letter"), 1, "{name}");
    }
}
