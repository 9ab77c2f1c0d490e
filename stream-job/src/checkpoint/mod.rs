//! The epoch log, where all nondeterminism is bound.

pub mod epoch_log;
pub mod record;
