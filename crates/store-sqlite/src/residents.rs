//! Accounts that begin to be used: one read, in one transaction, by statements that stay prepared.

use crate::archive::{bounds, recent_marks};
use crate::documents::document;
use crate::errors::sql;
use crate::lists::{blocked, push_registrations};
use crate::open::SqliteStore;
use crate::rosters::roster;
use crate::spool::holders;
use rusqlite::{Connection, OptionalExtension};
use stonechat_jid::BareJid;
use stonechat_store::{AccountId, Pending, Resident, Residents, Result, XmlKind};

impl Residents for SqliteStore {
    fn resident(&self, jid: &BareJid, marks: usize) -> Pending<Option<Resident>> {
        let jid = jid.clone();
        self.read(move |connection| {
            // One look at the file's state and one lock of the log for all of it.
            let transaction = connection.unchecked_transaction().map_err(sql)?;
            let found = resident(&transaction, &jid, marks)?;
            transaction.finish().map_err(sql)?;
            Ok(found)
        })
    }
}

fn resident(connection: &Connection, jid: &BareJid, marks: usize) -> Result<Option<Resident>> {
    let id: Option<i64> = connection
        .prepare_cached("SELECT id FROM accounts WHERE jid = ?1")
        .and_then(|mut statement| statement.query_row([jid.as_str()], |row| row.get(0)).optional())
        .map_err(sql)?;
    let Some(id) = id.map(AccountId) else { return Ok(None) };
    Ok(Some(Resident {
        id,
        roster: roster(connection, id)?,
        last_archived: bounds(connection, id)?.map(|(_, last)| last),
        marks: recent_marks(connection, id, marks)?,
        archive_preferences: document(connection, id, XmlKind::ArchivePreferences, "")?,
        blocked: blocked(connection, id)?,
        push: push_registrations(connection, id)?,
        holders: holders(connection, id)?,
    }))
}
