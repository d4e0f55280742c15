//! What a machine asks of the outside: questions that leave as events and come back as commands, and what it may ask at
//! once, because the answer is in memory.

use stonechat_jid::Domain;
use stonechat_xml::Element;

/// Ties an answer to its question. Never reused on one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub(crate) u64);

/// Gives every question of a stream its token.
#[derive(Debug, Default)]
pub(crate) struct Tokens(u64);

impl Tokens {
    pub(crate) fn next(&mut self) -> Token {
        self.0 = self.0.saturating_add(1);
        Token(self.0)
    }
}

/// Whether a domain is served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostStatus {
    /// It is.
    Served,
    /// It was, and is no more: `host-gone`.
    Gone,
    /// It never was: `host-unknown`.
    Unknown,
}

/// Knows the served domains.
pub trait Hosts: Send + Sync {
    /// What a domain is to this server.
    fn status(&self, domain: &Domain) -> HostStatus;
    /// A name this server answers to, for the header in which a peer is told that it asked for another.
    fn authoritative(&self) -> Option<Domain> {
        None
    }
}

/// When a stream feature shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// After TLS, before authentication.
    BeforeAuthentication,
    /// After authentication.
    AfterAuthentication,
}

/// Whether accounts may be made in band before authentication (XEP-0077).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// They may: such IQs leave as events.
    Offered,
    /// They may not.
    Closed,
}

/// Knows what extensions add to the stream features.
pub trait FeatureSource: Send + Sync {
    /// The features of a phase.
    fn features(&self, phase: Phase, domain: &Domain) -> Vec<Element>;
    /// Whether registration is offered.
    fn registration(&self) -> Registration;
    /// A number that is another one whenever something else is said; `None` when nothing is to be remembered of it.
    fn revision(&self) -> Option<u64> {
        None
    }
}

/// A source of random bytes.
pub trait Random: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}
