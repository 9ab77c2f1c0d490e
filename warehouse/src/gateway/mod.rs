//! ClickHouse's HTTP interface over the embedded engine: unmodified clients can't tell it from a server.

mod body;
mod coding;
mod format;
mod handler;
mod native;
mod prepare;
mod reply;
mod request;
mod run;
mod session;
mod statement;
mod status;

mod frames;
mod server;
mod wire;

pub use server::{Gateway, GatewayError, GatewayOptions, serve};
