//! Fuzzing without anything to install: `cargo run --release -- all|TARGET [--seconds N] [--seed S]`.
//!
//! Inputs are made from a small corpus by seeded mutation, so a failure is found again with its seed; the input that failed
//! is printed. The targets are plain functions over bytes, which a coverage-guided fuzzer can call as well.

mod mutate;
mod targets;

use mutate::Mutator;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use targets::{TARGETS, Target};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let seconds = option("--seconds").unwrap_or(10);
    let seed = option("--seed").unwrap_or(1);
    let wanted = arguments.first().map_or("all", String::as_str);
    let chosen: Vec<&Target> = TARGETS.iter().filter(|target| wanted == "all" || target.name == wanted).collect();
    if chosen.is_empty() {
        eprintln!("targets: all, {}", TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", "));
        return ExitCode::from(2);
    }
    let (mut passed, mut failed) = (0, 0);
    for target in chosen {
        if fuzz(target, Duration::from_secs(seconds), seed) {
            passed += 1;
        } else {
            failed += 1;
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fuzz(target: &Target, time: Duration, seed: u64) -> bool {
    let mut mutator = Mutator::new(seed, target.corpus);
    let started = Instant::now();
    let mut runs = 0u64;
    while started.elapsed() < time {
        for _ in 0..256 {
            let input = mutator.next();
            runs += 1;
            if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
                println!(
                    "{}: FAILED after {runs} runs (seed {seed}): {:?}",
                    target.name,
                    String::from_utf8_lossy(&input)
                );
                return false;
            }
        }
    }
    println!("{}: {runs} runs without a failure (seed {seed})", target.name);
    true
}
