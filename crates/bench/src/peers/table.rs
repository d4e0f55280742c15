//! The outcome of a comparison as Markdown: the machine, versions and settings, a line for each figure, and ratios within
//! Stonechat.

use std::fmt::Write as _;
use std::fs;

use super::Subject;
use super::rows::{Budget, Figure, Row, Sizes};
use crate::report::Report;

/// Lines in the order of the run, each with a column per subject.
pub(crate) struct Table {
    /// Each with its version and how it is set up.
    subjects: Vec<(Subject, String)>,
    load_before: String,
    lines: Vec<Line>,
    /// Losses and errors, and what could not be measured; none of them is acceptable.
    remarks: Vec<String>,
}

struct Line {
    row: Row,
    label: String,
    cells: Vec<(Subject, Figure)>,
}

/// Ratios of Stonechat's own figures: what the first costs beside the second.
const WITHIN: [(&str, Row, Row); 9] = [
    ("archived chat, durable / relaxed, 1 outstanding", Row::Archived1, Row::Relaxed1),
    ("archived chat, durable / relaxed, 10 outstanding", Row::Archived10, Row::Relaxed10),
    ("chat, archived / not archived, 1 outstanding", Row::Archived1, Row::ChatTls1),
    ("chat, archived / not archived, 10 outstanding", Row::Archived10, Row::ChatTls10),
    ("chat, resumable / counted only", Row::ChatResumable, Row::ChatCounted),
    ("log-in, SASL2 with Bind 2 / step by step", Row::LoginSasl2, Row::LoginTls),
    ("log-in, by token / step by step", Row::LoginToken, Row::LoginTls),
    ("resumption, step by step / log-in, step by step", Row::Resume, Row::LoginTls),
    ("resumption, by token / log-in, step by step", Row::ResumeToken, Row::LoginTls),
];

impl Table {
    pub(crate) fn new(subjects: Vec<(Subject, String)>) -> Self {
        Self { subjects, load_before: load(), lines: Vec::new(), remarks: Vec::new() }
    }

    /// Adds what a row gave for a subject.
    pub(crate) fn add(&mut self, row: Row, subject: Subject, sizes: &Sizes, reports: &[Report]) {
        for report in reports.iter().filter(|report| report.lost > 0 || report.errors > 0) {
            self.remark(format!(
                "{row:?}, {subject}: {} of {} {}s lost, {} errors",
                report.lost, report.operations, report.unit, report.errors
            ));
        }
        for figure in row.figures(sizes, subject, reports) {
            // Labels repeat only where a line belongs to the one before, so the newest is the right one.
            match self.lines.iter_mut().rev().find(|line| line.label == figure.label && line.of(subject).is_none()) {
                Some(line) => line.cells.push((subject, figure)),
                None => self.lines.push(Line { row, label: figure.label.clone(), cells: vec![(subject, figure)] }),
            }
        }
    }

    /// Adds something that a reader of the table has to know.
    pub(crate) fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    pub(crate) fn render(&self, sizes: &Sizes) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(sizes, &mut out);
        out
    }

    fn write(&self, sizes: &Sizes, out: &mut String) -> std::fmt::Result {
        writeln!(out, "- Machine: {}; load average {} before, {} after.", machine(), self.load_before, load())?;
        for (subject, about) in &self.subjects {
            writeln!(out, "- {subject}: {about}.")?;
        }
        let window = sizes.window;
        writeln!(
            out,
            "- Window {:.1} s after {:.1} s of warm-up; 100-byte bodies; client and server share the machine.\n",
            window.duration.as_secs_f64(),
            window.warmup.as_secs_f64()
        )?;
        writeln!(
            out,
            "| measure | floor | Prosody | Stonechat | Stonechat / floor | Prosody / Stonechat | budget | met |"
        )?;
        writeln!(out, "| --- | --- | --- | --- | --- | --- | --- | --- |")?;
        for line in &self.lines {
            let ratio = |above, below| line.ratio(above, below).map_or("–".to_owned(), |ratio| format!("{ratio:.1}"));
            let (budget, met) = line.budget();
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {budget} | {met} |",
                line.label,
                line.cell(Subject::Floor),
                line.cell(Subject::Prosody),
                line.cell(Subject::Stonechat),
                ratio(Subject::Stonechat, Subject::Floor),
                ratio(Subject::Prosody, Subject::Stonechat),
            )?;
        }
        self.write_within(out)?;
        if !self.remarks.is_empty() {
            writeln!(out)?;
        }
        for remark in &self.remarks {
            writeln!(out, "- {remark}")?;
        }
        Ok(())
    }

    fn write_within(&self, out: &mut String) -> std::fmt::Result {
        let value = |row| {
            let line = self.lines.iter().find(|line| line.row == row)?;
            line.of(Subject::Stonechat).map(|figure| figure.value).filter(|value| *value > 0.0)
        };
        let ratios = WITHIN.iter().filter_map(|(label, above, below)| Some((label, value(*above)? / value(*below)?)));
        let mut ratios = ratios.peekable();
        if ratios.peek().is_some() {
            writeln!(out, "\n| within Stonechat | ratio of processor time |\n| --- | --- |")?;
        }
        for (label, ratio) in ratios {
            writeln!(out, "| {label} | {ratio:.2} |")?;
        }
        Ok(())
    }
}

