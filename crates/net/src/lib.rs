//! Listeners, TLS, and the drivers that run stream machines on sockets.
//!
//! [`link`] is one connection's two halves behind one lock: its TLS session and its outbox. Whoever routes a stanza to a
//! connection seals it and writes it to the socket from its own task when the socket takes it ([`Link::flush`]), so a
//! message costs one wake-up, not two; only what the socket does not take wakes the connection's own driver.
//!
//! Deliberately absent: XMPP rules (those are the machines' and the router's).

mod accept;
mod alarm;
mod bucket;
mod certificates;
mod client;
mod device;
mod link;
mod listener;
mod pace;
mod peer;
mod pool;
mod session;
mod tls;
mod verify;

pub use accept::{AddressLimits, Addresses, Place, Refused};
pub use bucket::Rate;
pub use certificates::{CertificateError, Certificates, CertifiedDomain};
pub use client::{ClientFront, ClientLimits, ClientTransport, RandomOf, hosts_of, serve_client};
pub use link::{Link, LinkLimits};
pub use listener::{Bound, Listener, ListenerError, bind};
pub use pace::{DomainLimits, Domains};
pub use peer::{PeerDialler, PeerFront, accept_peer};
pub use verify::{CertificateVerdict, Roots};
