//! The epoch log, where all nondeterminism is bound.

pub mod record;
