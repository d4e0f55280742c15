//! The server's own secrets (decoy salts, dialback keys): made once, kept with the data.

use crate::Pending;

/// Storage of secrets.
pub trait Secrets {
    /// The secret of that name; when there is none yet, `fresh` is stored and returned.
    fn secret(&self, name: &str, fresh: [u8; 32]) -> Pending<[u8; 32]>;
}
