//! The outcome of a measurement: a JSON line for programs, a table for people.

use std::fmt::Write as _;

use serde::Serialize;

use crate::Result;

/// One measured figure with everything that qualifies it.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    /// What was measured, for example `chat`.
    pub(crate) mode: String,
    /// What is counted, for example `message`.
    pub(crate) unit: String,
    pub(crate) operations: u64,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    /// CPU microseconds per operation, of each server whose process is known.
    pub(crate) server_cpu_us: Vec<f64>,
    /// CPU microseconds per operation of this client, on the same machine.
    pub(crate) client_cpu_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latency>,
    /// KiB of proportional set size per operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_kib: Option<f64>,
    /// Times that the client waited for the server in each operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) round_trips: Option<f64>,
    /// Operations that were begun and never came to their end.
    pub(crate) lost: u64,
    /// Error stanzas, duplicates and anything else that should not have come.
    pub(crate) errors: u64,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

/// How reports are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    JsonLine,
    Table,
}

impl Report {
    pub(crate) fn named(self, mode: &str, unit: &str) -> Self {
        Self { mode: mode.to_owned(), unit: unit.to_owned(), ..self }
    }

    /// CPU microseconds per operation over all servers.
    pub(crate) fn total_cpu_us(&self) -> Option<f64> {
        (!self.server_cpu_us.is_empty()).then(|| self.server_cpu_us.iter().sum())
    }

    /// The report as text without an ending line feed.
    pub(crate) fn render(&self, format: Format) -> Result<String> {
        match format {
            Format::JsonLine => Ok(serde_json::to_string(self)?),
            Format::Table => self.table(),
        }
    }

    fn table(&self) -> Result<String> {
        let unit = &self.unit;
        let units = match unit.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None => format!("{unit}s"),
        };
        let mut out = format!("{}\n", self.mode);
        writeln!(out, "  {:<28} {} in {:.1} s", units, self.operations, self.seconds)?;
        writeln!(out, "  {:<28} {:.0}", format!("{units} per second"), self.per_second)?;
        for (index, cpu) in self.server_cpu_us.iter().enumerate() {
            let whose = if self.server_cpu_us.len() > 1 { format!(" {}", index + 1) } else { String::new() };
            writeln!(out, "  {:<28} {cpu:.1} µs", format!("CPU of server{whose} per {unit}"))?;
        }
        writeln!(out, "  {:<28} {:.1} µs", format!("CPU of client per {unit}"), self.client_cpu_us)?;
        if let Some(memory) = self.memory_kib {
            writeln!(out, "  {:<28} {memory:.1} KiB", format!("memory per {unit}"))?;
        }
        if let Some(round_trips) = self.round_trips {
            writeln!(out, "  {:<28} {round_trips:.1}", "round trips after TLS")?;
        }
        if let Some(latency) = self.latency {
            let Latency { p50_us, p99_us, p999_us, max_us } = latency;
            writeln!(
                out,
                "  {:<28} {p50_us:.0} / {p99_us:.0} / {p999_us:.0} / {max_us:.0} µs",
                "p50 / p99 / p99.9 / max"
            )?;
        }
        write!(out, "  {:<28} {} / {}", "lost / errors", self.lost, self.errors)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            operations: 10,
            seconds: 2.0,
            per_second: 5.0,
            server_cpu_us: vec![12.34, 5.0],
            latency: Some(Latency { p50_us: 1.0, p99_us: 2.0, p999_us: 3.0, max_us: 4.0 }),
            ..Report::default()
        }
        .named("chat", "message")
    }

    #[test]
    fn a_json_line_is_one_line_and_leaves_out_what_was_not_measured() {
        let line = report().render(Format::JsonLine).unwrap();
        assert!(!line.contains('\n') && !line.contains("memory_kib"));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["mode"], "chat");
        assert_eq!(value["server_cpu_us"][1], 5.0);
        assert_eq!(value["latency"]["p999_us"], 3.0);
    }

    #[test]
    fn a_table_names_each_server_when_there_are_two() {
        let table = report().render(Format::Table).unwrap();
        assert!(table.contains("CPU of server 1 per message  12.3 µs"), "{table}");
        assert!(table.contains("CPU of server 2 per message  5.0 µs"), "{table}");
        assert!(table.contains("1 / 2 / 3 / 4 µs"), "{table}");
        assert_eq!(report().total_cpu_us(), Some(17.34));
    }
}
