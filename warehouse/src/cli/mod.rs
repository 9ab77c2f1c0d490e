//! The subcommands of `warehouse`, one file each.

pub(crate) mod fetch;
pub(crate) mod migrate;
pub(crate) mod query;
pub(crate) mod reconcile;
pub(crate) mod serve;
pub(crate) mod tables;
pub(crate) mod trace;
