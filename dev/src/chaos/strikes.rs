//! What is killed, and when.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use stream_job::ops::failpoint;

use super::layout::Layout;

/// Numbers from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn chance(&mut self, per_cent: u64) -> bool {
        self.below(100) < per_cent
    }

    fn one_of<'t, T>(&mut self, choices: &'t [T]) -> &'t T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    fn up_to_ms(&mut self, ms: u64) -> Duration {
        Duration::from_millis(self.below(ms))
    }
}

/// One run of the job, and what ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strike {
    pub(super) layout: Layout,
    /// `name:hit`.
    pub(super) failpoint: Option<String>,
    /// Nothing is struck before the job is ready.
    pub(super) when_ready: bool,
    pub(super) warehouse: bool,
    pub(super) broker: bool,
    /// How long warehouse or broker are away.
    pub(super) away: Duration,
    /// When the job is killed, if no failpoint does it.
    pub(super) after: Duration,
    /// Which process of it.
    pub(super) victim: usize,
}

impl Strike {
    pub(super) fn choose(dice: &mut Dice, layouts: &[Layout]) -> Strike {
        let layout = *dice.one_of(layouts);
        let failpoint = dice.chance(45).then(|| {
            let name = *dice.one_of(&failpoint::ALL);
            format!("{name}:{}", 1 + dice.below(most_hits(name)))
        });
        let when_ready = dice.chance(75);
        let of_others = dice.below(100);
        Strike {
            layout,
            failpoint,
            when_ready,
            warehouse: of_others < 12,
            broker: (12..20).contains(&of_others),
            away: dice.up_to_ms(1_500),
            after: dice.up_to_ms(2_500),
            victim: dice.below(u64::from(layout.processes)) as usize,
        }
    }
}

/// How often the job comes to a failpoint within a few seconds.
fn most_hits(failpoint: &str) -> u64 {
    match failpoint {
        "generation-taken" | "restored" => 1,
        "insert-body" | "insert-answered" | "ack-queued" => 40,
        "released" | "epoch-before-durable" | "epoch-durable" | "intents-durable" => 10,
        _ => 3,
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.layout)?;
        for (what, is_struck) in [("warehouse", self.warehouse), ("broker", self.broker)] {
            if is_struck {
                write!(f, ", {what} away for {} ms", self.away.as_millis())?;
            }
        }
        match &self.failpoint {
            Some(failpoint) => write!(f, ", {failpoint}"),
            None => write!(f, ", killed after {} ms", self.after.as_millis()),
        }
    }
}

/// A kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kill {
    /// A process of the job, at any instant.
    Job,
    /// The job, by itself, at a failpoint: `name:hit`.
    Failpoint(String),
    Warehouse,
    Broker,
}

/// What has been done so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) runs: u64,
    kinds: BTreeMap<&'static str, u64>,
    failpoints: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn count(&mut self, kill: Kill) {
        let kind = match kill {
            Kill::Job => "job, at random",
            Kill::Failpoint(at) => {
                let name = at.split(':').next().unwrap_or_default();
                *self.failpoints.entry(name.to_owned()).or_default() += 1;
                "job, at a failpoint"
            }
            Kill::Warehouse => "warehouse",
            Kill::Broker => "broker",
        };
        *self.kinds.entry(kind).or_default() += 1;
    }

    pub(super) fn kills(&self) -> u64 {
        self.kinds.values().sum()
    }

    pub(super) fn print(&self) {
        println!("runs of the job {}", self.runs);
        println!("kills           {}", self.kills());
        for (kind, kills) in &self.kinds {
            println!("  {kind:22} {kills}");
        }
        for (name, kills) in &self.failpoints {
            println!("    {name:20} {kills}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_choose_equal_strikes_and_in_time_every_kind_and_failpoint() {
        let layouts = [1, 4].map(|workers| Layout {
            processes: 1,
            workers,
        });
        let strikes = |seed| {
            let mut dice = Dice::new(seed);
            (0..2_000)
                .map(|_| Strike::choose(&mut dice, &layouts))
                .collect::<Vec<_>>()
        };
        let all = strikes(1);
        assert_eq!(all, strikes(1));
        assert_ne!(all, strikes(2));
        assert!(all.iter().any(|strike| strike.warehouse));
        assert!(all.iter().any(|strike| strike.broker));
        for name in failpoint::ALL {
            let chosen = all.iter().filter_map(|strike| strike.failpoint.as_deref());
            let hits = chosen.filter(|at| at.split(':').next() == Some(name));
            assert!(hits.count() > 0, "{name}");
        }
    }
}
