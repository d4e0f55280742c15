//! SASL as the receiving entity sees it (RFC 4422, RFC 5802, RFC 7677, HT for XEP-0484), as step machines; [`client`] has
//! the other side.
//!
//! A [`Negotiation`] is fed the client's messages and says what is wanted next: a challenge to send, the stored
//! credentials of an account, a slow password check, or the verdict. It reads no store, no clock and no random source. A
//! [`TokenNegotiation`] does the same for the tokens of devices.
//!
//! All three SCRAM keys are made whenever a password is set, since none can be derived from another; nothing that would
//! let its reader log in is kept (only StoredKey and ServerKey). An unknown account walks through the same messages as a
//! known one, with a salt that is stable for its name.
//!
//! Deliberately absent: DIGEST-MD5, CRAM-MD5, GSSAPI; tls-unique (RFC 9266 replaces it).

mod base64;
pub mod client;
mod credentials;
mod hash;
mod hashed_token;
mod mechanism;
mod message;
mod negotiation;
mod password;
mod scram;
mod token;
mod upgrade;

pub use self::base64::{decode, encode};
pub use credentials::{Credentials, DEFAULT_ITERATIONS, DecoySecret, ScramKeys};
pub use hashed_token::{Candidate, TokenLookup, TokenNegotiation, TokenStep, Validity};
pub use mechanism::{ChannelBinding, ChannelBindings, Hash, Mechanism, Offer, TlsVersion};
pub use negotiation::{Failure, Lookup, Negotiation, Notice, Step, Success, Verdict};
pub use password::{Password, PasswordError, prepare_password};
pub use token::{SEED_LENGTH, Token, TokenMechanism, TokenOwner, TokenSecret};
pub use upgrade::UpgradeTask;
