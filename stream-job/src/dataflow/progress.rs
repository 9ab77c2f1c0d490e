//! How far a bounded run has come, in the log every few seconds.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::ops::metrics::Metrics;
use crate::source::kafka::Range;

const EVERY: Duration = Duration::from_secs(5);

/// Says so until it is dropped.
pub(super) struct ProgressLog {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ProgressLog {
    pub(super) fn start(ranges: Vec<Range>, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let began = Instant::now();
        let thread = std::thread::Builder::new()
            .name("progress".into())
            .spawn(move || {
                while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                    let spans = metrics.spans_in.get();
                    tracing::info!("{}", said(&ranges, &metrics, spans, began.elapsed()));
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for ProgressLog {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic of it has been reported by the hook.
            let _ = thread.join();
        }
    }
}

fn said(ranges: &[Range], metrics: &Metrics, spans: u64, elapsed: Duration) -> String {
    let (mut read, mut all) = (0, 0);
    for Range { begin, end_offset } in ranges {
        let labels: [&str; 2] = [&begin.topic, &begin.partition.to_string()];
        let at = metrics.partition_offset.with(&labels).get();
        all += end_offset - begin.next_offset;
        read += at.clamp(begin.next_offset, *end_offset) - begin.next_offset;
    }
    let seconds = elapsed.as_secs_f64().max(0.001);
    let share = if all == 0 {
        1.0
    } else {
        read as f64 / all as f64
    };
    let remaining = match share {
        0.0 => "unknown".to_owned(),
        share => format!("about {:.0} s", seconds * (1.0 - share) / share),
    };
    format!(
        "backfill: {:.1} % read, {read} of {all} offsets, {:.0} spans/s, {remaining} left",
        share * 100.0,
        spans as f64 / seconds,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::record::Position;

    #[test]
    fn the_share_read_is_that_of_the_ranges_and_not_of_the_partitions() {
        let range = |partition, from, end_offset| Range {
            begin: Position {
                topic: "t".to_owned(),
                topic_id: String::new(),
                partition,
                next_offset: from,
            },
            end_offset,
        };
        let metrics = Metrics::default();
        metrics.partition_offset.with(&["t", "0"]).set(150);
        let ranges = [range(0, 100, 200), range(1, 50, 150), range(2, 9, 9)];
        let text = said(&ranges, &metrics, 500, Duration::from_secs(5));
        let wanted = "backfill: 25.0 % read, 50 of 200 offsets, 100 spans/s, about 15 s left";
        assert_eq!(text, wanted);
    }
}
