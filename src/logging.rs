//! The log: human lines or JSON, to standard error. What it may not hold (passwords, bodies, SASL payloads) has no way to
//! print itself, so no level shows it.

use crate::cli::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging; a filter that cannot be read is told and replaced by `info`.
pub(crate) fn start(filter: &str, format: LogFormat) {
    let (filter, complaint) = match EnvFilter::try_new(filter) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colour).with_target(false).init();
        }
    }
    if let Some(error) = complaint {
        tracing::warn!(event = "log.bad_filter", %error, "the log filter cannot be read; logging at info");
    }
}
