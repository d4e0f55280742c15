//! Pages of an archive and their number (XEP-0313, XEP-0059): always by a key, never through what is not asked for.
//!
//! A filter becomes a span of ids first; what is left of it (a partner, words, single ids) chooses the statement. The statements
//! are texts of ours put together from a few parts, and take values only as parameters.

use super::search;
use crate::accounts::{alive, signed, unsigned};
use crate::errors::sql;
use rusqlite::types::{ToSql, Value};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::ops::ControlFlow;
use stonechat_jid::Jid;
use stonechat_store::{
    AccountId, ArchiveFilter, ArchiveId, ArchivePage, ArchivePosition, ArchivedMessage, Error, Result,
};

/// Which way a page is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Backward,
}

/// How much of the other party's address is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partner {
    Anybody,
    Bare,
    Full,
}

/// Whether words are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Searched {
    Yes,
    No,
}

/// The rows that are asked for, and their order. Parameters: 1 the account, 2 and 3 the span (of ids; of the search's numbers),
/// then the partner, its resource and the words, as far as they are asked for; a page has its limit as the last.
struct Source {
    text: String,
    order: &'static [&'static str],
}

/// The joins are crossed: made in the order in which they stand.
fn source(partner: Partner, searched: Searched, bodies: &str) -> Source {
    let (first, condition, order): (_, _, &'static [&'static str]) = match (partner, searched) {
        (Partner::Anybody, Searched::No) => {
            ("archive a", "a.account = ?1 AND a.id BETWEEN ?2 AND ?3".to_owned(), &["a.id"])
        }
        (_, Searched::No) => (
            "talks t CROSS JOIN archive a ON a.account = t.account AND a.talk = t.number \
             AND a.id BETWEEN max(?2, t.hours << 43) AND min(?3, (t.hours << 43) | 8796093022207)",
            "t.account = ?1 AND t.partner = ?4 AND t.hours BETWEEN ?2 >> 43 AND ?3 >> 43".to_owned(),
            &["t.hours", "a.id"],
        ),
        (_, Searched::Yes) => {
            let words = match partner {
                Partner::Anybody => 4,
                Partner::Bare => 5,
                Partner::Full => 6,
            };
            (
                "search_words w CROSS JOIN searched s ON s.number = w.rowid \
                 CROSS JOIN archive a ON a.account = ?1 AND a.id = s.id",
                format!("w.search_words MATCH ?{words} AND w.rowid BETWEEN ?2 AND ?3"),
                &["w.rowid"],
            )
        }
    };
    let talks = match (partner, searched) {
        (Partner::Anybody, _) | (_, Searched::No) => "",
        (_, Searched::Yes) => "CROSS JOIN talks t ON t.number = a.talk AND t.partner = ?4",
    };
    let text = format!("FROM {first} {talks} {bodies} WHERE {condition}");
    Source { text, order }
}

pub(super) fn page_statement(partner: Partner, searched: Searched, direction: Direction) -> String {
    let bodies = match partner {
        Partner::Full => "CROSS JOIN bodies b ON b.number = a.body AND b.resource = ?5",
        Partner::Anybody | Partner::Bare => "CROSS JOIN bodies b ON b.number = a.body",
    };
    let Source { text, order } = source(partner, searched, bodies);
    let down = match direction {
        Direction::Forward => "",
        Direction::Backward => " DESC",
    };
    let order: Vec<String> = order.iter().map(|key| format!("{key}{down}")).collect();
    format!("SELECT a.id, b.stanza {text} ORDER BY {} LIMIT ?7", order.join(", "))
}

pub(super) fn count_statement(partner: Partner, searched: Searched) -> String {
    let bodies = match partner {
        Partner::Full => "CROSS JOIN bodies b ON b.number = a.body AND b.resource = ?5",
        Partner::Anybody | Partner::Bare => "",
    };
    format!("SELECT count(*) {}", source(partner, searched, bodies).text)
}

/// A filter, as far as it is not a span.
struct Asked<'a> {
    account: AccountId,
    with: Option<&'a Jid>,
    words: Option<String>,
}

