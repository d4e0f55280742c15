//! What the commands run, and what they say at the end.

use crate::abuse;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// Seconds each fuzz target runs.
const FUZZ_SECONDS: &str = "10";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
}

#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: Vec<String>,
    failures: Vec<String>,
}

impl Tally {
    /// Runs one step; its output goes through, and the counts of its closing lines are added up.
    fn run(&mut self, name: &str, command: &mut Command) {
        println!("\n== {name}");
        let started = Instant::now();
        let output = command.current_dir(root()).stdout(Stdio::piped()).stderr(Stdio::inherit()).output();
        let (succeeded, text) = match output {
            Ok(output) => (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()),
            Err(error) => (false, format!("cannot run {name}: {error}\n")),
        };
        print!("{text}");
        let (passed, failed) = counts(&text);
        self.passed += passed + u64::from(succeeded && passed == 0);
        self.failed += failed + u64::from(!succeeded && failed == 0);
        if !succeeded || failed > 0 {
            self.failures.push(name.to_owned());
        }
        println!("== {name}: {} in {} s", if succeeded { "good" } else { "FAILED" }, started.elapsed().as_secs());
    }

    fn finish(self) -> ExitCode {
        println!();
        for skipped in &self.skipped {
            println!("skipped: {skipped}");
        }
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped.len());
        if self.failed == 0 && self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Adds up cargo's "N passed; N failed" and the plain "N passed, N failed".
fn counts(text: &str) -> (u64, u64) {
    let number_before = |line: &str, word: &str| -> u64 {
        line.split(word)
            .next()
            .and_then(|before| before.split_whitespace().last())
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    };
    text.lines()
        .filter(|line| line.starts_with("test result:") || line.trim_start().starts_with(|c: char| c.is_ascii_digit()))
        .filter(|line| line.contains(" passed") && line.contains(" failed"))
        .fold((0, 0), |(passed, failed), line| {
            (passed + number_before(line, " passed"), failed + number_before(line, " failed"))
        })
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    forget_package(&mut command);
    command
}

/// Takes out of the environment what `cargo run` says of this program: build scripts look at it, and everything behind them
/// would be compiled once more.
fn forget_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
}

pub(crate) fn test(arguments: &[String]) -> ExitCode {
    let mut tally = Tally::default();
    match crate::tidy::run() {
        Ok(()) => tally.passed += 1,
        Err(findings) => {
            for finding in findings {
                println!("tidy: {finding}");
            }
            tally.failed += 1;
            tally.failures.push("tidy".into());
        }
    }
    tally.run("formatting", &mut cargo(&["fmt", "--all", "--check"]));
    tally.run("lints", &mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]));
    tally
        .run("unit tests, tables, properties and whole-server tests", &mut cargo(&["test", "--workspace", "--locked"]));
    let fuzz = root().join("tests/fuzz/Cargo.toml");
    if fuzz.exists() {
        let manifest = fuzz.display().to_string();
        tally.run(
            "fuzzing, a short while",
            &mut cargo(&[
                "run",
                "--release",
                "--locked",
                "--manifest-path",
                &manifest,
                "--",
                "all",
                "--seconds",
                FUZZ_SECONDS,
            ]),
        );
    }
    if arguments.iter().any(|argument| argument == "--no-conformance") {
        tally.skipped.push("conformance: --no-conformance was given".into());
    } else if !is_root_on_debian() {
        tally.skipped.push("conformance: it builds a lab of its own, which needs root on Debian".into());
    } else {
        let mut conformance = Command::new("conformance/run");
        forget_package(&mut conformance);
        tally.run("peers and clients", &mut conformance);
    }
    tally.finish()
}

fn is_root_on_debian() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"));
    root && Path::new("/etc/debian_version").exists()
}

/// Writes the column of tests in the list of abuse cases anew.
pub(crate) fn abuse_cases() -> ExitCode {
    let list = root().join(abuse::LIST);
    let tests = abuse::find(&root(), &crate::tidy::tracked(&root()));
    let written = std::fs::read_to_string(&list).and_then(|text| std::fs::write(&list, abuse::rewrite(&text, &tests)));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", list.display());
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn bench_peers(arguments: &[String]) -> ExitCode {
    let built = cargo(&["build", "--release", "--locked", "--package", "stonechat", "--package", "stonechat-bench"])
        .current_dir(root())
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return ExitCode::FAILURE;
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let status = Command::new(target.join("release/stonechat-bench"))
        .arg("peers")
        .arg("--binary")
        .arg(target.join("release/stonechat"))
        .args(arguments)
        .status();
    if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn closing_lines_of_both_kinds_are_added_up() {
        let text =
            "test result: ok. 3 passed; 1 failed; 0 ignored\n5 passed, 2 failed, 1 skipped\nnothing 9 passed here\n";
        assert_eq!(counts(text), (8, 3));
    }
}
