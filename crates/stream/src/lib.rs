//! The state machines of streams (RFC 6120 §4 to §7, XEP-0220): a client's, and both ends of a server-to-server one.
//!
//! A machine is fed bytes, facts about TLS, the passage of time and answers to its questions; it gives bytes to send,
//! events, and the time of its next deadline. It reads no clock, draws no random number and touches no socket, so TCP,
//! direct TLS and a test with two machines wired together run the same code.
//!
//! States are enums whose variants own their data: a stream that is not authenticated has no field to route with. What
//! needs the outside (credentials, a certificate's worth, a dialback key's) leaves as an event with a [`Token`] and comes
//! back as a command; meanwhile what follows on the stream waits in order.
//!
//! Deliberately absent: delivery of stanzas to a client's stream. Once a resource is bound the router writes to the
//! connection itself.

mod acknowledge;
pub mod c2s;
mod dialback;
mod ending;
mod features;
mod forged;
mod header;
mod outside;
mod policy;
pub mod s2s_in;
pub mod s2s_out;
mod tls;
mod trail;
mod wire;

pub use dialback::{Dialback, DialbackSecret};
pub use ending::Closed;
pub use outside::{FeatureSource, HostStatus, Hosts, Phase, Random, Registration, Token};
pub use policy::{CertificatePolicy, DialbackPolicy, S2sPolicy, S2sTransport, TlsPolicy};
pub use tls::{PeerCertificate, TlsFacts, Validity};
pub use trail::{Offered, PeerVersion, Step};
pub use wire::Transmit;
