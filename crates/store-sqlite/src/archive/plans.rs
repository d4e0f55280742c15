//! How SQLite does what it is asked for: by keys, never through what is not asked for.

use super::page::{Direction, ONE, Partner, Searched, count_statement, page_statement};
use super::{ARCHIVED_MARKS, BOUNDS, BY_REFERENCE, COPIES, OTHER_MARKS, TALK, removal, search};
use crate::desk::{LAST_ARCHIVED, LAST_BODY, SPOOL_HELD};
use crate::fresh;
use crate::migrate::{MIGRATIONS, migrate};
use crate::spool;
use rusqlite::{Connection, OptionalExtension, StatementStatus};

/// The steps of a plan.
fn plan(connection: &Connection, statement: &str) -> Vec<String> {
    let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
    let mut rows = explained.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get(3).unwrap());
    }
    steps
}

fn statements() -> Vec<(String, String)> {
    let mut statements: Vec<(String, String)> = [
        ("bounds", BOUNDS),
        ("hours of talk", TALK),
        ("archived marks", ARCHIVED_MARKS),
        ("other marks", OTHER_MARKS),
        ("by reference", BY_REFERENCE),
        ("copies in the spool", COPIES),
        ("one by its id", ONE),
        ("state of a search", search::SEARCH),
        ("not read yet", search::NOT_READ),
        ("learnt", search::LEARNT),
        ("first number", search::FIRST_NUMBER),
        ("last number", search::LAST_NUMBER),
        ("says", search::SAYS),
        ("expired", removal::EXPIRED[0]),
        ("expired, from the start", removal::EXPIRED[1]),
        ("silent", removal::SILENT),
        ("removed", removal::REMOVE),
        ("next to erase", removal::NEXT),
        ("marks of an account", removal::MARKS),
        ("old marks", removal::OLD_MARKS),
        ("last archived", LAST_ARCHIVED),
        ("last body", LAST_BODY),
        ("struck off", fresh::STRIKE),
        ("held", SPOOL_HELD),
        ("anybody's", spool::OF_ANYBODY),
        ("count of anybody's", spool::COUNT_OF_ANYBODY),
        ("anybody's removed", spool::REMOVE_OF_ANYBODY),
        ("an heir's", spool::OF_HEIR),
        ("an heir's removed", spool::REMOVE_OF_HEIR),
        ("up to, an heir's", spool::UP_TO_OF_HEIR),
        ("forgotten", spool::FORGET),
        ("claimed", spool::CLAIM),
        ("inherited", spool::INHERIT),
        ("numbered", spool::NUMBER),
        ("acknowledged", spool::ACKNOWLEDGE),
        ("up to", spool::UP_TO),
        ("given", spool::GIVE),
        ("served", spool::DROP_SERVED),
        ("released", spool::RELEASE),
        ("holders", spool::HOLDERS),
        ("counted", spool::COUNTED),
        ("saved", spool::SAVED),
        ("outgoing", spool::OUTGOING),
    ]
    .map(|(name, statement)| (name.to_owned(), statement.to_owned()))
    .into();
    for (rows, delete) in removal::REST {
        statements.extend([rows, delete].map(|statement| (format!("erased: {statement}"), statement.to_owned())));
    }
    for partner in [Partner::Anybody, Partner::Bare, Partner::Full] {
        for searched in [Searched::Yes, Searched::No] {
            for direction in [Direction::Forward, Direction::Backward] {
                let name = format!("page: {partner:?}, words: {searched:?}, {direction:?}");
                statements.push((name, page_statement(partner, searched, direction)));
            }
            statements.push((format!("count: {partner:?}, words: {searched:?}"), count_statement(partner, searched)));
        }
    }
    statements
}

