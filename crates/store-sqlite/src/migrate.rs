//! Numbered forward migrations, each in one transaction; a snapshot is taken before an existing file is changed.

use crate::open::{io, sql};
use rusqlite::Connection;
use std::path::Path;
use stonechat_store::{Error, Result};

const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001.sql")];

pub(crate) fn known() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sql)?;
    if found > known() {
        return Err(Error::NewerSchema { found, known: known() });
    }
    if found == known() {
        return Ok(());
    }
    if found > 0 {
        let snapshot = path.with_extension(format!("before-schema-{}", known()));
        if snapshot.exists() {
            std::fs::remove_file(&snapshot).map_err(io)?;
        }
        connection.execute("VACUUM INTO ?1", [snapshot.to_string_lossy()]).map_err(sql)?;
    }
    let from = usize::try_from(found).unwrap_or(usize::MAX);
    for (number, migration) in MIGRATIONS.iter().enumerate().skip(from) {
        let transaction = connection.transaction().map_err(sql)?;
        transaction.execute_batch(migration).map_err(sql)?;
        transaction.pragma_update(None, "user_version", number.saturating_add(1) as u32).map_err(sql)?;
        transaction.commit().map_err(sql)?;
    }
    Ok(())
}
