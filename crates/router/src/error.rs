//! What the router refuses its callers.

use stonechat_stanza::StanzaError;

/// Why a resource was not bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// What the client is told.
    #[error("refused: {0}")]
    Refused(StanzaError),
    /// The account is gone or locked since it logged in.
    #[error("the account may not log in")]
    NotAllowed,
}

/// Why an account operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// There is none of that name.
    #[error("there is no such account")]
    NotFound,
    /// The name is taken, or was deleted not long ago.
    #[error("that name is taken, or belonged to somebody not long ago")]
    Conflict,
    /// The domain is not served here.
    #[error("the domain is not served here")]
    NotServed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] stonechat_store::Error),
}
