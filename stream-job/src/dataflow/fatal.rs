//! The first failure that ends the run. Operators cannot return errors, so they raise them here.

use std::sync::{Arc, Mutex, PoisonError};

/// A place for one error, shared by all threads of the job.
#[derive(Clone, Debug, Default)]
pub struct Fatal {
    first: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Fatal {
    /// Ends the run with this error, unless another one came first.
    pub fn raise(&self, error: anyhow::Error) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            tracing::error!("{error:#}");
            *first = Some(error);
        }
    }

    /// Whether the run has failed.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Takes the error, at the end.
    #[must_use]
    pub fn take(&self) -> Option<anyhow::Error> {
        self.first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}
