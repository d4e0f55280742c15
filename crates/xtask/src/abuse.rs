//! The list of abuse cases (`tests/abuse-cases.md`) against the tests themselves: a test says in its name which cases it is
//! for (`abuse_38_…`, `abuse_13_14_15_…`, `abuse_24_to_28_…`), the list says for each case which tests it has, or why none.
//!
//! Both directions are held: a test that the list does not know and one that it only claims are findings.
//! `cargo xtask abuse-cases` writes the column of tests anew; reasons stay as they were written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The list, from the root.
pub(crate) const LIST: &str = "tests/abuse-cases.md";
/// There are so many cases.
const CASES: u16 = 160;
/// Begins the cell of a case without a test; the reason follows.
const NONE: &str = "none: ";

/// Where a test is, and its name.
type Test = (String, String);
/// By the numbers of the cases.
pub(crate) type Tests = BTreeMap<u16, BTreeSet<Test>>;

/// The tests in these sources.
pub(crate) fn find(root: &Path, sources: &[String]) -> Tests {
    let mut found = Tests::new();
    for source in sources.iter().filter(|source| source.ends_with(".rs")) {
        let Ok(text) = std::fs::read_to_string(root.join(source)) else { continue };
        for name in text.lines().filter_map(name_of_test) {
            for number in numbers(name) {
                found.entry(number).or_default().insert((source.clone(), name.to_owned()));
            }
        }
    }
    found
}

/// The name of the test whose function begins in this line.
fn name_of_test(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    let name = line.strip_prefix("fn ")?.split(['(', '<']).next()?;
    name.starts_with("abuse_").then_some(name)
}

/// The cases that a test is for: `abuse_06_to_12_and_20_…` is for 6 to 12 and for 20.
fn numbers(name: &str) -> BTreeSet<u16> {
    let mut numbers = BTreeSet::new();
    let mut from = None;
    let mut last = None;
    for word in name.strip_prefix("abuse_").unwrap_or_default().split('_') {
        match (word, word.parse::<u16>()) {
            ("to", _) => from = last,
            ("and", _) => {}
            (_, Ok(number)) => {
                numbers.extend(from.take().unwrap_or(number)..=number);
                last = Some(number);
            }
            (_, Err(_)) => break,
        }
    }
    numbers
}

/// A row of the list: a case's number and its last cell.
fn row(line: &str) -> Option<(u16, &str)> {
    let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let (number, rest) = cells.split_once(" | ")?;
    let (_, last) = rest.rsplit_once(" | ")?;
    Some((number.parse().ok()?, last))
}

fn cell(tests: &BTreeSet<Test>) -> String {
    let mut by_file: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (file, name) in tests {
        by_file.entry(file).or_default().push(format!("`{name}`"));
    }
    let files: Vec<String> = by_file.into_iter().map(|(file, names)| format!("{file}: {}", names.join(", "))).collect();
    files.join("; ")
}

/// What is wrong with the list.
pub(crate) fn check(list: &str, tests: &Tests, findings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (number, listed) in list.lines().filter_map(row) {
        if !seen.insert(number) {
            findings.push(format!("{LIST}: case {number} stands twice"));
        }
        match (tests.get(&number), listed.strip_prefix(NONE)) {
            (Some(_), Some(_)) => {
                findings.push(format!("{LIST}: case {number} has a test: run cargo xtask abuse-cases"))
            }
            (Some(tests), None) if cell(tests) != listed => {
                findings.push(format!("{LIST}: the tests of case {number} are others: run cargo xtask abuse-cases"));
            }
            (Some(_), None) => {}
            (None, Some(reason)) if reason.len() > 3 => {}
            (None, _) => findings.push(format!("{LIST}: case {number} has no test and no reason (`{NONE}…`) for it")),
        }
    }
    for number in 1..=CASES {
        if !seen.contains(&number) {
            findings.push(format!("{LIST}: case {number} is missing"));
        }
    }
    for number in tests.keys().chain(&seen).filter(|number| !(1..=CASES).contains(number)) {
        findings.push(format!("{LIST}: there is no case {number}"));
    }
}

