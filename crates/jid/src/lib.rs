//! XMPP addresses (RFC 7622).
//!
//! Two levels of preparation. *Routing*: what peers route to us is normalised leniently (unassigned code points pass, the
//! older stringprep forms are understood), so that whatever another server considers an address can be addressed here.
//! *Creating*: what is made here (accounts, resources, rooms, nicknames) must satisfy PRECIS and strict stringprep both,
//! so that every older server can address it.
//!
//! Deliberately absent: XEP-0106 escaping (an address with `\20` in it is just that address).

mod domain;
mod parse;
mod prepare;

pub use prepare::{prepare_local, prepare_resource};

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No domain, or one that is not a name, an IPv4 address or a bracketed IPv6 address.
    #[error("the domain part is not valid")]
    Domain,
    /// An empty localpart before `@`, or one with characters that are not allowed.
    #[error("the local part is not valid")]
    Local,
    /// An empty resource after `/`, or one with characters that are not allowed.
    #[error("the resource part is not valid")]
    Resource,
    /// A part longer than 1023 bytes (RFC 7622 §3.2–3.4).
    #[error("a part of the address is longer than 1023 bytes")]
    TooLong,
}

/// How strictly an address is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Addresses that peers send us.
    Routing,
    /// Addresses that come into being here.
    Creating,
}

/// Any address, normalised. Cloning costs one reference count. Two addresses are equal when RFC 7622 says so.
#[derive(Clone)]
pub struct Jid {
    /// Begins with the address. A bare address may share the text of the full one it was made from, so what follows `len` is
    /// not part of it.
    text: Arc<str>,
    /// Bytes before `@`; 0 when there is no localpart.
    local_len: u16,
    /// Bytes of the domain.
    domain_len: u16,
    /// Bytes of the whole address.
    len: u16,
}

/// An address without a resource: an account, a room, or a domain by itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BareJid(Jid);

/// An address with a resource.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FullJid(Jid);

/// A domain name (U-labels, lower case), or an IP literal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(Arc<str>);

/// How many bytes past its end a bare address may share. Whoever sends a resource of a kilobyte must not make every place
/// that keeps the bare address keep that too.
const MAX_SHARED_TAIL: usize = 96;

impl Jid {
    /// Parses and normalises at [`Level::Routing`].
    pub fn parse(text: &str) -> Result<Jid, Error> {
        parse::parse(text, Level::Routing)
    }
    /// Parses and normalises at the given level.
    pub fn parse_at(text: &str, level: Level) -> Result<Jid, Error> {
        parse::parse(text, level)
    }
    fn domain_start(&self) -> usize {
        match usize::from(self.local_len) {
            0 => 0,
            local => local.saturating_add(1),
        }
    }
    fn bare_end(&self) -> usize {
        self.domain_start().saturating_add(usize::from(self.domain_len))
    }
    /// The localpart.
    pub fn local(&self) -> Option<&str> {
        match usize::from(self.local_len) {
            0 => None,
            local => self.text.get(..local),
        }
    }
    /// The domain.
    pub fn domain(&self) -> &str {
        self.text.get(self.domain_start()..self.bare_end()).unwrap_or_default()
    }
    /// The resource.
    pub fn resource(&self) -> Option<&str> {
        self.as_str().get(self.bare_end().saturating_add(1)..)
    }
    /// Whether it is a domain and nothing else.
    pub fn is_domain(&self) -> bool {
        self.len == self.domain_len
    }
    /// The address as text.
    pub fn as_str(&self) -> &str {
        self.text.get(..usize::from(self.len)).unwrap_or_default()
    }
    /// The address without its resource, as text.
    pub fn bare_str(&self) -> &str {
        self.text.get(..self.bare_end()).unwrap_or_default()
    }
    /// The same without its resource; shares the storage unless that would keep a long resource alive.
    pub fn to_bare(&self) -> BareJid {
        let bare = self.bare_str();
        let tail = self.text.len().saturating_sub(bare.len());
        let text = if tail <= MAX_SHARED_TAIL { Arc::clone(&self.text) } else { bare.into() };
        // No longer than the address, whose length fits.
        let len = u16::try_from(bare.len()).unwrap_or(self.len);
        BareJid(Jid { text, len, ..*self })
    }
    /// Whether there is no resource.
    pub fn is_bare(&self) -> bool {
        usize::from(self.len) == self.bare_end()
    }
    /// Whether both have the same localpart and domain, without making a bare address.
    pub fn same_bare(&self, other: &Jid) -> bool {
        self.bare_str() == other.bare_str()
    }
    /// As a full address, when there is a resource.
    pub fn to_full(&self) -> Option<FullJid> {
        self.resource().is_some().then(|| FullJid(self.clone()))
    }
    /// The domain as an owned value.
    pub fn to_domain(&self) -> Domain {
        Domain(self.domain().into())
    }
}

