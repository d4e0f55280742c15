//! Devices of an account, known by the id of their user agent (XEP-0388 §2.2), and their tokens (XEP-0484).
//!
//! A token is derived from a secret of the server and what is kept here, so that the data alone lets nobody in.

use crate::{AccountId, Pending};

/// A token as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// What the token is derived from, beside the server's secret.
    pub seed: [u8; 16],
    /// The mechanism it was issued for, as in `HT-SHA-256-EXPR`.
    pub mechanism: String,
    /// Seconds since the Unix epoch.
    pub issued: u64,
    /// Seconds since the Unix epoch.
    pub expires: u64,
    /// The last count it was used with; 0 for none (XEP-0484 §3.3).
    pub count: u64,
}

impl std::fmt::Debug for StoredToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredToken")
            .field("mechanism", &self.mechanism)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The id of its user agent, as the client gave it.
    pub id: String,
    /// The software's name, when it said.
    pub software: Option<String>,
    /// The device's name, when it said.
    pub name: Option<String>,
    /// The mechanism with which it last proved the password that the account has now; `None` when it proved none since that
    /// was set. Log-ins with tokens leave it as it is.
    pub mechanism: Option<String>,
    /// Seconds since the Unix epoch.
    pub first_seen: u64,
    /// Seconds since the Unix epoch.
    pub last_seen: u64,
    /// Its tokens, in the order in which they were issued: the one in use, and the one issued last while it was not used yet.
    /// Two at most. The time of those that were not used may be over.
    pub tokens: Vec<StoredToken>,
}

/// What loses its force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proofs<'a> {
    /// The tokens of one device.
    Device(&'a str),
    /// The tokens of every device.
    Tokens,
    /// The tokens of every device, and what is known of those who proved the password: it is another one now.
    Password,
}

/// Storage of devices.
pub trait Devices {
    /// All devices of an account, the one seen last first.
    fn devices(&self, account: AccountId) -> Pending<Vec<Device>>;
    /// One.
    fn device(&self, account: AccountId, id: &str) -> Pending<Option<Device>>;
    /// Inserts one, or replaces what is known of it; `first_seen` and the tokens of one that is there stay as they are. When
    /// there would be more than `most`, of the others the one seen longest ago goes.
    fn put_device(&self, account: AccountId, device: Device, most: usize) -> Pending<()>;
    /// Adds a token to a device. Its other tokens go, all but `beside`, the one in use. `NotFound` for a device that is not
    /// there.
    fn put_token(&self, account: AccountId, device: &str, token: StoredToken, beside: Option<[u8; 16]>) -> Pending<()>;
    /// Notes that a token was used with this count, at that second, and tells when it was issued; nothing when the count is
    /// not higher than the one before (unless both are 0). Every other token of the device that was issued before this one
    /// goes, and the device was seen. `NotFound` for a token that is not there.
    fn use_token(&self, account: AccountId, device: &str, seed: [u8; 16], count: u64, at: u64) -> Pending<Option<u64>>;
    /// Removes a device and its tokens. `NotFound` when it is not there.
    fn remove_device(&self, account: AccountId, id: &str) -> Pending<()>;
    /// Removes tokens.
    fn remove_tokens(&self, account: AccountId, of: Proofs<'_>) -> Pending<()>;
}
