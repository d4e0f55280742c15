//! Stream headers: reading the initiating entity's, writing our own (RFC 6120 §4.7).

use crate::{PeerVersion, Random};
use stonechat_jid::Domain;
use stonechat_stanza::{StreamCondition, StreamError, ns};
use stonechat_xml::{Header, Text, escape_attribute};

/// What a peer's header said, checked as far as it can be without knowing who is served.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) to: Option<Domain>,
    pub(crate) from: Option<Domain>,
    pub(crate) id: Option<Text>,
    pub(crate) version: PeerVersion,
}

pub(crate) fn read(header: &Header, content_namespace: &str) -> Result<Opening, StreamError> {
    // RFC 6120 §4.9.3.1, §4.9.3.10
    if &*header.name != "stream" {
        return Err(StreamCondition::BadFormat.into());
    }
    if &*header.namespace != ns::STREAM || &*header.default_namespace != content_namespace {
        return Err(StreamCondition::InvalidNamespace.into());
    }
    let domain = |name: &str| match header.attribute(name) {
        None => Ok(None),
        Some(text) => Domain::parse(text).map(Some),
    };
    let to = domain("to").map_err(|_| StreamError::new(StreamCondition::ImproperAddressing))?;
    // A client's `from` is an address; it is looked at when it has authenticated, and not before.
    let from = domain("from").ok().flatten();
    let version = match header.attribute("version").and_then(|version| version.split_once('.')) {
        Some((major, minor)) if major.parse::<u32>().is_ok_and(|major| major >= 1) && minor.parse::<u32>().is_ok() => {
            PeerVersion::Current
        }
        _ => PeerVersion::Old,
    };
    Ok(Opening { to, from, id: header.attribute("id").cloned(), version })
}

/// Our header, to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ours<'a> {
    pub(crate) content_namespace: &'static str,
    pub(crate) from: Option<&'a str>,
    pub(crate) to: Option<&'a str>,
    pub(crate) id: Option<&'a str>,
    /// RFC 6120 §4.7.5: who knows no version is told none.
    pub(crate) version: PeerVersion,
}

pub(crate) fn write(ours: Ours<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<?xml version='1.0'?><stream:stream xmlns='");
    out.extend_from_slice(ours.content_namespace.as_bytes());
    out.extend_from_slice(b"' xmlns:stream='http://etherx.jabber.org/streams'");
    if ours.content_namespace == ns::SERVER {
        out.extend_from_slice(b" xmlns:db='jabber:server:dialback'");
    }
    for (name, value) in [("from", ours.from), ("to", ours.to), ("id", ours.id)] {
        if let Some(value) = value {
            write_attribute(name, value, out);
        }
    }
    match ours.version {
        PeerVersion::Current => out.extend_from_slice(b" version='1.0' xml:lang='en'>"),
        PeerVersion::Old => out.push(b'>'),
    }
}

pub(crate) fn write_attribute(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    escape_attribute(value, out);
    out.push(b'\'');
}

pub(crate) const FOOTER: &[u8] = b"</stream:stream>";

/// 128 random bits in hexadecimal: a stream id (RFC 6120 §4.7.3 wants it unpredictable, since dialback keys hang on it).
pub(crate) fn stream_id(random: &dyn Random) -> String {
    let mut bytes = [0u8; 16];
    random.fill(&mut bytes);
    hex(&bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS.get(usize::from(value)).copied().unwrap_or(b'0'));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
