//! Tokens of devices (XEP-0484) and the mechanisms they are used with (draft-schmaus-kitten-sasl-ht-09 §2).
//!
//! No token is kept anywhere: it is made again, each time it is wanted, from a secret of this server and from what names
//! it (account, device, mechanism, seed). So a copy of the database lets nobody in, and a token that was issued for one
//! mechanism is another string under every other one: none can be used with a weaker binding than it was issued for.
//!
//! Deliberately absent: other hashes than SHA-256, which no client asks for alone; tls-unique on our side
//! ([`TokenMechanism::Unique`] is known by name, so that it can be refused by name, and never offered).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{ChannelBinding, ChannelBindings, Hash};

/// Bytes of a seed: draft-schmaus-kitten-sasl-ht-09 §5 asks for 128 bits of entropy in a token.
pub const SEED_LENGTH: usize = 16;

/// A mechanism of the HT family, by what it is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenMechanism {
    /// `HT-SHA-256-EXPR`: tls-exporter.
    Exporter,
    /// `HT-SHA-256-ENDP`: tls-server-end-point.
    EndPoint,
    /// `HT-SHA-256-UNIQ`: tls-unique, never offered (RFC 9266 §4.1).
    Unique,
    /// `HT-SHA-256-NONE`: nothing.
    None,
}

impl TokenMechanism {
    /// All of them, strongest first.
    pub const ALL: [TokenMechanism; 4] =
        [TokenMechanism::Exporter, TokenMechanism::EndPoint, TokenMechanism::Unique, TokenMechanism::None];

    /// The name, as in `HT-SHA-256-EXPR`.
    pub fn name(self) -> &'static str {
        match self {
            TokenMechanism::Exporter => "HT-SHA-256-EXPR",
            TokenMechanism::EndPoint => "HT-SHA-256-ENDP",
            TokenMechanism::Unique => "HT-SHA-256-UNIQ",
            TokenMechanism::None => "HT-SHA-256-NONE",
        }
    }

    /// By name, which is matched exactly (RFC 4422 §3.1: upper case only).
    pub fn from_name(name: &str) -> Option<TokenMechanism> {
        TokenMechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// What can be offered on a connection with these bindings, strongest first. XEP-0484 §3.1 wants one with channel
    /// binding and one without.
    pub fn available(bindings: &ChannelBindings) -> Vec<TokenMechanism> {
        TokenMechanism::ALL.into_iter().filter(|mechanism| mechanism.data(bindings).is_some()).collect()
    }

    /// `cb-data` of this connection; `None` when the connection cannot be bound that way.
    pub(crate) fn data(self, bindings: &ChannelBindings) -> Option<&[u8]> {
        match self {
            TokenMechanism::Exporter => bindings.get(ChannelBinding::TlsExporter),
            TokenMechanism::EndPoint => bindings.get(ChannelBinding::TlsServerEndPoint),
            TokenMechanism::Unique => None,
            TokenMechanism::None => Some(&[]),
        }
    }
}

/// Whose token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenOwner<'a> {
    /// The immutable identity of the account: a later owner of the same name has another one.
    pub account: i64,
    /// The id of the device's user agent, as the client gave it.
    pub device: &'a str,
}

/// A token, as it is told to its client once; wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Token(String);

