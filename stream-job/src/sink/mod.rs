//! From rows to blocks to ClickHouse, exactly once.
//!
//! A worker pushes rows into the builders of [`tables`], which keep them by column ([`native`]). At a block's end
//! [`block::cut`] sorts them by the table's key and encodes them; the [`block::Block`]s go to the [`writer`], which
//! makes an intent durable, inserts them under their token, and reports what has landed. [`probe`] proves at start
//! that the warehouse keeps its side of this. Dead letters and flags go to topics too, by way of [`side_topics`].

pub mod block;
pub mod dead_letter;
pub mod durability;
pub mod landed;
pub mod native;
#[macro_use]
pub mod tables;
pub mod probe;
pub mod side_topics;
pub mod target;
pub mod writer;
