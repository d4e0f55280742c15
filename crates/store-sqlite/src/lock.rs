//! One process at a time: the lock of the data.
//!
//! SQLite itself lets many processes in, but the store keeps order in memory (what was called before what), and two
//! servers on the same accounts would each deliver the same kept messages. The lock lies on a file beside the database and
//! is the system's (`flock`): it goes with the process, however that ends, so there is no stale one to remove.

use crate::errors::io;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use stonechat_store::{Error, Result};

/// Held while it lives.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn take(database: &Path) -> Result<Lock> {
        let path = beside(database, "lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The number is for people; the lock does not depend on it.
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => String::new(),
                    number => format!(" (process {number})"),
                };
                return Err(Error::InUse(format!("{}{holder}", database.display())));
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        // Nor does it on writing it: a full disk does not keep the server from starting.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Lock { _file: file })
    }
}

/// The path with `.suffix` added to the file's whole name.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".");
    path.push(suffix);
    path.into()
}
