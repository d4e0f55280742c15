//! Dialback keys (XEP-0185) and the two elements of dialback (XEP-0220).

use crate::shared::hex;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use stonechat_jid::Domain;
use stonechat_stanza::ns;
use stonechat_xml::{Element, Frame};
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

    /// XEP-0185 §2: HMAC-SHA-256 over the three fields, keyed by the hashed secret. Spaces separate them, and none of them
    /// can have one.
    pub(crate) fn key(&self, receiving: &Domain, originating: &Domain, stream_id: &str) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.hashed.as_bytes()) else { return String::new() };
        mac.update(format!("{receiving} {originating} {stream_id}").as_bytes());
        hex(&mac.finalize().into_bytes())
    }

    /// Whether a key that somebody was given is one of ours.
    pub(crate) fn matches(&self, receiving: &Domain, originating: &Domain, stream_id: &str, key: &str) -> Dialback {
        let ours = self.key(receiving, originating, stream_id);
        let equal = !ours.is_empty() && !stream_id.contains(' ') && bool::from(ours.as_bytes().ct_eq(key.as_bytes()));
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
    /// It could not be asked.
    Failed,
}

impl Dialback {
    fn name(self) -> &'static str {
        match self {
            Dialback::Valid => "valid",
            Dialback::Invalid => "invalid",
            Dialback::Failed => "error",
        }
    }
}

/// The addresses of a dialback element.
pub(crate) fn addresses(frame: &Frame) -> Option<(Domain, Domain)> {
    let domain = |name| frame.attribute(name).and_then(|text| Domain::parse(text).ok());
    Some((domain("from")?, domain("to")?))
}

/// The answer an element of type valid, invalid or error gives; `None` for a request.
pub(crate) fn answer(frame: &Frame) -> Option<Dialback> {
    match frame.attribute("type").map(|text| &**text) {
        Some("valid") => Some(Dialback::Valid),
        Some("invalid") => Some(Dialback::Invalid),
        Some("error") => Some(Dialback::Failed),
        _ => None,
    }
}

/// The key an element carries.
pub(crate) fn key_of(frame: &Frame) -> String {
    frame.to_element().map(|element| element.text().trim().to_owned()).unwrap_or_default()
}

/// `<db:result/>` or `<db:verify/>`.
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
        let mut element = Element::new(self.name, ns::DIALBACK)
            .with_attribute("from", self.from.as_str())
            .with_attribute("to", self.to.as_str())
            .with_attribute_if("id", self.id);
        match self.content {
            Content::Key(key) => element = element.with_text(key),
            Content::Answer(answer) => {
                element = element.with_attribute("type", answer.name());
                if answer == Dialback::Failed {
                    // XEP-0220 §2.4.2
                    element = element.with_child(
                        Element::new("error", ns::DIALBACK)
                            .with_attribute("type", "cancel")
                            .with_child(Element::new("remote-connection-failed", ns::STANZA_ERRORS)),
                    );
                }
            }
        }
        // Peers that know no namespaces want the prefix that the header binds.
        let mut written = Vec::new();
        element.write(&mut written, ns::DIALBACK);
        prefixed(&written, self.name, out);
    }
}

/// Puts `db:` before the element's own name; its children have namespaces of their own or are in the same one.
fn prefixed(written: &[u8], name: &str, out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(written);
    let open = format!("<{name}");
    let close = format!("</{name}>");
    let text = text.replacen(&open, &format!("<db:{name}"), 1);
    let text = match text.strip_suffix(&close) {
        Some(rest) => format!("{rest}</db:{name}>"),
        None => text,
    };
    let text = text.replace("<error ", "<db:error ").replace("</error>", "</db:error>");
    out.extend_from_slice(text.as_bytes());
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
        Outgoing { name: "verify", from: &a, to: &b, id: Some("1"), content: Content::Answer(Dialback::Valid) }.write(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "<db:result from='a.example' to='b.example'>k</db:result>\
             <db:verify from='a.example' to='b.example' id='1' type='valid'/>"
        );
    }
}
