//! The log: human lines or JSON, to standard error. What it may not hold (passwords, bodies, SASL payloads) has no way to
//! print itself, so no level shows it.
//!
//! Others must not be able to fill it (abuse case 147): of the lines of one kind only so many are written in a while, and of
//! the rest it is told how many they were. Whoever asks for `debug` or `trace` gets all of those.

mod sample;

use crate::cli::LogFormat;
use sample::Sample;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Instant;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

static SAMPLE: OnceLock<Sample> = OnceLock::new();

/// Starts logging; a filter that cannot be read is told and replaced by `info`.
pub(crate) fn start(filter: &str, format: LogFormat) {
    let (filter, complaint) = match EnvFilter::try_new(filter) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let sample = SAMPLE.get_or_init(Sample::default);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_filter(sample)).init(),
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry.with(lines.with_ansi(colour).with_target(false).with_filter(sample)).init();
        }
    }
    if let Some(error) = complaint {
        tracing::warn!(event = "log.bad_filter", %error, "the log filter cannot be read; logging at info");
    }
}

/// Tells how many lines were left out since it was told last. Called now and then by the life cycle.
pub(crate) fn tell_left_out() {
    let Some(sample) = SAMPLE.get() else { return };
    for (kind, lines) in sample.left_out(Instant::now()) {
        tracing::warn!(event = "log.left_out", kind, lines, "lines of this kind came in a flood and were left out");
    }
}
