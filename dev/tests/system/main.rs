//! The whole pipeline, for real: Apache Kafka, the embedded warehouse and the job's own binary, each test with a system
//! of its own on free ports. Needs the binaries (cargo build --bins; `cargo test --workspace` builds them).
#![allow(clippy::unwrap_used)]

mod alerts;
mod backfill;
mod dead_letters;
mod hand_over;
mod hostile;
mod landed;
mod live;
mod outages;
mod probe;
mod restart;
mod source;
mod stage;
mod supervised;
mod topic;
mod watermark;
mod wire;
