//! Accounts that begin to be used: one read, in one transaction, by statements that stay prepared.

use crate::accounts::alive;
use crate::archive::{bounds, recent_marks};
use crate::documents::document;
use crate::errors::sql;
use crate::lists::{blocked, push_registrations};
use crate::open::SqliteStore;
use crate::reader::read;
use crate::rosters::roster;
use crate::spool::holders;
use rusqlite::{Connection, OptionalExtension};
use std::sync::Arc;
use stonechat_jid::BareJid;
use stonechat_store::{AccountId, Pending, Resident, Residents, Result, XmlKind};

impl Residents for SqliteStore {
    fn resident(&self, jid: &BareJid, marks: usize) -> Pending<Option<Resident>> {
        let (jid, writer) = (jid.clone(), Arc::clone(self.writer()));
        let found = self.read(move |connection| {
            let id: Option<i64> = connection
                .prepare_cached("SELECT id FROM accounts WHERE jid = ?1")
                .and_then(|mut statement| statement.query_row([jid.as_str()], |row| row.get(0)).optional())
                .map_err(sql)?;
            let Some(id) = id.map(AccountId) else { return Ok(Ok(None)) };
            // Asked before the file is looked at: see there.
            if !writer.unsettled().has(id) {
                return resident(connection, id, marks).map(Ok);
            }
            // The writing thread has to put what is fresh to its place first.
            let (job, answer) =
                read(move |connection| if alive(connection, id)? { resident(connection, id, marks) } else { Ok(None) });
            writer.pass_settled_read(id, job).map(|()| Err(answer))
        });
        Box::pin(async {
            match found.await? {
                Ok(found) => Ok(found),
                Err(later) => later.await,
            }
        })
    }
}

fn resident(connection: &Connection, id: AccountId, marks: usize) -> Result<Option<Resident>> {
    // One look at the file's state and one lock of the log for all of it, unless that was seen to.
    let transaction = if connection.is_autocommit() { connection.unchecked_transaction().map(Some) } else { Ok(None) };
    let transaction = transaction.map_err(sql)?;
    let found = of_account(connection, id, marks)?;
    if let Some(transaction) = transaction {
        transaction.finish().map_err(sql)?;
    }
    Ok(Some(found))
}

fn of_account(connection: &Connection, id: AccountId, marks: usize) -> Result<Resident> {
    Ok(Resident {
        id,
        roster: roster(connection, id)?,
        last_archived: bounds(connection, id)?.map(|(_, last)| last),
        marks: recent_marks(connection, id, marks)?,
        archive_preferences: document(connection, id, XmlKind::ArchivePreferences, "")?,
        blocked: blocked(connection, id)?,
        push: push_registrations(connection, id)?,
        holders: holders(connection, id)?,
    })
}