/// Whether a step looks at nothing but what it was asked for.
fn goes_by_a_key(step: &str) -> bool {
    let harmless = [
        "SEARCH ",
        "CO-ROUTINE ",
        "SCAN (subquery",
        // The names that a limit left.
        "SCAN n",
        "SCAN CONSTANT ROW",
        "SCALAR ",
        "CORRELATED ",
        "LIST ",
        "CREATE BLOOM",
    ];
    // FTS5 tells which of a query, an order, and bounds of numbers it was given.
    let search = step.starts_with("SCAN w VIRTUAL TABLE") && (step.ends_with("M1><") || step.ends_with("=M1"));
    harmless.iter().any(|harmless| step.starts_with(harmless)) || search
}

#[test]
fn every_statement_goes_by_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    let mut connection = Connection::open(&path).unwrap();
    migrate(&mut connection, &path, MIGRATIONS).unwrap();
    let check = |connection: &Connection| {
        for (name, statement) in statements() {
            let steps = plan(connection, &statement);
            assert!(
                !steps.is_empty() && steps.iter().all(|step| goes_by_a_key(step) || *step == sorts(&name)),
                "{name}: {steps:?}"
            );
        }
    };
    check(&connection);
    // Nor does it when SQLite knows how much there is: a few rows of some accounts, many of one.
    connection
        .execute_batch(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2000)
             INSERT INTO archive (account, id, talk, reference, repeatable, body) SELECT CASE WHEN n < 20 THEN n ELSE 20 END, n << 40, n / 100, n, 1, n FROM n;
             INSERT INTO names SELECT account, reference, id FROM archive;
             INSERT INTO bodies SELECT body, 'r', x'00' FROM archive;
             INSERT INTO talks SELECT DISTINCT talk, account, 'a' || talk, id >> 43 FROM archive GROUP BY talk;
             INSERT INTO spool SELECT body, account, NULL, body, 0, 0, NULL, 1, x'00' FROM archive;
             INSERT INTO searched SELECT body, account, id, 'a' FROM archive;
             INSERT INTO marks SELECT account, body, body FROM archive;
             INSERT INTO outgoing SELECT body, account, 0, 'a', x'00' FROM archive;
             ANALYZE;",
        )
        .unwrap();
    check(&connection);
}

/// The one order that no key has.
fn sorts(name: &str) -> &'static str {
    if name == "holders" { "USE TEMP B-TREE FOR ORDER BY" } else { "" }
}

/// XEP-0424: whoever may send messages may send retractions, and they are looked up where all writes wait.
#[test]
fn abuse_a_retraction_of_what_is_not_there_costs_the_same_however_large_the_archive_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sqlite");
    let mut connection = Connection::open(&path).unwrap();
    migrate(&mut connection, &path, MIGRATIONS).unwrap();
    // 20000 messages with one partner, of which the first half bear one name; and 20000 with others under another name.
    connection
        .execute_batch(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 40000)
             INSERT INTO archive (account, id, talk, reference, repeatable, body)
                SELECT 1, n << 30, CASE WHEN n <= 20000 THEN 1 ELSE 2 END,
                    CASE WHEN n <= 10000 THEN 5 WHEN n <= 20000 THEN n ELSE 6 END, 0, n FROM n;
             INSERT INTO talks VALUES (1, 1, 'romeo@example.net', 0), (2, 1, 'paris@example.net', 0);
             INSERT INTO names SELECT account, reference, id FROM archive;",
        )
        .unwrap();
    let mut statement = connection.prepare(BY_REFERENCE).unwrap();
    let mut steps = |reference: i64| {
        statement.reset_status(StatementStatus::VmStep);
        let found =
            statement.query_row((1, "romeo@example.net", reference), |row| row.get::<_, i64>(1)).optional().unwrap();
        (found, statement.get_status(StatementStatus::VmStep))
    };
    for (reference, expected) in [(-1, None), (15_000, Some(15_000)), (5, Some(10_000)), (6, None)] {
        let (found, steps) = steps(reference);
        assert_eq!(found, expected, "{reference}");
        assert!(steps < 1_000, "{steps} steps for {reference}");
    }
}
