//! The epoch log, where all nondeterminism is bound, and checkpoints of the operators' state.

pub mod epoch_log;
pub mod ledgers;
pub mod load;
pub mod manifest;
pub mod record;
pub mod savepoint;
pub mod service;
pub mod state;
pub mod store;
pub mod sweep;
pub mod timelines;