/// The list with its column of tests written anew.
pub(crate) fn rewrite(list: &str, tests: &Tests) -> String {
    let mut out = String::with_capacity(list.len());
    for line in list.lines() {
        match row(line) {
            Some((number, last)) if tests.contains_key(&number) || !last.starts_with(NONE) => {
                let kept = line.get(..line.len().saturating_sub(last.len() + 2)).unwrap_or_default();
                let tests = tests.get(&number).map_or_else(|| NONE.trim_end().to_owned(), cell);
                out.push_str(&format!("{kept}{tests} |"));
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests(names: &[&str]) -> Tests {
        let mut found = Tests::new();
        for name in names {
            for number in numbers(name) {
                found.entry(number).or_default().insert(("a.rs".to_owned(), (*name).to_owned()));
            }
        }
        found
    }

    fn list(cell: impl Fn(u16) -> String) -> String {
        (1..=CASES).map(|number| format!("| {number} | what | {} |\n", cell(number))).collect()
    }

    fn findings(list: &str, tests: &Tests) -> Vec<String> {
        let mut findings = Vec::new();
        check(list, tests, &mut findings);
        findings
    }

    #[test]
    fn the_numbers_of_a_name_end_where_its_words_begin() {
        let of = |name| -> Vec<u16> { numbers(name).into_iter().collect() };
        assert_eq!(of("abuse_38_x"), [38]);
        assert_eq!(of("abuse_06_to_12_and_20_what"), [6, 7, 8, 9, 10, 11, 12, 20]);
        assert_eq!(of("abuse_13_14_15_limits_of_4"), [13, 14, 15]);
        assert!(of("abuse_of_power").is_empty());
    }

    #[test]
    fn functions_are_found_whatever_stands_before_them() {
        assert_eq!(name_of_test("    pub async fn abuse_1_x<S: Store>(store: &S) {"), Some("abuse_1_x"));
        assert_eq!(name_of_test("fn abuse_1_x() {"), Some("abuse_1_x"));
        assert_eq!(name_of_test("// fn abuse_1_x() {"), None);
        assert_eq!(name_of_test("fn other() {"), None);
    }

    #[test]
    fn a_rewritten_list_is_right_and_keeps_its_reasons() {
        let tests = tests(&["abuse_2_x", "abuse_2_y", "abuse_160_z"]);
        let written = rewrite(&list(|_| "none: no such thing".to_owned()), &tests);
        assert_eq!(findings(&written, &tests), Vec::<String>::new());
        assert!(written.contains("| 2 | what | a.rs: `abuse_2_x`, `abuse_2_y` |\n"), "{written}");
        assert_eq!(rewrite(&written, &tests), written);
    }

    #[test]
    fn a_claim_without_a_test_and_a_test_without_a_claim_are_found() {
        let none = |_| "none: no such thing".to_owned();
        assert_eq!(findings(&list(none), &Tests::new()).len(), 0);
        assert_eq!(findings(&list(none), &tests(&["abuse_7_x"])).len(), 1);
        assert_eq!(findings(&list(none), &tests(&["abuse_161_x"])).len(), 1);
        let claimed = list(|number| if number == 7 { "a.rs: `abuse_7_x`".to_owned() } else { none(number) });
        assert_eq!(findings(&claimed, &Tests::new()).len(), 1);
        assert_eq!(findings(&claimed, &tests(&["abuse_7_x"])).len(), 0);
        assert_eq!(findings(&claimed, &tests(&["abuse_7_y"])).len(), 1);
        assert_eq!(findings(&list(none).replacen("| 9 |", "| 8 |", 1), &Tests::new()).len(), 2);
        assert_eq!(findings(&list(|_| "none: ".to_owned()), &Tests::new()).len(), usize::from(CASES));
    }
}
