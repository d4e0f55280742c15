//! Upkeep of the project: `cargo xtask test`, `tidy`, `abuse-cases`, `bench-peers`.

mod abuse;
mod steps;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let rest: Vec<String> = arguments.collect();
    match command.as_deref() {
        Some("test") => steps::test(&rest),
        Some("tidy") => match tidy::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(findings) => {
                for finding in findings {
                    eprintln!("tidy: {finding}");
                }
                ExitCode::FAILURE
            }
        },
        Some("abuse-cases") => steps::abuse_cases(),
        Some("bench-peers") => steps::bench_peers(&rest),
        _ => {
            eprintln!(
                "cargo xtask test [--no-conformance]   every test of the project; installs what they need\n\
                 cargo xtask tidy                      which crate may use which, sizes of files, headers of modules\n\
                 cargo xtask abuse-cases               write the tests of each case into tests/abuse-cases.md anew\n\
                 cargo xtask bench-peers [...]         measure beside other servers, in one run"
            );
            ExitCode::from(2)
        }
    }
}
