//! What our windows do with a transcript. Every step is an epoch of its own, and a block.

use anyhow::Result;
use stream_job::checkpoint::record::EpochRecord;
use stream_job::dataflow::window::{
    FIVE_MINUTES_S, FiredWindow, HOUR_S, MINUTE_S, StepKey, StepPartial, StepSums, WindowKind,
    Windows as JobWindows, window_start_s,
};
use stream_job::dataflow::windowing::{Accumulator, Event, KeyedWindows, Lifecycle, Stage, Told};

use super::transcript::{Answer, Done, Fired, Step, Transcript, Trigger, Window, Windows};

/// The numbers of the elements in a window, and how many there are: one that is counted twice shows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Elements(Vec<u64>);

impl Accumulator for Elements {
    fn merge(&mut self, other: &Self) {
        self.0.extend(&other.0);
        self.0.sort_unstable();
    }
}

/// What happens at the end of a step to a window that is told then.
struct Telling {
    trigger: Trigger,
    is_element: bool,
    before: Lifecycle,
}

impl Telling {
    /// Ours is told at every stage; a Flink window fires where it closes, on late elements, and early if its trigger says so.
    fn put(&self, done: &mut Done, fired: Fired, stage: Stage) {
        let was_open = self.before.stage(fired.window.end) == Stage::Open;
        if stage == Stage::Final {
            done.dropped.push(fired.window.clone());
        }
        let fires = if self.is_element {
            stage != Stage::Open || self.trigger == Trigger::EveryElement
        } else {
            was_open
        };
        if fires {
            done.fired.push(fired);
        }
    }
}

/// Runs the windows of `stream_job::dataflow::windowing`. Also returns what each window was told to hold at last.
///
/// # Errors
/// When the transcript's windows are none.
pub(super) fn answer(transcript: &Transcript) -> Result<(Answer, Vec<Fired>)> {
    let assigner = transcript.windows.assigner()?;
    let mut windows = KeyedWindows::new(assigner, transcript.lateness, transcript.late.rule());
    run(transcript, |watermark, element, telling, done, finals| {
        let events = element.map(|(key, time, element)| Event {
            key: key.to_owned(),
            time_us: time,
            value: Elements(vec![element]),
        });
        for told in windows.apply(watermark, events.into_iter().collect(), true) {
            match told {
                Told::Late(event) => done.late.extend(event.value.0),
                Told::Gone { key, window } => done.gone.push(Window {
                    key,
                    start: window.start_us,
                    end: window.end_us,
                }),
                Told::Fired {
                    key,
                    window,
                    value,
                    stage,
                } => {
                    let window = Window {
                        key,
                        start: window.start_us,
                        end: window.end_us,
                    };
                    let elements = value.0;
                    let fired = Fired { window, elements };
                    if stage == Stage::Final {
                        finals.push(fired.clone());
                    }
                    telling.put(done, fired, stage);
                }
            }
        }
    })
}

/// Runs the job's own windows: one minute, five minutes hopping by one, and an hour, of which the transcript has one.
///
/// # Errors
/// When the transcript's windows are not the job's.
pub(super) fn answer_of_job(transcript: &Transcript) -> Result<(Answer, Vec<Fired>)> {
    let kind = kind_of(transcript.windows)?;
    let mut windows = JobWindows::new(transcript.lateness, usize::MAX);
    run(transcript, |watermark, element, telling, done, finals| {
        let now = Lifecycle::new(transcript.lateness, watermark);
        let late = element.filter(|&(_, time, _)| now.is_late(time));
        done.late.extend(late.map(|(_, _, element)| element));
        let admitted = element.filter(|_| late.is_none());
        let partials = admitted.map(|(key, time, element)| partial(key, time, element));
        let fired = windows.apply(&record(watermark), partials.into_iter().collect());
        for window in fired.iter().filter(|window| window.kind == kind) {
            let fired = fired_of_job(window);
            if window.is_final {
                finals.push(fired.clone());
            }
            telling.put(done, fired, stage_of(window));
        }
    })
}

type Element<'a> = Option<(&'a str, i64, u64)>;

fn run(
    transcript: &Transcript,
    mut apply: impl FnMut(i64, Element<'_>, &Telling, &mut Done, &mut Vec<Fired>),
) -> Result<(Answer, Vec<Fired>)> {
    let mut lifecycle = Lifecycle::new(transcript.lateness, i64::MIN);
    let mut finals = Vec::new();
    let mut steps = Vec::new();
    for step in &transcript.steps {
        let before = lifecycle;
        let element = match step {
            Step::Watermark { watermark } => {
                lifecycle.advance(*watermark);
                None
            }
            Step::Element { key, time, element } => Some((key.as_str(), *time, *element)),
        };
        let telling = Telling {
            trigger: transcript.trigger,
            is_element: element.is_some(),
            before,
        };
        let mut done = Done::default();
        let watermark = lifecycle.watermark_us();
        apply(watermark, element, &telling, &mut done, &mut finals);
        steps.push(done.sorted());
    }
    let id = transcript.id;
    Ok((Answer { id, steps }, finals))
}

fn kind_of(windows: Windows) -> Result<WindowKind> {
    let (size, hop, offset) = match windows {
        Windows::Tumbling { size, offset } => (size, size, offset),
        Windows::Hopping { size, hop, offset } => (size, hop, offset),
        Windows::Session { .. } => (0, 0, 0),
    };
    match (size / 1_000_000, hop / 1_000_000, offset) {
        (MINUTE_S, MINUTE_S, 0) => Ok(WindowKind::Minute),
        (FIVE_MINUTES_S, MINUTE_S, 0) => Ok(WindowKind::FiveMinutes),
        (HOUR_S, HOUR_S, 0) => Ok(WindowKind::Hour),
        _ => anyhow::bail!("the job has no such windows: {windows:?}"),
    }
}

fn partial(agent: &str, time_us: i64, element: u64) -> StepPartial {
    StepPartial {
        key: StepKey {
            agent: agent.to_owned(),
            step_type: String::new(),
            tool_name: String::new(),
            model: String::new(),
        },
        minute_s: window_start_s(time_us, MINUTE_S),
        // A bit for each element in a sum: which they are can be read from it, as no element comes twice.
        sums: StepSums {
            count: 1,
            input_tokens: 1 << element,
            ..StepSums::default()
        },
    }
}

fn fired_of_job(window: &FiredWindow) -> Fired {
    let bits = window.sums.input_tokens;
    let mut elements: Vec<u64> = (0..64).filter(|bit| bits >> bit & 1 == 1).collect();
    if elements.len() as u64 != window.sums.count {
        // Not a set of elements at all: equal to no answer.
        elements = vec![u64::MAX, bits, window.sums.count];
    }
    let start = window.start_s * 1_000_000;
    Fired {
        window: Window {
            key: window.key.agent.clone(),
            start,
            end: start + window.kind.length_s() * 1_000_000,
        },
        elements,
    }
}

fn stage_of(window: &FiredWindow) -> Stage {
    match (window.closed, window.is_final) {
        (_, true) => Stage::Final,
        (true, false) => Stage::Closed,
        (false, false) => Stage::Open,
    }
}

/// The record of an epoch that ends a block.
fn record(watermark_us: i64) -> EpochRecord {
    EpochRecord {
        watermark_us,
        dws_block_ends: true,
        ..EpochRecord::default()
    }
}