impl<'a> Asked<'a> {
    /// `None` when words are asked for and there is no word: nothing is found.
    fn of(account: AccountId, filter: &'a ArchiveFilter) -> Option<Asked<'a>> {
        let words = match &filter.words {
            Some(words) => Some(search::expression(words)?),
            None => None,
        };
        Some(Asked { account, with: filter.with.as_ref(), words })
    }

    fn partner(&self) -> Partner {
        match self.with {
            None => Partner::Anybody,
            Some(with) if with.is_bare() => Partner::Bare,
            Some(_) => Partner::Full,
        }
    }

    fn searched(&self) -> Searched {
        if self.words.is_some() { Searched::Yes } else { Searched::No }
    }

    /// The parameters of a statement; `None` when nothing can be found.
    fn values(&self, connection: &Connection, span: Span) -> Result<Option<Vec<Value>>> {
        let span = match self.searched() {
            Searched::No => Some(span),
            Searched::Yes => search::numbers(connection, self.account, span)?,
        };
        let Some(Span { first, last }) = span else { return Ok(None) };
        let mut values = vec![self.account.0.into(), first.into(), last.into()];
        if let Some(with) = self.with {
            values.push(with.bare_str().to_owned().into());
            values.extend(with.resource().map(|resource| resource.to_owned().into()));
        }
        values.extend(self.words.clone().map(Value::from));
        Ok(Some(values))
    }
}

/// From which id to which, both included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Span {
    fn of(filter: &ArchiveFilter) -> Span {
        let mut span = Span { first: 0, last: i64::MAX };
        if let Some(start) = filter.start {
            span.begin(ArchiveId::first_at(start).0.cast_signed());
        }
        if let Some(end) = filter.end {
            let next = ArchiveId::first_at(end.saturating_add(1));
            if next.millis() > end {
                span.end(next.0.cast_signed().saturating_sub(1));
            }
        }
        if let Some(after) = filter.after_id {
            span.begin(after.0.cast_signed().saturating_add(1));
        }
        if let Some(before) = filter.before_id {
            span.end(before.0.cast_signed().saturating_sub(1));
        }
        span
    }

    fn begin(&mut self, first: i64) {
        self.first = self.first.max(first);
    }

    fn end(&mut self, last: i64) {
        self.last = self.last.min(last);
    }
}

fn is_archived(connection: &Connection, account: AccountId, id: ArchiveId) -> Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM archive WHERE account = ?1 AND id = ?2)")
        .and_then(|mut statement| statement.query_row(params![account.0, id.0.cast_signed()], |row| row.get(0)))
        .map_err(sql)
}

/// `NotFound` for an id that is named and not there. `false` when the account is not there.
fn check(
    connection: &Connection,
    account: AccountId,
    filter: &ArchiveFilter,
    position: Option<ArchiveId>,
) -> Result<bool> {
    let alive = alive(connection, account)?;
    let named = filter.after_id.into_iter().chain(filter.before_id).chain(filter.ids.iter().copied()).chain(position);
    for id in named {
        if !alive || !is_archived(connection, account, id)? {
            return Err(Error::NotFound);
        }
    }
    Ok(alive)
}

fn message(row: &Row<'_>) -> rusqlite::Result<ArchivedMessage> {
    let id: i64 = row.get(0)?;
    Ok(ArchivedMessage { id: ArchiveId(id.cast_unsigned()), stanza: row.get(1)? })
}

