//! The outcome of a comparison as a Markdown table, with the machine and the versions above it.

use std::fmt::Write as _;
use std::fs;

use super::Subject;
use super::rows::{Figure, Row, Sizes};
use crate::report::Report;

/// Lines in the order of the run, each with a column per subject.
pub(crate) struct Table {
    versions: Vec<(Subject, String)>,
    lines: Vec<Line>,
    /// Losses and errors; none of them is acceptable.
    remarks: Vec<String>,
}

struct Line {
    label: String,
    cells: Vec<(Subject, Figure)>,
}

impl Table {
    pub(crate) fn new(versions: Vec<(Subject, String)>) -> Self {
        Self { versions, lines: Vec::new(), remarks: Vec::new() }
    }

    /// Adds what a row gave for a subject.
    pub(crate) fn add(&mut self, row: Row, subject: Subject, sizes: &Sizes, reports: &[Report]) {
        for report in reports.iter().filter(|report| report.lost > 0 || report.errors > 0) {
            self.remarks.push(format!(
                "{row:?}, {subject}: {} of {} {}s lost, {} errors",
                report.lost, report.operations, report.unit, report.errors
            ));
        }
        for figure in row.figures(sizes, subject, reports) {
            // Labels repeat only where a line belongs to the one before, so the newest is the right one.
            match self.lines.iter_mut().rev().find(|line| line.label == figure.label && line.of(subject).is_none()) {
                Some(line) => line.cells.push((subject, figure)),
                None => self.lines.push(Line { label: figure.label.clone(), cells: vec![(subject, figure)] }),
            }
        }
    }

    pub(crate) fn render(&self, sizes: &Sizes) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(sizes, &mut out);
        out
    }

    fn write(&self, sizes: &Sizes, out: &mut String) -> std::fmt::Result {
        writeln!(out, "Machine: {}.", machine())?;
        for (subject, version) in &self.versions {
            writeln!(out, "{subject}: {version}.")?;
        }
        let window = sizes.window;
        writeln!(
            out,
            "Window {:.1} s after {:.1} s of warm-up; 100-byte bodies; client and server share the machine.\n",
            window.duration.as_secs_f64(),
            window.warmup.as_secs_f64()
        )?;
        writeln!(out, "| measure | floor | Prosody | Stonechat | Stonechat / floor | Prosody / Stonechat |")?;
        writeln!(out, "| --- | --- | --- | --- | --- | --- |")?;
        for line in &self.lines {
            let ratio = |above, below| match (line.of(above), line.of(below)) {
                (Some(above), Some(below)) if below.value > 0.0 => format!("{:.1}", above.value / below.value),
                _ => "–".to_owned(),
            };
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} |",
                line.label,
                line.cell(Subject::Floor),
                line.cell(Subject::Prosody),
                line.cell(Subject::Stonechat),
                ratio(Subject::Stonechat, Subject::Floor),
                ratio(Subject::Prosody, Subject::Stonechat),
            )?;
        }
        if !self.remarks.is_empty() {
            writeln!(out)?;
        }
        for remark in &self.remarks {
            writeln!(out, "- {remark}")?;
        }
        Ok(())
    }
}

impl Line {
    fn of(&self, subject: Subject) -> Option<&Figure> {
        self.cells.iter().find(|(whose, _)| *whose == subject).map(|(_, figure)| figure)
    }

    fn cell(&self, subject: Subject) -> String {
        let Some(Figure { value, detail, .. }) = self.of(subject) else { return "–".to_owned() };
        let number = match *value {
            value if value >= 100.0 => format!("{value:.0}"),
            value if value >= 5.0 => format!("{value:.1}"),
            value => format!("{value:.2}"),
        };
        if detail.is_empty() { number } else { format!("{number} ({detail})") }
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cpu = cpu.map_or("unknown processor", |(_, name)| name.trim()).to_owned();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {cpu}, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cpu: f64) -> Report {
        Report { server_cpu_us: vec![cpu], per_second: 1000.0, ..Report::default() }
    }

    #[test]
    fn ratios_are_of_one_line_and_a_missing_subject_is_a_dash() {
        let sizes = Sizes::full();
        let mut table = Table::new(vec![(Subject::Prosody, "0.12".to_owned())]);
        for (subject, cpu) in [(Subject::Floor, 10.0), (Subject::Prosody, 90.0), (Subject::Stonechat, 15.0)] {
            table.add(Row::ChatTls1, subject, &sizes, &[report(cpu)]);
        }
        table.add(Row::ChatTls10, Subject::Prosody, &sizes, &[Report { lost: 3, ..report(47.0) }]);
        let text = table.render(&sizes);
        assert!(text.contains("| 10.0 (1000/s) | 90.0 (1000/s) | 15.0 (1000/s) | 1.5 | 6.0 |"), "{text}");
        assert!(text.contains("| – | 47.0 (1000/s) | – | – | – |"), "{text}");
        assert!(text.contains("- ChatTls10, prosody: 3 of 0 s lost, 0 errors"), "{text}");
    }
}
