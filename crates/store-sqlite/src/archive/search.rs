//! Words in archives (XEP-0431), behind the path of a message: what an account's messages say is read when the account
//! searches, in steps, and from then on only what is new.
//!
//! One FTS5 table serves all accounts. An account's rows are one span of its numbers, and a query is bound to the span: it
//! skips in a word's list to where the span begins, and reads nothing of anybody else's. What is searched for is quoted word by
//! word and never understood as FTS5's own language.

use super::page::Span;
use crate::desk::Desk;
use crate::errors::sql;
use crate::fresh;
use crate::open::SqliteStore;
use crate::reader::read;
use crate::writer::Step;
use rusqlite::{Connection, OptionalExtension, params};
use stonechat_store::{AccountId, ArchiveFilter, Error, Pending, Result, Words, words};

/// Messages that are read into the index in one step.
const STEP: i64 = 200;

pub(super) const SEARCH: &str = "SELECT last_id, last_number FROM searches WHERE account = ?1";
pub(super) const LEARNT: &str = "SELECT number, words FROM searched WHERE account = ?1 AND id = ?2";
pub(super) const NOT_READ: &str = "SELECT a.id, b.stanza FROM archive a CROSS JOIN bodies b ON b.number = a.body \
    WHERE a.account = ?1 AND a.id > ?2 ORDER BY a.id LIMIT ?3";
pub(super) const FIRST_NUMBER: &str = "SELECT number FROM searched WHERE account = ?1 AND id >= ?2 ORDER BY id LIMIT 1";
pub(super) const LAST_NUMBER: &str =
    "SELECT number FROM searched WHERE account = ?1 AND id <= ?2 ORDER BY id DESC LIMIT 1";
pub(super) const SAYS: &str = "SELECT EXISTS (SELECT 1 FROM searched s CROSS JOIN search_words w ON w.rowid = s.number \
    WHERE s.account = ?1 AND s.id = ?2 AND w.search_words MATCH ?3)";

/// What is searched for, in FTS5's words; `None` when there is no word in it.
pub(super) fn expression(wanted: &str) -> Option<String> {
    let mut expression = String::new();
    for piece in words::pieces(wanted) {
        if !expression.is_empty() {
            expression.push(' ');
        }
        expression.push('"');
        // What ends a quotation, or the text, separates words like any other sign.
        expression.extend(
            words::separated(piece).chars().map(|letter| if matches!(letter, '"' | '\0') { ' ' } else { letter }),
        );
        expression.push('"');
    }
    (!expression.is_empty()).then_some(expression)
}

impl SqliteStore {
    /// A read of the archive; when words are asked for, behind the reading of what was not read into the index yet.
    pub(super) fn look_up<T: Send + 'static>(
        &self,
        account: AccountId,
        filter: ArchiveFilter,
        words: Words,
        work: impl FnOnce(&Connection, &ArchiveFilter) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        if filter.words.is_none() {
            return self.read_settled(account, move |connection| work(connection, &filter));
        }
        let caught_up = self.write_in_steps(move |desk| catch_up(desk, account, words));
        let readers = self.readers().clone();
        Box::pin(async move {
            caught_up.await?;
            let (job, answer) = read(move |connection| work(connection, &filter));
            readers.push(job);
            answer.await
        })
    }
}

/// Reads the oldest messages that were not read yet.
fn catch_up(desk: &Desk, account: AccountId, words: Words) -> Result<Step<()>> {
    match desk.knows(account) {
        Err(Error::NotFound) => return Ok(Step::Done(())),
        known => known?,
    }
    fresh::settle(desk, account)?;
    let state: Option<(i64, i64)> = desk
        .prepare_cached(SEARCH)
        .and_then(|mut statement| statement.query_row([account.0], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(sql)?;
    let (mut last_id, mut last_number) = match state {
        Some(state) => state,
        None => (-1, first_number(account)?),
    };
    let mut read = 0_i64;
    let mut statement = desk.prepare_cached(NOT_READ).map_err(sql)?;
    let mut rows = statement.query(params![account.0, last_id, STEP]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        read = read.saturating_add(1);
        last_id = row.get(0).map_err(sql)?;
        let said = words(row.get_ref(1).and_then(|stanza| Ok(stanza.as_blob()?)).map_err(sql)?);
        let Some(said) = said.filter(|said| !said.is_empty()) else { continue };
        last_number = last_number.saturating_add(1);
        learn(desk, account, last_id, last_number, &words::separated(&said))?;
    }
    if read > 0 {
        desk.prepare_cached(
            "INSERT INTO searches (account, last_id, last_number) VALUES (?1, ?2, ?3) \
             ON CONFLICT (account) DO UPDATE SET last_id = excluded.last_id, last_number = excluded.last_number",
        )
        .and_then(|mut statement| statement.execute(params![account.0, last_id, last_number]))
        .map_err(sql)?;
    }
    Ok(if read < STEP { Step::Done(()) } else { Step::More })
}

/// Before the first of an account's numbers.
fn first_number(account: AccountId) -> Result<i64> {
    match i32::try_from(account.0) {
        Ok(account) if account >= 0 => Ok(i64::from(account) << 32),
        _ => Err(Error::Backend("the account's number is too high to be searched".into())),
    }
}

fn learn(desk: &Desk, account: AccountId, id: i64, number: i64, said: &str) -> Result<()> {
    desk.prepare_cached("INSERT INTO searched (number, account, id, words) VALUES (?1, ?2, ?3, ?4)")
        .and_then(|mut statement| statement.execute(params![number, account.0, id, said]))
        .map_err(sql)?;
    desk.prepare_cached("INSERT INTO search_words (rowid, words) VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute(params![number, said]))
        .map(|_| ())
        .map_err(sql)
}

/// Forgets what a message says. Whether there was something.
pub(super) fn forget(desk: &Desk, account: AccountId, id: i64) -> Result<bool> {
    let found: Option<(i64, String)> = desk
        .prepare_cached(LEARNT)
        .and_then(|mut statement| {
            statement.query_row(params![account.0, id], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(sql)?;
    let Some((number, said)) = found else { return Ok(false) };
    desk.prepare_cached("INSERT INTO search_words (search_words, rowid, words) VALUES ('delete', ?1, ?2)")
        .and_then(|mut statement| statement.execute(params![number, said]))
        .map_err(sql)?;
    desk.prepare_cached("DELETE FROM searched WHERE number = ?1")
        .and_then(|mut statement| statement.execute([number]))
        .map_err(sql)?;
    Ok(true)
}

/// The numbers of what can be searched for in a span of ids; `None` when there is nothing.
pub(super) fn numbers(connection: &Connection, account: AccountId, span: Span) -> Result<Option<Span>> {
    let number = |statement: &str, id: i64| {
        connection
            .prepare_cached(statement)
            .and_then(|mut statement| statement.query_row(params![account.0, id], |row| row.get(0)).optional())
            .map_err(sql)
    };
    let numbers: (Option<i64>, Option<i64>) = (number(FIRST_NUMBER, span.first)?, number(LAST_NUMBER, span.last)?);
    Ok(numbers.0.zip(numbers.1).map(|(first, last)| Span { first, last }).filter(|span| span.first <= span.last))
}

/// Whether a message says the words of an expression.
pub(super) fn says(connection: &Connection, account: AccountId, id: i64, expression: &str) -> Result<bool> {
    connection
        .prepare_cached(SAYS)
        .and_then(|mut statement| statement.query_row(params![account.0, id, expression], |row| row.get(0)))
        .map_err(sql)
}
