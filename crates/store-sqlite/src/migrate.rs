//! Numbered forward migrations, each in one transaction; a snapshot is taken before an existing file is changed.
//!
//! Deliberately absent: migrations backward. Who wants the older program again restores the snapshot.

use crate::errors::{io, sql};
use crate::lock::beside;
use rusqlite::{Connection, TransactionBehavior};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use stonechat_store::{Error, Result};
use tracing::info;

/// The schema, step by step. A step that was released is never changed again.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001.sql"),
    include_str!("../migrations/0002.sql"),
    include_str!("../migrations/0003.sql"),
];

/// Brings the file to the newest schema of `migrations`; refuses one that is newer, or is no store of ours.
pub(crate) fn migrate(connection: &mut Connection, path: &Path, migrations: &[&str]) -> Result<()> {
    let known = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sql)?;
    if found > known {
        return Err(Error::NewerSchema { found, known });
    }
    if found == known {
        return Ok(());
    }
    if found > 0 {
        snapshot(connection, path, found)?;
    } else if connection.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0)).map_err(sql)? {
        return Err(Error::Backend(format!("{} is a database of something else", path.display()).into()));
    }
    for (version, migration) in (1..=known).zip(migrations).skip_while(|(version, _)| *version <= found) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
        transaction.execute_batch(migration).map_err(sql)?;
        transaction.pragma_update(None, "user_version", version).map_err(sql)?;
        transaction.commit().map_err(sql)?;
        if found > 0 {
            info!(event = "store.migrated", schema = version, "the database was brought to a newer schema");
        }
    }
    Ok(())
}

/// Copies the database to `<file>.schema-<number>`. It appears under that name only when it is whole.
fn snapshot(connection: &Connection, path: &Path, found: u32) -> Result<()> {
    let whole = beside(path, &format!("schema-{found}"));
    let partial = beside(path, &format!("schema-{found}.part"));
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    // SQLite takes an empty file as it is, and so its mode.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial).map_err(io)?;
    connection.execute("VACUUM INTO ?1", [partial.to_string_lossy()]).map_err(sql)?;
    File::open(&partial).and_then(|file| file.sync_all()).map_err(io)?;
    std::fs::rename(&partial, &whole).map_err(io)?;
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)?;
    }
    info!(event = "store.snapshot", path = %whole.display(), "a copy was made before the schema changes");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const FIRST: &[&str] = &[MIGRATIONS[0]];
    const SECOND: &str = "CREATE TABLE second (a INTEGER) STRICT; INSERT INTO second VALUES (2);";

    fn version(connection: &Connection) -> u32 {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    }

    fn first(path: &Path) -> Connection {
        let mut connection = Connection::open(path).unwrap();
        migrate(&mut connection, path, FIRST).unwrap();
        connection.execute("INSERT INTO secrets VALUES ('kept', x'01')", []).unwrap();
        connection
    }

    #[test]
    fn an_existing_file_is_copied_before_it_is_migrated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite");
        let mut connection = first(&path);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "a new file needs no copy");
        migrate(&mut connection, &path, &[MIGRATIONS[0], SECOND]).unwrap();
        assert_eq!(version(&connection), 2);
        let copy = beside(&path, "schema-1");
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        let copy = Connection::open(copy).unwrap();
        assert_eq!(version(&copy), 1);
        assert_eq!(copy.query_row("SELECT name FROM secrets", [], |row| row.get::<_, String>(0)).unwrap(), "kept");
    }

    #[test]
    fn a_migration_that_fails_changes_nothing_and_can_be_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite");
        let mut connection = first(&path);
        let failing = format!("{SECOND} INSERT INTO nowhere VALUES (1);");
        assert!(migrate(&mut connection, &path, &[MIGRATIONS[0], &failing]).is_err());
        assert_eq!(version(&connection), 1);
        assert!(connection.prepare("SELECT * FROM second").is_err());
        // As an interrupted copy would leave it.
        std::fs::write(beside(&path, "schema-1.part"), b"half").unwrap();
        migrate(&mut connection, &path, &[MIGRATIONS[0], SECOND]).unwrap();
        assert_eq!(version(&connection), 2);
        assert_eq!(connection.query_row("SELECT a FROM second", [], |row| row.get::<_, i64>(0)).unwrap(), 2);
    }

    #[test]
    fn a_newer_schema_is_refused_untouched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite");
        let mut connection = first(&path);
        connection.pragma_update(None, "user_version", 7).unwrap();
        assert!(matches!(migrate(&mut connection, &path, FIRST), Err(Error::NewerSchema { found: 7, known: 1 })));
        assert_eq!(version(&connection), 7);
    }

    #[test]
    fn a_database_of_something_else_is_refused_untouched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite");
        let mut connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE theirs (a)").unwrap();
        assert!(matches!(migrate(&mut connection, &path, MIGRATIONS), Err(Error::Backend(_))));
        assert_eq!(version(&connection), 0);
    }
}
