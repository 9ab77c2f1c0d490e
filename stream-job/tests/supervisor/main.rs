//! `stream-job submit`: what it starts, starts again, and gives up; what it answers over HTTP.
#![allow(clippy::unwrap_used)]

mod control;
mod hand_over;
mod openapi;
mod restarts;
mod stage;
