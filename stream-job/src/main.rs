//! The binary `stream-job`.

use std::process::ExitCode;

use clap::Parser as _;
use stream_job::ops::{allocator, cli, failpoint, job, panics};

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    panics::end_the_process();
    if let Err(reason) = failpoint::check() {
        eprintln!("stream-job: {reason}");
        return ExitCode::from(job::exit::USAGE);
    }
    match cli::main(cli::Cli::parse()) {
        Ok(()) => ExitCode::from(job::exit::DONE),
        Err(error) => {
            eprintln!("stream-job: {error:#}");
            ExitCode::from(job::exit_code(&error))
        }
    }
}
