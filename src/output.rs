//! What people and scripts see: tables or JSON, and errors with a code and a status.

use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use stonechat_admin::{AdminError, ErrorCode};

/// For people, or for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    error: AdminError,
    format: Format,
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Failure { error: AdminError::new(code, message), format: Format::Text }
    }
    pub(crate) fn in_format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }
    /// Says it on standard error, and gives the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        let code = self.error.code;
        let mut stderr = std::io::stderr();
        let _ = match self.format {
            Format::Json => writeln!(
                stderr,
                "{}",
                serde_json::json!({ "error": { "code": code.code(), "message": self.error.message } })
            ),
            Format::Text if stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none() => {
                writeln!(stderr, "\u{1b}[31merror\u{1b}[0m [{}]: {}", code.code(), self.error.message)
            }
            Format::Text => writeln!(stderr, "error [{}]: {}", code.code(), self.error.message),
        };
        ExitCode::from(code.exit().status())
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        Failure { error, format: Format::Text }
    }
}

/// Prints an answer.
pub(crate) fn print(value: &Value, format: Format) {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(value).unwrap_or_default(),
        Format::Text => for_people(value),
    };
    // A closed pipe is the reader's business.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

pub(crate) fn print_explanation(code: &str, text: &str, format: Format) {
    match format {
        Format::Json => print(&serde_json::json!({ "code": code, "explanation": text }), format),
        Format::Text => {
            let _ = writeln!(std::io::stdout(), "{code}: {text}");
        }
    }
}

fn for_people(value: &Value) -> String {
    match value {
        Value::Array(rows) if rows.is_empty() => "none".to_owned(),
        Value::Array(rows) if rows.iter().all(Value::is_object) => table(rows),
        Value::Object(fields) => {
            if let Some(Value::Array(lines)) = fields.get("lines") {
                return lines.iter().map(cell).collect::<Vec<_>>().join("\n");
            }
            let width = fields.keys().map(String::len).max().unwrap_or(0);
            fields
                .iter()
                .map(|(key, value)| format!("{:width$}  {}", label(key), cell_of(key, value)))
                .collect::<Vec<_>>()
                .join("\n")
        }
        other => cell(other),
    }
}

fn table(rows: &[Value]) -> String {
    let Some(Value::Object(first)) = rows.first() else { return String::new() };
    let keys: Vec<&String> = first.keys().collect();
    let mut lines: Vec<Vec<String>> = vec![keys.iter().map(|key| label(key).to_uppercase()).collect()];
    for row in rows {
        lines.push(keys.iter().map(|key| cell_of(key, row.get(key.as_str()).unwrap_or(&Value::Null))).collect());
    }
    let widths: Vec<usize> = (0..keys.len())
        .map(|column| {
            lines.iter().filter_map(|line| line.get(column)).map(|text| text.chars().count()).max().unwrap_or(0)
        })
        .collect();
    lines
        .iter()
        .map(|line| {
            let cells: Vec<String> =
                line.iter().zip(&widths).map(|(text, width)| format!("{text:width$}", width = *width)).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn label(key: &str) -> String {
    key.replace('_', " ")
}

/// Times are shown as dates, memory in units; everything else as it is.
fn cell_of(key: &str, value: &Value) -> String {
    match (key, value.as_u64()) {
        (
            "created" | "since" | "last_activity" | "not_after" | "first_seen" | "last_seen" | "token_expires",
            Some(seconds),
        ) => stonechat_router::time::utc(seconds.saturating_mul(1000)).replace(".000Z", "Z"),
        ("used" | "ceiling", Some(bytes)) => size(bytes),
        ("uptime", Some(seconds)) => {
            format!(
                "{}d {:02}:{:02}:{:02}",
                seconds / 86_400,
                seconds % 86_400 / 3600,
                seconds % 3600 / 60,
                seconds % 60
            )
        }
        _ => cell(value),
    }
}

fn size(bytes: u64) -> String {
    let mut units = ["B", "KiB", "MiB", "GiB"].iter().peekable();
    let (mut whole, mut tenths) = (bytes, 0);
    while whole >= 1024 && units.len() > 1 {
        units.next();
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
    }
    let unit = units.peek().copied().unwrap_or(&"GiB");
    format!("{whole}.{tenths} {unit}")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| format!("{} {}", label(key), cell_of(key, value)))
            .collect::<Vec<_>>()
            .join(", "),
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shown_in_units() {
        let shown = [0, 1023, 1536, 64 << 20, (3 << 30) + (1 << 29), 5 << 40].map(size);
        assert_eq!(shown, ["0.0 B", "1023.0 B", "1.5 KiB", "64.0 MiB", "3.5 GiB", "5120.0 GiB"]);
    }
}
