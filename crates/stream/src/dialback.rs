//! Dialback keys (XEP-0185) and the two elements of dialback (XEP-0220).

use crate::header::{hex, write_attribute};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use stonechat_jid::Domain;
use stonechat_stanza::{StanzaCondition, ns};
use stonechat_xml::{Element, Frame, escape_text};
use subtle::ConstantTimeEq;

/// What keys are made from: the same on every node of a server, drawn once from the operating system.
#[derive(Clone)]
pub struct DialbackSecret {
    hashed: String,
}

impl DialbackSecret {
    /// From 32 random bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        DialbackSecret { hashed: hex(&Sha256::digest(secret)) }
    }

    /// XEP-0185 §2: HMAC-SHA-256 over the three fields, keyed by the hashed secret. Spaces separate them, and a domain has
    /// none, so that no other three fields read the same.
    pub(crate) fn key(&self, receiving: &Domain, originating: &Domain, stream_id: &str) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.hashed.as_bytes()) else { return String::new() };
        mac.update(format!("{receiving} {originating} {stream_id}").as_bytes());
        hex(&mac.finalize().into_bytes())
    }

    /// Whether a key that somebody was given is one of ours.
    pub(crate) fn matches(&self, receiving: &Domain, originating: &Domain, stream_id: &str, key: &str) -> Dialback {
        let ours = self.key(receiving, originating, stream_id);
        let equal = !ours.is_empty() && bool::from(ours.as_bytes().ct_eq(key.as_bytes()));
        if equal { Dialback::Valid } else { Dialback::Invalid }
    }
}

impl std::fmt::Debug for DialbackSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DialbackSecret(..)")
    }
}

/// What dialback found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialback {
    /// The authoritative server knows the key.
    Valid,
    /// It does not.
    Invalid,
    /// It could not be asked, for this reason (XEP-0220 §2.4.2): `remote-connection-failed` (said as
    /// `remote-server-timeout` where no such condition is), `remote-server-not-found`, `item-not-found`,
    /// `not-acceptable`, `policy-violation` …
    Failed(StanzaCondition),
}

impl Dialback {
    fn name(self) -> &'static str {
        match self {
            Dialback::Valid => "valid",
            Dialback::Invalid => "invalid",
            Dialback::Failed(_) => "error",
        }
    }
}

impl std::fmt::Display for Dialback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Dialback::Failed(condition) => write!(f, "error ({})", condition.name()),
            answer => f.write_str(answer.name()),
        }
    }
}

/// The addresses of a dialback element.
pub(crate) fn addresses(frame: &Frame) -> Option<(Domain, Domain)> {
    let domain = |name| frame.attribute(name).and_then(|text| Domain::parse(text).ok());
    Some((domain("from")?, domain("to")?))
}

/// Whether an element of dialback asks or answers (XEP-0220 §2.1: an answer has a `type`).
pub(crate) enum Direction {
    Request {
        key: String,
    },
    Answer(Dialback),
    /// A type that nobody has defined.
    Unknown,
}

pub(crate) fn direction(frame: &Frame) -> Direction {
    let element = frame.to_element().ok();
    match frame.attribute("type").map(|text| &**text) {
        None => Direction::Request { key: element.map(|element| element.text().trim().to_owned()).unwrap_or_default() },
        Some("valid") => Direction::Answer(Dialback::Valid),
        Some("invalid") => Direction::Answer(Dialback::Invalid),
        Some("error") => Direction::Answer(Dialback::Failed(condition(element.as_ref()))),
        Some(_) => Direction::Unknown,
    }
}

/// The condition in the `<error/>` of an answer of type error (XEP-0220 §2.4.2).
fn condition(element: Option<&Element>) -> StanzaCondition {
    let defined = element
        .and_then(|element| element.children().find(|child| child.name() == "error"))
        .and_then(|error| error.children().find(|child| child.namespace() == ns::STANZA_ERRORS));
    match defined.map(Element::name) {
        // XEP-0220 has a condition that RFC 6120 has not.
        Some("remote-connection-failed") => StanzaCondition::RemoteServerTimeout,
        name => name.and_then(StanzaCondition::from_name).unwrap_or(StanzaCondition::UndefinedCondition),
    }
}

/// `<db:result/>` or `<db:verify/>`, for a stream whose header binds the prefix: peers of old know no other way.
pub(crate) struct Outgoing<'a> {
    pub(crate) name: &'static str,
    pub(crate) from: &'a Domain,
    pub(crate) to: &'a Domain,
    pub(crate) id: Option<&'a str>,
    pub(crate) content: Content<'a>,
}

pub(crate) enum Content<'a> {
    Key(&'a str),
    Answer(Dialback),
}

impl Outgoing<'_> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<db:");
        out.extend_from_slice(self.name.as_bytes());
        let kind = match self.content {
            Content::Key(_) => None,
            Content::Answer(answer) => Some(answer.name()),
        };
        let attributes =
            [("from", Some(self.from.as_str())), ("to", Some(self.to.as_str())), ("id", self.id), ("type", kind)];
        for (name, value) in attributes {
            if let Some(value) = value {
                write_attribute(name, value, out);
            }
        }
        match self.content {
            Content::Key(key) => {
                out.push(b'>');
                escape_text(key, out);
            }
            Content::Answer(Dialback::Failed(condition)) => {
                out.push(b'>');
                // In the content namespace, as in XEP-0220 §2.4.2.
                let condition = Element::new(condition.name(), ns::STANZA_ERRORS);
                Element::new("error", ns::SERVER)
                    .with_attribute("type", "cancel")
                    .with_child(condition)
                    .write(out, ns::SERVER);
            }
            Content::Answer(_) => return out.extend_from_slice(b"/>"),
        }
        out.extend_from_slice(b"</db:");
        out.extend_from_slice(self.name.as_bytes());
        out.push(b'>');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn xep0185_the_example_key() {
        // XEP-0185 §3: secret "s3cr3tf0rd14lb4ck".
        let secret = DialbackSecret { hashed: hex(&Sha256::digest(b"s3cr3tf0rd14lb4ck")) };
        assert_eq!(
            secret.key(&domain("xmpp.example.com"), &domain("example.org"), "D60000229F"),
            "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643"
        );
    }

    #[test]
    fn abuse_131_a_key_holds_for_one_stream_and_one_pair() {
        let secret = DialbackSecret::new(&[7; 32]);
        let (a, b, c) = (domain("a.example"), domain("b.example"), domain("c.example"));
        let key = secret.key(&a, &b, "1");
        assert_eq!(secret.matches(&a, &b, "1", &key), Dialback::Valid);
        for (receiving, originating, id) in [(&b, &a, "1"), (&a, &c, "1"), (&a, &b, "2"), (&a, &b, "1 ")] {
            assert_eq!(secret.matches(receiving, originating, id, &key), Dialback::Invalid);
        }
        assert_eq!(secret.matches(&a, &b, "1", ""), Dialback::Invalid);
    }

    #[test]
    fn the_elements_carry_the_prefix() {
        let mut out = Vec::new();
        let (a, b) = (domain("a.example"), domain("b.example"));
        Outgoing { name: "result", from: &a, to: &b, id: None, content: Content::Key("k") }.write(&mut out);
        Outgoing { name: "verify", from: &a, to: &b, id: Some("1"), content: Content::Answer(Dialback::Valid) }
            .write(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "<db:result from='a.example' to='b.example'>k</db:result>\
             <db:verify from='a.example' to='b.example' id='1' type='valid'/>"
        );
    }
}
