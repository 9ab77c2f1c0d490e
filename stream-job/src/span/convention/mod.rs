//! From the conventions that agents write their spans in to the columns that we keep.
//!
//! Precedence, for the step type and for every column: our own `agent.*` > OpenInference > OTel GenAI > OpenLLMetry >
//! the span's name and kind. Each column is a list of keys in that order, read from one pass over the attributes
//! ([`facts`]); what needs more than a list has a file of its own. `docs/conventions.md` has the whole mapping as tables.

pub(crate) mod arguments;
pub(crate) mod content;
pub(crate) mod facts;
pub(crate) mod failure;
mod json;
pub(crate) mod keys;
pub(crate) mod kind;
mod message;
pub(crate) mod name;
pub(crate) mod number;

#[cfg(test)]
mod tests;
