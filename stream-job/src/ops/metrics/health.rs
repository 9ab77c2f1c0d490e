//! Whether the process lives and whether it can do its work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::source::wall_ms;

/// A dataflow that has begun to tick and then did not for this long is stuck, in ms. The slowest tick that is normal is
/// one that waits for a worker that builds a large block.
const STUCK_MS: i64 = 60_000;

/// State behind `/healthz` and `/readyz`.
#[derive(Debug)]
pub struct Health {
    started_ms: i64,
    last_tick_ms: AtomicI64,
    source_assigned: AtomicBool,
    warehouse_proven: AtomicBool,
    stopping: AtomicBool,
    waiting_for: Mutex<Option<String>>,
    /// What has gone away while the job ran, by who noticed it.
    away: Mutex<BTreeMap<String, String>>,
    timeline: OnceLock<String>,
    generation: AtomicU64,
    /// The last epoch that the run has to go through again before it goes on; 0 for none.
    restores_up_to: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Health {
            started_ms: wall_ms(),
            last_tick_ms: AtomicI64::new(0),
            source_assigned: AtomicBool::new(false),
            warehouse_proven: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            waiting_for: Mutex::new(None),
            away: Mutex::default(),
            timeline: OnceLock::new(),
            generation: AtomicU64::new(0),
            restores_up_to: AtomicU64::new(0),
        }
    }
}

impl Health {
    /// The dataflow went round once. Call it on every turn of the loop, also when there is nothing to do or the source
    /// is held back, at least every few seconds.
    pub fn tick(&self) {
        self.last_tick_ms.store(wall_ms(), Relaxed);
    }

    /// Whether every partition has its position and is being read.
    pub fn set_source_assigned(&self, assigned: bool) {
        self.source_assigned.store(assigned, Relaxed);
    }

    /// Whether the warehouse has shown that it drops a block that comes twice.
    pub fn set_warehouse_proven(&self, proven: bool) {
        self.warehouse_proven.store(proven, Relaxed);
    }

    /// The job is draining and will end.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Says what the job waits for, such as a broker that does not answer; `None` when it goes on.
    pub fn set_waiting_for(&self, what: Option<String>) {
        *self
            .waiting_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// Says that something has gone away that the job needs and goes on trying, or with `None` that it is back. `who`
    /// noticed it, and says so again when it is back.
    pub fn set_away(&self, who: &str, what: Option<String>) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Some(what) => away.insert(who.to_owned(), what),
            None => away.remove(who),
        };
    }

    /// Says which timeline the job writes. The first call counts.
    pub fn set_timeline(&self, timeline: &str) {
        let _ = self.timeline.set(timeline.to_owned());
    }

    /// Says which generation of the job this process belongs to.
    pub fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Relaxed);
    }

    /// Says which epoch is the last that was cut before this start and has to be gone through again; `None` for none.
    pub fn set_restores_up_to(&self, epoch: Option<u64>) {
        self.restores_up_to.store(epoch.unwrap_or(0), Relaxed);
    }

    /// False once a dataflow that ticked has not for a minute.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let last = self.last_tick_ms.load(Relaxed);
        last == 0 || wall_ms() - last < STUCK_MS
    }

    /// Whether spans that come in now will land.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.not_ready().is_none()
    }

    /// Why the job is not ready, as a sentence.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        if self.stopping() {
            return Some("the job is stopping".to_owned());
        }
        if let Some(what) = self.waiting_for() {
            return Some(format!("waiting for {what}"));
        }
        if !self.source_assigned() {
            return Some("the source's partitions are not assigned yet".to_owned());
        }
        if !self.warehouse_proven() {
            return Some("the warehouse is not proven yet".to_owned());
        }
        None
    }

    pub(crate) fn generation(&self) -> Option<u64> {
        Some(self.generation.load(Relaxed)).filter(|&generation| generation > 0)
    }

    pub(crate) fn restores_up_to(&self) -> u64 {
        self.restores_up_to.load(Relaxed)
    }

    pub(crate) fn started_ms(&self) -> i64 {
        self.started_ms
    }

    pub(crate) fn source_assigned(&self) -> bool {
        self.source_assigned.load(Relaxed)
    }

    pub(crate) fn warehouse_proven(&self) -> bool {
        self.warehouse_proven.load(Relaxed)
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    pub(crate) fn waiting_for(&self) -> Option<String> {
        let waiting_for = self
            .waiting_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        waiting_for.clone().or_else(|| {
            let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
            away.values().next().cloned()
        })
    }

    pub(crate) fn timeline(&self) -> Option<&str> {
        self.timeline.get().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_job_that_stopped_ticking_is_not_alive_but_one_that_starts_slowly_is() {
        let health = Health::default();
        assert!(health.is_alive());
        health.tick();
        assert!(health.is_alive());
        health.last_tick_ms.store(wall_ms() - STUCK_MS - 1, Relaxed);
        assert!(!health.is_alive());
    }

    #[test]
    fn readiness_says_what_is_missing() {
        let health = Health::default();
        assert!(health.not_ready().unwrap().contains("source"));
        health.set_source_assigned(true);
        assert!(health.not_ready().unwrap().contains("warehouse"));
        health.set_warehouse_proven(true);
        assert!(health.is_ready());
        health.set_waiting_for(Some("Kafka at localhost:9092".to_owned()));
        assert_eq!(
            health.not_ready().unwrap(),
            "waiting for Kafka at localhost:9092"
        );
        health.set_waiting_for(None);
        health.set_away("reader 0", Some("Kafka at localhost:9092".to_owned()));
        health.set_away("reader 1", None);
        assert!(health.not_ready().unwrap().contains("Kafka"));
        health.set_away("reader 0", None);
        health.set_stopping();
        assert!(!health.is_ready());
    }
}
