//! Passwords and their preparation.
//!
//! RFC 5802 §5.1 has the client hash `SASLprep(password)` (RFC 4013), and the server sees no more than the result. So
//! one form has to be chosen when a password is set, and it is the one that a conforming client computes:
//!
//! 1. SASLprep, where it takes the text (as a stored string: code points not assigned in Unicode 3.2 are refused);
//! 2. else OpaqueString (RFC 8265 §4.2): emoji, younger scripts, mixed directions. SASLprep has no form of these, and
//!    clients send them as they were typed;
//! 3. else it is no password.
//!
//! A client that does no preparation agrees for every text that SASLprep leaves as it is, which is what keyboards
//! produce: NFC without compatibility characters. Over PLAIN and in-band registration the text itself arrives, in any of
//! the forms, and the rule takes them all to the same one.
//!
//! Deliberately absent: rules about strength, which belong to whoever sets a password.

use precis_profiles::OpaqueString;
use precis_profiles::precis_core::profile::PrecisFastInvocation as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The longest prepared password, in bytes.
const LONGEST: usize = 1023;

/// The longest text looked at, in bytes: what prepares to [`LONGEST`] may be longer, but not by this much.
const LONGEST_TEXT: usize = 4 * LONGEST;

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
    /// Has characters that neither RFC 4013 nor RFC 8265 allows, or is longer than 1023 bytes.
    #[error("the password has characters that are not allowed, or is too long")]
    NotAllowed,
}

/// Prepares a password the same way at setting and at checking.
pub fn prepare_password(text: &str) -> Result<Password, PasswordError> {
    if text.is_empty() {
        return Err(PasswordError::Empty);
    }
    if text.len() > LONGEST_TEXT {
        return Err(PasswordError::NotAllowed);
    }
    let prepared = match stringprep::saslprep(text) {
        Ok(prepared) => prepared,
        Err(_) => OpaqueString::enforce(text).map_err(|_| PasswordError::NotAllowed)?,
    };
    let password = Password(prepared.into_owned());
    match password.0.len() {
        0 => Err(PasswordError::Empty),
        1..=LONGEST => Ok(password),
        _ => Err(PasswordError::NotAllowed),
    }
}
