//! How many bytes may be on their way.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct State {
    taken: usize,
    closed: bool,
}

/// Bytes handed out to blocks until they have landed. One block larger than the whole budget passes when it is alone.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    /// From here on there is no room for anything new.
    full: usize,
    state: Mutex<State>,
    changed: Condvar,
}

/// The writer has stopped.
#[derive(Debug)]
pub(super) struct Closed;

impl Budget {
    pub(super) fn new(limit: usize, full: usize) -> Budget {
        Budget {
            limit,
            full: full.min(limit),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Waits for room and takes it.
    pub(super) fn take(&self, bytes: usize) -> Result<(), Closed> {
        let mut state = (self.changed)
            .wait_while(self.lock(), |state| {
                !state.closed && state.taken > 0 && state.taken + bytes > self.limit
            })
            .unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(Closed);
        }
        state.taken += bytes;
        Ok(())
    }

    /// Takes what must not wait.
    pub(super) fn take_beyond(&self, bytes: usize) {
        self.lock().taken += bytes;
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.lock().taken -= bytes;
        self.changed.notify_all();
    }

    pub(super) fn taken(&self) -> usize {
        self.lock().taken
    }

    pub(super) fn has_room(&self) -> bool {
        self.taken() < self.full
    }

    /// Lets everybody who waits go with an error.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A number and a flag: sound whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_block_waits_for_room_and_a_large_one_passes_alone() {
        let budget = Arc::new(Budget::new(10, 5));
        budget.take(4).unwrap();
        assert!(budget.has_room());
        budget.take(1).unwrap();
        assert!(!budget.has_room(), "full, though a block would not wait");
        budget.give_back(5);
        budget.take(25).unwrap();
        assert!(!budget.has_room());
        let waiting = std::thread::spawn({
            let budget = Arc::clone(&budget);
            move || budget.take(5).is_ok()
        });
        budget.give_back(25);
        assert!(waiting.join().unwrap());
        assert_eq!(budget.taken(), 5);
        budget.close();
        assert!(budget.take(1).is_err());
    }
}
