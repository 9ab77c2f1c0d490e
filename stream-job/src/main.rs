//! The binary `stream-job`.

use std::process::ExitCode;

use clap::Parser as _;
use stream_job::ops::{cli, job};

fn main() -> ExitCode {
    match cli::main(cli::Cli::parse()) {
        Ok(()) => ExitCode::from(job::exit::DONE),
        Err(error) => {
            eprintln!("stream-job: {error:#}");
            ExitCode::from(job::exit_code(&error))
        }
    }
}
