//! What SQLite and the system say, in the words of the store.

use rusqlite::{ErrorCode, ffi};
use stonechat_store::Error;

pub(crate) fn io(error: std::io::Error) -> Error {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::ReadOnlyFilesystem | ErrorKind::QuotaExceeded => {
            Error::Full(error.to_string())
        }
        _ => Error::Backend(Box::new(error)),
    }
}

pub(crate) fn sql(error: rusqlite::Error) -> Error {
    let Some(failure) = error.sqlite_error() else { return Error::Backend(Box::new(error)) };
    match failure.extended_code {
        // Foreign keys are the account's, and that of tokens, which are written with their device.
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Error::NotFound,
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_UNIQUE => Error::Conflict,
        _ if cannot_write(failure.code) => Error::Full(error.to_string()),
        _ => Error::Backend(Box::new(error)),
    }
}

fn cannot_write(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
    )
}

/// Why a whole transaction is not there; told to each of its callers.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    text: String,
    cannot_write: bool,
    is_final: bool,
}

impl Refusal {
    pub(crate) fn new(error: &rusqlite::Error) -> Refusal {
        let failure = error.sqlite_error();
        Refusal {
            text: error.to_string(),
            cannot_write: failure.is_some_and(|failure| cannot_write(failure.code)),
            // After a failed sync the system may count pages as clean that never reached the disk: a second try would
            // seem to succeed. Only a new start reads what is really there.
            is_final: failure.is_some_and(|failure| {
                matches!(failure.extended_code, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)
            }),
        }
    }

    /// SQLite rolled the transaction back by itself while a write ran: it does so when there is no room or no memory.
    pub(crate) fn given_up(complaint: Option<String>) -> Refusal {
        let text = complaint.unwrap_or_else(|| "a transaction was given up half-way".into());
        Refusal { text, cannot_write: true, is_final: false }
    }

    pub(crate) fn is_final(&self) -> bool {
        self.is_final
    }

    pub(crate) fn error(&self) -> Error {
        if self.cannot_write { Error::Full(self.text.clone()) } else { Error::Backend(self.text.clone().into()) }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