impl Line {
    fn of(&self, subject: Subject) -> Option<&Figure> {
        self.cells.iter().find(|(whose, _)| *whose == subject).map(|(_, figure)| figure)
    }

    fn ratio(&self, above: Subject, below: Subject) -> Option<f64> {
        let (above, below) = (self.of(above)?, self.of(below)?);
        (below.value > 0.0).then(|| above.value / below.value)
    }

    /// The budget, and whether it is met, in words.
    fn budget(&self) -> (String, String) {
        let none = || ("–".to_owned(), "–".to_owned());
        let Some(figure) = self.of(Subject::Stonechat) else { return none() };
        match figure.budget {
            None => none(),
            Some(Budget::AtMost(most)) => (format!("≤ {most}"), yes_or_no(figure.value <= most)),
            Some(Budget::Ratios { floor, rival }) => {
                let beside = |met: Option<bool>| met.map_or("not known".to_owned(), yes_or_no);
                let above_floor = self.ratio(Subject::Stonechat, Subject::Floor).map(|ratio| ratio <= floor);
                let below_rival = self.ratio(Subject::Prosody, Subject::Stonechat).map(|ratio| ratio >= rival);
                let text = format!("≤ {floor} × floor, ≥ {rival} × better");
                (text, format!("{}, {}", beside(above_floor), beside(below_rival)))
            }
        }
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

fn yes_or_no(met: bool) -> String {
    if met { "yes" } else { "no" }.to_owned()
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cpu = cpu.map_or("unknown processor", |(_, name)| name.trim()).to_owned();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {cpu}, Linux {}", kernel.trim())
}

/// Of the last minute (proc(5)): whether somebody else used the machine.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().next().unwrap_or("unknown").to_owned()
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
        assert!(
            text.contains(
                "| 10.0 (1000/s) | 90.0 (1000/s) | 15.0 (1000/s) | 1.5 | 6.0 | ≤ 1.6 × floor, ≥ 5 × better | yes, yes |"
            ),
            "{text}"
        );
        assert!(text.contains("| – | 47.0 (1000/s) | – | – | – | – | – |"), "{text}");
        assert!(text.contains("- ChatTls10, prosody: 3 of 0 s lost, 0 errors"), "{text}");
    }

    #[test]
    fn a_budget_that_is_missed_is_said_to_be_and_stonechat_is_compared_with_itself() {
        let sizes = Sizes::full();
        let mut table = Table::new(Vec::new());
        table.add(Row::LoginTls, Subject::Stonechat, &sizes, &[report(500.0)]);
        table.add(Row::LoginToken, Subject::Stonechat, &sizes, &[report(250.0)]);
        let text = table.render(&sizes);
        assert!(text.contains("| 0.50 (1000/s) | – | – | ≤ 0.4 | no |"), "{text}");
        assert!(text.contains("| log-in, by token / step by step | 0.50 |"), "{text}");
        assert!(!text.contains("durable / relaxed"), "{text}");
    }
}
