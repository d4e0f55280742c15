//! FAST (XEP-0484): a device that has logged in once gets a token, and comes back with it in one flight. The tokens, their
//! times and their rotation are those of whoever keeps devices; here is what is said about them.
//!
//! Deliberately absent: early data of TLS, which is not read before a handshake is complete (`tls-0rtt` is not announced;
//! counts are kept all the same).

use super::auth;
use super::machine::C2s;
use stonechat_jid::BareJid;
use stonechat_sasl::{Failure, TokenMechanism};
use stonechat_stanza::ns;
use stonechat_xml::Element;

/// Which tokens are wanted: those of one device, issued for one mechanism.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokensOf {
    /// The account, as far as its name could be read: it may not exist.
    pub account: BareJid,
    /// The id of the device's user agent.
    pub device: String,
    /// The mechanism in use. A token that was issued for another is none (XEP-0484 §3.4).
    pub mechanism: TokenMechanism,
}

/// What is to become of a token that was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenFate {
    /// It stays, as long as it would.
    #[default]
    Kept,
    /// It is to be forgotten at once, and not replaced unless that was asked for (XEP-0484 §3.6).
    Invalidated,
}

/// A token for the client.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The secret.
    pub token: String,
    /// Until when it is good (XEP-0082).
    pub expiry: String,
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken").field("expiry", &self.expiry).finish_non_exhaustive()
    }
}

impl IssuedToken {
    pub(super) fn element(&self) -> Element {
        Element::new("token", ns::FAST)
            .with_attribute("token", self.token.clone())
            .with_attribute("expiry", self.expiry.clone())
    }
}

/// `<fast/>`: the client proves itself by a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) count: u64,
    pub(super) fate: TokenFate,
}

impl Use {
    pub(super) fn read(element: &Element) -> Result<Use, Failure> {
        let count = match element.attribute("count") {
            None => 0,
            Some(count) if count.bytes().all(|byte| byte.is_ascii_digit()) => {
                count.parse().map_err(|_| Failure::MalformedRequest)?
            }
            Some(_) => return Err(Failure::MalformedRequest),
        };
        let fate = match element.attribute("invalidate") {
            None | Some("false" | "0") => TokenFate::Kept,
            Some("true" | "1") => TokenFate::Invalidated,
            Some(_) => return Err(Failure::MalformedRequest),
        };
        Ok(Use { count, fate })
    }
}

/// What this connection could use a token with, strongest first; nothing when there are no tokens here.
pub(super) fn available(stream: &C2s) -> Vec<TokenMechanism> {
    match stream.config.tokens {
        Some(_) => TokenMechanism::available(&auth::bindings(&stream.security)),
        None => Vec::new(),
    }
}

/// The inline feature (XEP-0484 §3.1).
pub(super) fn feature(stream: &C2s) -> Option<Element> {
    let available = available(stream);
    (!available.is_empty()).then(|| {
        Element::new("fast", ns::FAST).with_children(
            available.iter().map(|mechanism| Element::new("mechanism", ns::FAST).with_text(mechanism.name())),
        )
    })
}
