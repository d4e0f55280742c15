//! What is stored of a password.

use crate::{Hash, Password};

/// Iterations of PBKDF2 for newly set passwords (RFC 7677 §4 asks for at least 4096).
pub const DEFAULT_ITERATIONS: u32 = 10_000;

/// What SCRAM stores for one hash (RFC 5802 §3): not enough to log in with.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// Salt, 16 bytes or more.
    pub salt: Vec<u8>,
    /// Iteration count.
    pub iterations: u32,
    /// H(ClientKey).
    pub stored_key: Vec<u8>,
    /// HMAC(SaltedPassword, "Server Key").
    pub server_key: Vec<u8>,
}

/// The credentials of one account: the keys for each hash it has.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Keys for SCRAM-SHA-1.
    pub sha1: Option<ScramKeys>,
    /// Keys for SCRAM-SHA-256.
    pub sha256: Option<ScramKeys>,
    /// Keys for SCRAM-SHA-512.
    pub sha512: Option<ScramKeys>,
}

impl Credentials {
    /// Derives all three from a prepared password. Slow by design (three PBKDF2 runs): call it off the I/O threads.
    /// `salts` are three independent random values.
    pub fn derive(_password: &Password, _salts: [[u8; 16]; 3], _iterations: u32) -> Credentials {
        todo!()
    }
    /// The keys for a hash.
    pub fn keys(&self, hash: Hash) -> Option<&ScramKeys> {
        match hash {
            Hash::Sha1 => self.sha1.as_ref(),
            Hash::Sha256 => self.sha256.as_ref(),
            Hash::Sha512 => self.sha512.as_ref(),
        }
    }
    /// Whether the password is the right one, in constant time with respect to the keys. Slow (one PBKDF2 run): call it
    /// off the I/O threads. Uses the strongest hash there is.
    pub fn verify(&self, _password: &Password) -> bool {
        todo!()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}
impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramKeys(..)")
    }
}

/// A secret of this server from which the salts of accounts that do not exist are made, so that they are stable and an
/// unknown account looks like a known one.
#[derive(Clone)]
pub struct DecoySecret(pub [u8; 32]);

impl DecoySecret {
    /// Credentials that no password matches, the same ones for the same name each time.
    pub fn credentials(&self, _username: &str) -> Credentials {
        todo!()
    }
}
