//! The binary: command line, configuration, composition, life cycle.

mod cli;
mod client;
mod config;
mod demo;
mod federation;
mod init;
mod keys;
mod logging;
mod memory;
mod output;
mod serve;
mod server;
mod token_key;

use std::process::ExitCode;

fn main() -> ExitCode {
    let invocation = match cli::parse() {
        Ok(invocation) => invocation,
        Err(status) => return status,
    };
    match cli::run(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
