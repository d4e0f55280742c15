//! Passwords and their preparation (RFC 8265 OpaqueString, with SASLprep agreeing where both accept).

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A prepared password; wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password(pub(crate) String);

impl Password {
    /// The prepared text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Why a text cannot be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Empty after preparation.
    #[error("a password cannot be empty")]
    Empty,
    /// Has characters that RFC 8265 does not allow, or is longer than 1023 bytes.
    #[error("the password has characters that are not allowed, or is too long")]
    NotAllowed,
}

/// Prepares a password the same way at setting and at checking.
pub fn prepare_password(_text: &str) -> Result<Password, PasswordError> {
    todo!()
}
