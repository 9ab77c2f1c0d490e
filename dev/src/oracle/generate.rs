//! Random transcripts from a seed.

use super::transcript::{Late, Step, Transcript, Trigger, Windows};

/// Size and hop of the job's windows (a minute, five minutes, an hour) in steps of 5 s.
const JOB_WINDOWS: [(i64, i64); 3] = [(12, 12), (60, 12), (720, 720)];
/// One such step in µs.
const JOB_UNIT_US: i64 = 5_000_000;

/// Numbers from a seed (SplitMix64: Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both of them too.
    fn within(&mut self, low: i64, high: i64) -> i64 {
        let span = high.abs_diff(low) + 1;
        low.saturating_add_unsigned(self.next() % span)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.within(0, choices.len() as i64 - 1) as usize]
    }
}

/// What the times of one transcript are made of.
struct Shape {
    /// Length of the windows, hop, and where one starts.
    size: i64,
    hop: i64,
    offset: i64,
    lateness: i64,
    /// All times are multiples of it, give or take one.
    unit: i64,
    /// Where event time begins.
    origin: i64,
    keys: i64,
}

/// A transcript. Equal seeds and numbers give equal ones.
#[must_use]
pub fn transcript(seed: u64, id: u64) -> Transcript {
    let mut dice = Dice(seed ^ id.wrapping_mul(0xD134_2543_DE82_EF95));
    let of_job = dice.one_in(5);
    let (windows, shape) = if of_job {
        job_windows(&mut dice)
    } else {
        any_windows(&mut dice)
    };
    let steps = steps(&mut dice, &shape);
    Transcript {
        id,
        windows,
        lateness: shape.lateness,
        trigger: dice.of(&[Trigger::EventTime, Trigger::EveryElement]),
        late: Late::ByWindow,
        of_job,
        steps,
    }
}

fn lateness(dice: &mut Dice, most: i64) -> i64 {
    if dice.one_in(3) {
        0
    } else {
        dice.within(1, most)
    }
}

fn any_windows(dice: &mut Dice) -> (Windows, Shape) {
    let size = dice.within(1, 20);
    let hop = dice.within(1, size + 3);
    let tumbling = dice.within(1 - size, size - 1);
    let hopping = dice.within(1 - hop, hop - 1);
    let (windows, hop, offset) = match dice.within(0, 3) {
        0 => (
            Windows::Tumbling {
                size,
                offset: tumbling,
            },
            size,
            tumbling,
        ),
        1 => (
            Windows::Hopping {
                size,
                hop,
                offset: hopping,
            },
            hop,
            hopping,
        ),
        _ => (Windows::Session { gap: size }, size, 0),
    };
    let shape = Shape {
        size,
        hop,
        offset,
        lateness: lateness(dice, 2 * size + 5),
        unit: 1,
        origin: dice.of(&[0, 0, -25, 1_700_000_000_000_000, -900_000_000_000_000]),
        keys: dice.within(1, 4),
    };
    (windows, shape)
}

fn job_windows(dice: &mut Dice) -> (Windows, Shape) {
    let (size, hop) = dice.of(&JOB_WINDOWS);
    let [size, hop] = [size, hop].map(|steps| steps * JOB_UNIT_US);
    let windows = if size == hop {
        Windows::Tumbling { size, offset: 0 }
    } else {
        Windows::Hopping {
            size,
            hop,
            offset: 0,
        }
    };
    let shape = Shape {
        size,
        hop,
        offset: 0,
        lateness: lateness(dice, 2 * size / JOB_UNIT_US) * JOB_UNIT_US,
        unit: JOB_UNIT_US,
        origin: dice.of(&[0, -60_000_000, 1_709_251_200_000_000]),
        keys: dice.within(1, 3),
    };
    (windows, shape)
}

/// Elements around a moment that moves on, and watermarks behind it, some of which jump, stand, fall or stop exactly where
/// something happens.
fn steps(dice: &mut Dice, shape: &Shape) -> Vec<Step> {
    let reach = 2 * shape.size / shape.unit + 4;
    let mut now = shape.origin;
    let mut times = Vec::new();
    let mut steps = Vec::new();
    let mut watermark = i64::MIN;
    for _ in 0..dice.within(4, 45) {
        now += dice.within(0, reach / 3 + 1) * shape.unit;
        if dice.one_in(25) {
            now += 10 * shape.size;
        }
        if dice.one_in(3) {
            watermark = next_watermark(dice, shape, now, watermark);
            steps.push(Step::Watermark { watermark });
        } else {
            let time = match dice.within(0, 7) {
                0 if !times.is_empty() => dice.of(&times),
                1 => border(dice, shape, now),
                _ => {
                    let behind = dice.within(-reach / 4, reach) * shape.unit;
                    jittered(dice, shape, now - behind)
                }
            };
            steps.push(Step::Element {
                key: char::from(b'a' + dice.within(0, shape.keys - 1) as u8).to_string(),
                time,
                element: times.len() as u64,
            });
            times.push(time);
        }
    }
    steps.push(Step::Watermark {
        watermark: i64::MAX,
    });
    if dice.one_in(10) {
        steps.push(Step::Element {
            key: "a".to_owned(),
            time: now,
            element: times.len() as u64,
        });
    }
    steps
}

fn next_watermark(dice: &mut Dice, shape: &Shape, now: i64, before: i64) -> i64 {
    match dice.within(0, 9) {
        0 => before.saturating_sub(dice.within(0, 9)),
        1 | 2 => border(dice, shape, now),
        3 | 4 => border(dice, shape, now - shape.lateness).saturating_add(shape.lateness),
        _ => {
            let behind = dice.within(0, 8) * shape.unit;
            jittered(dice, shape, now - behind)
        }
    }
}

/// A time at which a window starts or ends, or one off it.
fn border(dice: &mut Dice, shape: &Shape, near: i64) -> i64 {
    let start = near - (near - shape.offset).rem_euclid(shape.hop);
    start + dice.of(&[0, shape.size, shape.hop]) + dice.of(&[0, 0, -1, 1])
}

fn jittered(dice: &mut Dice, shape: &Shape, time: i64) -> i64 {
    if shape.unit == 1 {
        time
    } else {
        time + dice.of(&[0, 0, 0, -1, 1, 777])
    }
}
