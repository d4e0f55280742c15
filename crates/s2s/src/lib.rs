//! Federation: resolving, connecting, proving, one ordered and bounded queue per pair of domains, and a record of every
//! attempt.
//!
//! [`Federation`] is the router's way to other domains. Each pair (our domain, theirs) has one task ([`link`]) that owns
//! its queue and its stream; it opens the stream when there is something to send, and answers for each stanza: written to
//! an authorised stream, or bounced to its sender once. What the router keeps of a stanza is given up then, and not before. Streams that others open are driven by [`inbound`].
//!
//! Deliberately absent: sockets and TLS, which come in as [`Channel`] and [`Dialler`]; the rules of the streams, which are
//! the machines'.

mod access;
mod channel;
mod federation;
mod inbound;
mod link;
mod outbound;
mod pace;
mod queue;
mod reach;
mod record;
mod resolve;
mod targets;

pub use access::{Access, Refusal};
pub use channel::{Channel, Dialler, Judgement, TlsRole};
pub use federation::{Federation, LinkState, Settings, Switch};
pub use inbound::serve_inbound;
pub use pace::{Arrived, Pace, Unpaced};
pub use reach::PrivateAddresses;
pub use resolve::{HickoryResolver, Resolve, ResolveError, SrvRecord};
pub use targets::{Security, Target};