impl Token {
    /// The text that the client is given (XEP-0484 §3.3), whose UTF-8 is the key of the exchange.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `initiator-hashed-token` and `responder-msg` of draft-schmaus-kitten-sasl-ht-09 §3.1 and §3.3.
    pub(crate) fn messages(&self, data: &[u8]) -> (Vec<u8>, Vec<u8>) {
        messages(self.0.as_bytes(), data)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What initiator and responder send with this token on a connection with this binding data.
pub(crate) fn messages(token: &[u8], data: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let side = |label: &[u8]| Hash::Sha256.hmac(token, &[label, data]);
    (side(b"Initiator"), side(b"Responder"))
}

/// The secret of this server from which all tokens are made. It has to outlive restarts, and to be kept apart from copies
/// of the devices' data where those go to others.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TokenSecret(pub [u8; 32]);

impl TokenSecret {
    /// The token that this seed names: `base64url(HMAC-SHA-256(secret, account, device, mechanism, seed))`, each piece
    /// after its length, so that no two lists of pieces are one string.
    pub fn token(&self, owner: TokenOwner<'_>, mechanism: TokenMechanism, seed: &[u8; SEED_LENGTH]) -> Token {
        let account = owner.account.to_be_bytes();
        let pieces: [&[u8]; 4] = [&account, owner.device.as_bytes(), mechanism.name().as_bytes(), seed];
        let lengths = pieces.map(|piece| (piece.len() as u64).to_be_bytes());
        let text: Vec<&[u8]> = lengths.iter().zip(pieces).flat_map(|(length, piece)| [&length[..], piece]).collect();
        let derived = Zeroizing::new(Hash::Sha256.hmac(&self.0, &text));
        Token(URL_SAFE_NO_PAD.encode(&*derived))
    }
}

impl std::fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: TokenOwner<'static> = TokenOwner { account: 7, device: "d4565fa7-4d72-4749-b3d3-740edbf87770" };

    #[test]
    fn names_and_mechanisms_agree() {
        for mechanism in TokenMechanism::ALL {
            assert_eq!(TokenMechanism::from_name(mechanism.name()), Some(mechanism));
        }
        for name in ["", "HT-SHA-256", "ht-sha-256-none", "HT-SHA-256-NONE ", "HT-SHA-512-EXPR", "HT-SHA-256-EXP"] {
            assert_eq!(TokenMechanism::from_name(name), None, "{name:?}");
        }
    }

    #[test]
    fn xep0484_3_1_what_is_offered_follows_the_connection() {
        let both = ChannelBindings {
            tls_exporter: Some(vec![1; 32]),
            tls_server_end_point: Some(vec![2; 32]),
            tls_version: None,
        };
        let end_point = ChannelBindings { tls_exporter: None, ..both.clone() };
        let table = [
            (both, vec![TokenMechanism::Exporter, TokenMechanism::EndPoint, TokenMechanism::None]),
            (end_point, vec![TokenMechanism::EndPoint, TokenMechanism::None]),
            (ChannelBindings::default(), vec![TokenMechanism::None]),
        ];
        for (bindings, expected) in table {
            assert_eq!(TokenMechanism::available(&bindings), expected);
        }
    }

    #[test]
    fn tokens_differ_in_whatever_names_them() {
        let secret = TokenSecret([1; 32]);
        let token = |secret: &TokenSecret, account, device: &str, mechanism, seed| {
            secret.token(TokenOwner { account, device }, mechanism, &[seed; 16]).expose().to_owned()
        };
        let all = [
            token(&secret, 7, "abc", TokenMechanism::Exporter, 1),
            token(&TokenSecret([2; 32]), 7, "abc", TokenMechanism::Exporter, 1),
            token(&secret, 8, "abc", TokenMechanism::Exporter, 1),
            token(&secret, 7, "abd", TokenMechanism::Exporter, 1),
            token(&secret, 7, "ab", TokenMechanism::Exporter, 1),
            token(&secret, 7, "abc", TokenMechanism::EndPoint, 1),
            token(&secret, 7, "abc", TokenMechanism::None, 1),
            token(&secret, 7, "abc", TokenMechanism::Exporter, 2),
        ];
        let different: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert!(all.iter().all(|token| token.len() == 43 && !token.contains(['+', '/', '='])));
        assert_eq!(all[0], token(&secret, 7, "abc", TokenMechanism::Exporter, 1));
    }

    #[test]
    fn abuse_158_no_token_is_printed() {
        let secret = TokenSecret([1; 32]);
        let token = secret.token(OWNER, TokenMechanism::None, &[1; 16]);
        assert_eq!(format!("{secret:?} {token:?}"), "TokenSecret(..) Token(..)");
    }
}
