//! Load generator for any XMPP server, and the runner that measures servers side by side.
//!
//! It is an independent client: its own framing, its own SCRAM, its own TLS driver, so that a mistake of the server's
//! crates cannot hide in the measurement. Every mode reports the server's CPU time per operation, read from `/proc`;
//! rates and latencies depend on the client's share of the machine and come second. The `relay` mode is the floor: the
//! same bytes between the same sockets and no XMPP work. `peers` runs floor, Prosody and Stonechat in turn.

mod cli;
mod endpoint;
mod framing;
mod link;
mod load;
mod measure;
mod peers;
mod process;
mod relay;
mod report;
mod scram;
mod session;
mod setup;
mod tls;

use std::process::ExitCode;

use clap::Parser as _;

/// Errors are for a person who runs a measurement: text is enough.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

fn main() -> ExitCode {
    let command = cli::Cli::parse().command;
    match cli::run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stonechat-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
