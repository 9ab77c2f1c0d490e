//! A bounded pool of connections with a bounded queue in front of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::Connection;
use super::error::EngineError;

/// Idle connections that are kept; more are closed, as opening one costs a quarter of a millisecond only.
const MAX_IDLE: usize = 8;

pub(crate) struct Pool {
    places: Arc<Semaphore>,
    size: usize,
    idle: Arc<Mutex<Vec<Connection>>>,
    waiting: AtomicUsize,
    max_waiting: usize,
    max_wait: Duration,
}

impl Pool {
    pub(crate) fn new(size: usize, max_waiting: usize, max_wait: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(size)),
            size,
            idle: Arc::default(),
            waiting: AtomicUsize::new(0),
            max_waiting,
            max_wait,
        }
    }

    /// The right to run one query.
    pub(crate) async fn admit(&self) -> Result<Admission, EngineError> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(Admission(place));
        }
        let started = Instant::now();
        let queue = Queued::enter(&self.waiting);
        let waiting = queue.position;
        let busy = || EngineError::Busy {
            waiting,
            connections: self.size,
            waited_ms: started.elapsed().as_millis(),
        };
        if waiting > self.max_waiting {
            return Err(busy());
        }
        match tokio::time::timeout(self.max_wait, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(Admission(place)),
            // The semaphore is never closed; a timeout is the only other way out.
            _ => Err(busy()),
        }
    }

    /// An idle connection that is in `database` already.
    pub(crate) fn idle(&self, database: &str) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        let at = idle
            .iter()
            .rposition(|connection| connection.database() == database)?;
        Some(idle.swap_remove(at))
    }

    /// An idle connection in whatever database.
    pub(crate) fn any_idle(&self) -> Option<Connection> {
        lock(&self.idle).pop()
    }

    pub(crate) fn put_back(&self, connection: Connection) {
        keep(&self.idle, connection);
    }

    pub(crate) fn lease(&self, admission: Admission, connection: Connection) -> Lease {
        Lease {
            connection: Some(connection),
            clean: false,
            idle: Arc::clone(&self.idle),
            _admission: admission,
        }
    }
}

fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    // A vector of connections is whole after any panic of its holder.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(idle: &Mutex<Vec<Connection>>, connection: Connection) {
    let surplus = {
        let mut idle = lock(idle);
        // The newest stay: their database is the one that is asked for now.
        let surplus = (idle.len() >= MAX_IDLE).then(|| idle.remove(0));
        idle.push(connection);
        surplus
    };
    // Closed outside the lock.
    drop(surplus);
}

/// The right to run one query, given back when dropped.
pub struct Admission(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Counts one waiting query for as long as it lives.
struct Queued<'a> {
    waiting: &'a AtomicUsize,
    position: usize,
}

impl<'a> Queued<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Self {
        let position = waiting.fetch_add(1, Ordering::Relaxed) + 1;
        Self { waiting, position }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection on loan with the right to run queries on it.
///
/// It is closed when dropped, unless [`Lease::keep_clean`] said that no `SET`, `USE` or temporary table was left on it.
pub struct Lease {
    connection: Option<Connection>,
    clean: bool,
    idle: Arc<Mutex<Vec<Connection>>>,
    _admission: Admission,
}

impl Lease {
    /// The connection.
    pub fn connection(&mut self) -> &mut Connection {
        // INVARIANT: taken only by `drop`.
        self.connection
            .as_mut()
            .expect("a lease has its connection until it is dropped")
    }

    /// Takes the connection out, with all state that it has, and gives back the right to run queries.
    pub fn detach(mut self) -> Connection {
        // INVARIANT: taken only here and by `drop`.
        self.connection
            .take()
            .expect("a lease has its connection until it is dropped")
    }

    /// Declares that the connection has no state left, so that it may serve others.
    pub fn keep_clean(&mut self) {
        self.clean = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| self.clean) {
            keep(&self.idle, connection);
        }
    }
}