impl BareJid {
    /// Parses at [`Level::Routing`]; refuses a resource.
    pub fn parse(text: &str) -> Result<BareJid, Error> {
        Self::parse_at(text, Level::Routing)
    }
    /// Parses at the given level; refuses a resource.
    pub fn parse_at(text: &str, level: Level) -> Result<BareJid, Error> {
        let jid = Jid::parse_at(text, level)?;
        if jid.is_bare() { Ok(BareJid(jid)) } else { Err(Error::Resource) }
    }
    /// An account address from a localpart (prepared at `level`) and a domain.
    pub fn from_parts(local: &str, domain: &Domain, level: Level) -> Result<BareJid, Error> {
        let local = prepare_local(local, level)?;
        parse::join(Some(&local), domain.as_str(), None).map(BareJid)
    }
    /// The domain by itself as an address.
    pub fn from_domain(domain: &Domain) -> BareJid {
        // A domain is at most 1023 bytes.
        let len = u16::try_from(domain.0.len()).unwrap_or_default();
        BareJid(Jid { text: Arc::clone(&domain.0), local_len: 0, domain_len: len, len })
    }
    /// With a resource, prepared at `level`.
    pub fn with_resource(&self, resource: &str, level: Level) -> Result<FullJid, Error> {
        let resource = prepare_resource(resource, level)?;
        parse::join(self.local(), self.domain(), Some(&resource)).map(FullJid)
    }
    /// The localpart.
    pub fn local(&self) -> Option<&str> {
        self.0.local()
    }
    /// The domain.
    pub fn domain(&self) -> &str {
        self.0.domain()
    }
    /// The domain as an owned value.
    pub fn to_domain(&self) -> Domain {
        self.0.to_domain()
    }
    /// The address as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
    /// As a general address.
    pub fn as_jid(&self) -> &Jid {
        &self.0
    }
}

impl FullJid {
    /// Parses at [`Level::Routing`]; requires a resource.
    pub fn parse(text: &str) -> Result<FullJid, Error> {
        let jid = Jid::parse(text)?;
        if jid.is_bare() { Err(Error::Resource) } else { Ok(FullJid(jid)) }
    }
    /// The localpart.
    pub fn local(&self) -> Option<&str> {
        self.0.local()
    }
    /// The domain.
    pub fn domain(&self) -> &str {
        self.0.domain()
    }
    /// The resource.
    pub fn resource(&self) -> &str {
        self.0.resource().unwrap_or_default()
    }
    /// The same without its resource.
    pub fn to_bare(&self) -> BareJid {
        self.0.to_bare()
    }
    /// The address as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
    /// As a general address.
    pub fn as_jid(&self) -> &Jid {
        &self.0
    }
}

impl Domain {
    /// Parses and normalises (IDNA to U-labels, lower case, one trailing dot removed; IPv4 and bracketed IPv6 literals).
    pub fn parse(text: &str) -> Result<Domain, Error> {
        domain::prepare(text, Level::Routing).map(|prepared| Domain(prepared.into()))
    }
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// As A-labels, for DNS, SNI and certificates.
    pub fn to_ascii(&self) -> Result<String, Error> {
        domain::to_ascii(&self.0)
    }
}

impl PartialEq for Jid {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}
impl Eq for Jid {}
impl Hash for Jid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}
impl PartialOrd for Jid {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Jid {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}
macro_rules! text_traits {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Debug::fmt(self.as_str(), f) }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str { self.as_str() }
        }
        // Equal, ordered and hashed as its text, so that maps can be asked with a prepared `&str`.
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str { self.as_str() }
        }
        impl std::str::FromStr for $type {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> { Self::parse(text) }
        }
    )*};
}
text_traits!(Jid, BareJid, FullJid, Domain);
impl From<BareJid> for Jid {
    fn from(jid: BareJid) -> Jid {
        jid.0
    }
}
impl From<FullJid> for Jid {
    fn from(jid: FullJid) -> Jid {
        jid.0
    }
}
impl From<&Domain> for Jid {
    fn from(domain: &Domain) -> Jid {
        BareJid::from_domain(domain).0
    }
}
