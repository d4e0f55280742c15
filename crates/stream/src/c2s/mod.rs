//! A client's stream, as the receiving entity (RFC 6120 §4 to §7).
//!
//! [`machine`] has the states and the stream itself; [`negotiation`] the table of what can be negotiated, a row a
//! protocol, each in a file of its own: [`starttls`], [`sasl`], [`registration`], [`bind`]. What adds to the negotiation
//! adds a file and a row. [`stanzas`] is what is done with a bound client's stanzas.
//!
//! Roster versioning and subscription pre-approval are announced by the [`FeatureSource`], where their rules live.

mod auth;
mod bind;
mod machine;
mod negotiation;
mod registration;
mod sasl;
mod stanzas;
mod starttls;

use crate::{Closed, FeatureSource, Hosts, Random, Token};
use std::sync::Arc;
use std::time::Duration;
use stonechat_jid::{BareJid, Domain, FullJid};
use stonechat_sasl::{DecoySecret, Lookup, Password, Verdict};
use stonechat_stanza::{Stanza, StanzaError, StreamError};
use stonechat_xml::Limits as XmlLimits;

pub use crate::Transmit;
pub use auth::Failed;
pub use machine::C2s;

/// What TLS is to this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// STARTTLS is offered and required.
    StartTls,
    /// STARTTLS is offered; SCRAM works without it.
    StartTlsOptional,
    /// TLS is there from the first byte.
    DirectTls,
}

/// Bounds and times.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// XML before authentication. `bytes` bounds each element and the sum of them.
    pub before: XmlLimits,
    /// XML after.
    pub after: XmlLimits,
    /// From the first byte until a resource is bound.
    pub login: Duration,
    /// From the first byte of a stanza to its last.
    pub stanza: Duration,
    /// Silence after which a space is sent, so that a dead connection shows.
    pub keepalive: Duration,
    /// Failed authentications.
    pub attempts: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            before: XmlLimits::BEFORE_AUTHENTICATION,
            after: XmlLimits::CLIENT,
            login: Duration::from_secs(30),
            stanza: Duration::from_secs(60),
            keepalive: Duration::from_secs(600),
            attempts: 3,
        }
    }
}

/// What streams of one kind share.
pub struct Config {
    /// The served domains.
    pub hosts: Arc<dyn Hosts>,
    /// What extensions add.
    pub features: Arc<dyn FeatureSource>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// For accounts that do not exist.
    pub decoy: DecoySecret,
    /// TLS.
    pub transport: Transport,
    /// Bounds and times.
    pub limits: Limits,
}

/// What the machine wants known or done.
#[derive(Debug)]
pub enum Event {
    /// Send what is to be sent, then run the handshake for this domain and call [`C2s::on_tls`].
    StartTls(Domain),
    /// Look the account up and answer with [`Command::Credentials`].
    Lookup(Token, BareJid),
    /// Check the password, which is slow, and answer with [`Command::PasswordChecked`].
    CheckPassword(Token, Password, Box<stonechat_sasl::Credentials>),
    /// An authentication failed.
    AuthenticationFailed(Failed),
    /// The client is who it says.
    Authenticated(BareJid),
    /// Bind a resource of the account and answer with [`Command::Bound`] or [`Command::BindRefused`].
    Bind(Token, BareJid, Option<String>),
    /// `jabber:iq:register` before authentication at this domain; answer with [`Command::Send`].
    Register(Domain, Stanza),
    /// A stanza of the bound client, stamped.
    Stanza(Stanza),
    /// The stream has ended; nothing follows. What is to be sent is sent first.
    Closed(Closed),
}

/// What the outside tells the machine.
#[derive(Debug)]
pub enum Command {
    /// Answers [`Event::Lookup`].
    Credentials(Token, Lookup),
    /// Answers [`Event::CheckPassword`].
    PasswordChecked(Token, Verdict),
    /// Answers [`Event::Bind`].
    Bound(Token, FullJid),
    /// Answers [`Event::Bind`].
    BindRefused(Token, StanzaError),
    /// Sends a stanza before a resource is bound.
    Send(Stanza),
    /// Ends the stream.
    Close(Option<StreamError>),
}