pub(super) fn page(
    connection: &Connection,
    account: AccountId,
    filter: &ArchiveFilter,
    position: ArchivePosition,
    limit: usize,
) -> Result<ArchivePage> {
    let mut span = Span::of(filter);
    let (direction, named) = match position {
        ArchivePosition::First => (Direction::Forward, None),
        ArchivePosition::After(id) => {
            span.begin(id.0.cast_signed().saturating_add(1));
            (Direction::Forward, Some(id))
        }
        ArchivePosition::Last => (Direction::Backward, None),
        ArchivePosition::Before(id) => {
            span.end(id.0.cast_signed().saturating_sub(1));
            (Direction::Backward, Some(id))
        }
    };
    // One more than is wanted tells whether the page reaches the end.
    let enough = limit.saturating_add(1);
    let mut messages = Vec::new();
    if check(connection, account, filter, named)?
        && let Some(asked) = Asked::of(account, filter)
    {
        if !filter.ids.is_empty() {
            among(connection, &asked, &filter.ids, span, direction, |message| {
                messages.push(message);
                if messages.len() >= enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
        } else if let Some(values) = asked.values(connection, span)? {
            let statement = page_statement(asked.partner(), asked.searched(), direction);
            let mut statement = connection.prepare_cached(&statement).map_err(sql)?;
            let limit = signed(enough as u64);
            let mut given: Vec<(usize, &dyn ToSql)> =
                (1..).zip(&values).map(|(place, value)| (place, value as &dyn ToSql)).collect();
            given.push((7, &limit));
            for (place, value) in given {
                statement.raw_bind_parameter(place, value).map_err(sql)?;
            }
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next().map_err(sql)? {
                messages.push(message(row).map_err(sql)?);
            }
        }
    }
    let complete = messages.len() <= limit;
    messages.truncate(limit);
    if direction == Direction::Backward {
        messages.reverse();
    }
    Ok(ArchivePage { messages, complete })
}

pub(super) fn count(connection: &Connection, account: AccountId, filter: &ArchiveFilter) -> Result<u64> {
    let span = Span::of(filter);
    if !check(connection, account, filter, None)? {
        return Ok(0);
    }
    let Some(asked) = Asked::of(account, filter) else { return Ok(0) };
    if !filter.ids.is_empty() {
        let mut count = 0_u64;
        among(connection, &asked, &filter.ids, span, Direction::Forward, |_| {
            count = count.saturating_add(1);
            ControlFlow::Continue(())
        })?;
        return Ok(count);
    }
    let Some(values) = asked.values(connection, span)? else { return Ok(0) };
    connection
        .prepare_cached(&count_statement(asked.partner(), asked.searched()))
        .and_then(|mut statement| statement.query_row(rusqlite::params_from_iter(values), |row| row.get(0)))
        .map(unsigned)
        .map_err(sql)
}

pub(super) const ONE: &str = "SELECT a.id, b.stanza, t.partner, b.resource FROM archive a \
    CROSS JOIN bodies b ON b.number = a.body CROSS JOIN talks t ON t.number = a.talk WHERE a.account = ?1 AND a.id = ?2";

/// Gives those of the named messages that pass, in the order of the direction, until it is enough.
fn among(
    connection: &Connection,
    asked: &Asked<'_>,
    ids: &[ArchiveId],
    span: Span,
    direction: Direction,
    mut give: impl FnMut(ArchivedMessage) -> ControlFlow<()>,
) -> Result<()> {
    let mut ids: Vec<i64> = ids.iter().map(|id| id.0.cast_signed()).collect();
    ids.retain(|id| (span.first..=span.last).contains(id));
    ids.sort_unstable();
    ids.dedup();
    if direction == Direction::Backward {
        ids.reverse();
    }
    for id in ids {
        let found = connection
            .prepare_cached(ONE)
            .and_then(|mut statement| {
                statement
                    .query_row(params![asked.account.0, id], |row| {
                        Ok((message(row)?, row.get::<_, String>(2)?, row.get::<_, Option<String>>(3)?))
                    })
                    .optional()
            })
            .map_err(sql)?;
        let Some((message, partner, resource)) = found else { continue };
        let with = asked.with.is_none_or(|with| {
            with.bare_str() == partner && (with.is_bare() || with.resource() == resource.as_deref())
        });
        let said = match &asked.words {
            Some(words) => search::says(connection, asked.account, id, words)?,
            None => true,
        };
        if with && said && give(message).is_break() {
            return Ok(());
        }
    }
    Ok(())
}
