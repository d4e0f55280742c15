//! A client's stream, as the receiving entity (RFC 6120 §4 to §7).
//!
//! [`machine`] has the states and the stream itself; [`negotiation`] the table of what can be negotiated, a row a
//! protocol, each in a file of its own: [`starttls`], [`sasl`], [`sasl2`], [`registration`], [`bind`], [`management`],
//! [`client_state`]. What adds to the negotiation adds a file and a row. What rides on [`sasl2`] has files too:
//! [`authenticate`] reads what is asked for, [`upgrade`], [`fast`] and [`bind2`] are what may be, [`pipelining`] lets it be
//! asked early; [`remembered`] spares writing the features anew for each stream. [`stanzas`] is what is done with a bound
//! client's stanzas.
//!
//! Roster versioning and subscription pre-approval are announced by the [`FeatureSource`], where their rules live.

mod auth;
mod authenticate;
mod bind;
mod bind2;
mod client_state;
mod fast;
mod machine;
mod management;
mod negotiation;
mod pipelining;
mod registration;
mod remembered;
mod sasl;
mod sasl2;
mod stanzas;
mod starttls;
mod upgrade;

use crate::{Closed, FeatureSource, Hosts, Random, Token};
use std::sync::Arc;
use std::time::Duration;
use stonechat_jid::{BareJid, Domain, FullJid};
use stonechat_sasl::{DecoySecret, Failure, Hash, Lookup, Password, ScramKeys, TokenLookup, TokenSecret, Verdict};
use stonechat_stanza::{Stanza, StanzaCondition, StanzaError, StreamError};
use stonechat_xml::Limits as XmlLimits;

pub use crate::Transmit;
pub use auth::Failed;
pub use authenticate::UserAgent;
pub use bind2::{Bind2Request, Bound2, Carbons};
pub use client_state::ClientState;
pub use fast::{IssuedToken, TokenFate, TokensOf};
pub use machine::C2s;
pub use management::{Enabled, ResumeRequest, Resumed, Resumption};
pub use remembered::Remembered;
pub use sasl2::{Authorized, Granted};

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
    /// What tokens of devices are made from (XEP-0484); `None` where there are none.
    pub tokens: Option<TokenSecret>,
    /// TLS.
    pub transport: Transport,
    /// Bounds and times.
    pub limits: Limits,
    /// What was offered to earlier streams.
    pub remembered: Remembered,
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
    /// The client is who it says, by classic SASL. (By XEP-0388: [`Event::Authorized`].)
    Authenticated(BareJid),
    /// Look for tokens of a device and answer with [`Command::Tokens`].
    LookupTokens(Token, TokensOf),
    /// A client that has proved its password brings keys for a hash that its account lacks (XEP-0480). Keep them, beside
    /// the others, and answer with [`Command::Upgraded`].
    Upgraded(Token, BareJid, Hash, ScramKeys),
    /// The client is who it says, by XEP-0388; answer with [`Command::Granted`] or [`Command::Denied`]. Before that the
    /// device and the use of its token are noted, and a token is issued that was asked for or is due. What the log-in
    /// asks for beside (a session to be resumed, a resource) comes after.
    Authorized(Token, Authorized),
    /// Bind a resource as part of the log-in and answer with [`Command::Bound2`] or [`Command::BindRefused`], which
    /// refuses the log-in as a whole.
    Bind2(Token, Bind2Request),
    /// Bind a resource of the account and answer with [`Command::Bound`] or [`Command::BindRefused`].
    Bind(Token, BareJid, Option<String>),
    /// `jabber:iq:register` before authentication at this domain; answer with [`Command::Send`].
    Register(Domain, Stanza),
    /// A stanza of the bound client, stamped.
    Stanza(Stanza),
    /// A stanza of the bound client that goes nowhere: what the stream answers, when it answers. Once a resource is bound
    /// the machine writes no stanza itself, so that those sent are counted in one place; and every stanza that came makes
    /// one [`Event::Stanza`] or one of these, in order, so that those received are.
    Reply(Option<Stanza>),
    /// The bound client wants its stanzas acknowledged; answer with [`Command::Enabled`] or [`Command::EnableRefused`].
    /// What comes after it waits for the answer; both counts begin with it (XEP-0198 §4).
    Enable(Token, Resumption),
    /// The client wants a session back instead of a resource; answer with [`Command::Resumed`], [`Command::ResumeRefused`]
    /// or, when `h` is more than was sent, [`Command::AcknowledgedTooMuch`].
    Resume(Token, ResumeRequest),
    /// The client has handled that many of the stanzas it was sent, modulo 2³². [`Command::AcknowledgedTooMuch`] when
    /// they are more than it was.
    Acknowledged(u32),
    /// The client wants to know how many of its stanzas were handled: [`Command::Acknowledge`], as soon as what came
    /// before is. One answer is enough for several requests.
    AcknowledgementRequested,
    /// Whether somebody looks at the bound client (XEP-0352). A session begins, and is resumed, as active.
    ClientState(ClientState),
    /// The bound client has closed its direction: [`Command::Leave`], once everything that it sent and acknowledged is safe. Our
    /// own end tells it so (RFC 6120 §4.4).
    Leaving,
    /// The stream has ended; nothing follows. What is to be sent is sent first. [`Closed::Cleanly`], and nothing else,
    /// ends a session that could be resumed.
    Closed(Closed),
}

/// What the outside tells the machine.
#[derive(Debug)]
pub enum Command {
    /// Answers [`Event::Lookup`].
    Credentials(Token, Lookup),
    /// Answers [`Event::CheckPassword`].
    PasswordChecked(Token, Verdict),
    /// Answers [`Event::LookupTokens`].
    Tokens(Token, TokenLookup),
    /// Answers [`Event::Upgraded`], whether the keys could be kept or not.
    Upgraded(Token),
    /// Answers [`Event::Authorized`].
    Granted(Token, Granted),
    /// Answers [`Event::Authorized`]: [`Failure::NotAuthorized`] for a token that is used up or gone.
    Denied(Token, Failure),
    /// Answers [`Event::Bind`].
    Bound(Token, FullJid),
    /// Answers [`Event::Bind2`].
    Bound2(Token, Bound2),
    /// Answers [`Event::Bind`] or [`Event::Bind2`].
    BindRefused(Token, StanzaError),
    /// Answers [`Event::Enable`]: `<enabled/>` is written, and counting is on.
    Enabled(Token, Enabled),
    /// Answers [`Event::Enable`].
    EnableRefused(Token, StanzaCondition),
    /// Answers [`Event::Resume`]: `<resumed/>` is written, the address is bound and counting is on. What the client had
    /// not acknowledged is sent behind it.
    Resumed(Token, Resumed),
    /// Answers [`Event::Resume`]: there is no such session of this account. How many of its stanzas were handled, when
    /// that is still known. The client may bind a resource then.
    ResumeRefused(Token, Option<u32>),
    /// Answers [`Event::Leaving`]: our direction is closed too.
    Leave,
    /// Tells how many of the client's stanzas were handled, modulo 2³²; at any time while counting is on.
    Acknowledge(u32),
    /// Ends the stream: the client acknowledged `h` stanzas and was sent `sent`.
    AcknowledgedTooMuch {
        /// What the client said.
        h: u32,
        /// How many it was sent, modulo 2³².
        sent: u32,
    },
    /// Sends a stanza before a resource is bound; after that it is ignored.
    Send(Stanza),
    /// Ends the stream.
    Close(Option<StreamError>),
}
