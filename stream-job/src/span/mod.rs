//! What a span is: the borrowed view of what was sent ([`view`]), and the clean span that lands ([`clean`]).

pub mod clean;
pub mod view;
