//! What can go wrong in a store.

/// A store's failure. None of it is shown to peers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database is newer than this program.
    #[error(
        "the database has schema {found}, this program knows up to {known}: start the newer program, or restore a backup"
    )]
    NewerSchema {
        /// In the file.
        found: u32,
        /// Of this program.
        known: u32,
    },
    /// No space, or the file system refuses writes: temporary from a peer's point of view.
    #[error("the store cannot write: {0}")]
    Full(String),
    /// The write queue is at its bound.
    #[error("the store is overloaded")]
    Overloaded,
    /// Somebody else has the data open: the path, and who, as far as that is known.
    #[error("{0} is in use by another process")]
    InUse(String),
    /// It was closed.
    #[error("the store is closed")]
    Closed,
    /// A unique record exists already.
    #[error("it exists already")]
    Conflict,
    /// The account or record is not there.
    #[error("it does not exist")]
    NotFound,
    /// Anything else, with its source.
    #[error("store: {0}")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A store's result.
pub type Result<T> = std::result::Result<T, Error>;
