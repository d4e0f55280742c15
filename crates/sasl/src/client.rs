//! The initiating side: what our own streams to other servers and the clients of tests send.
//!
//! [`Scram`] is stricter than it has to be where that costs nothing: it refuses a server that asks for fewer iterations
//! than RFC 7677 §4 does, or for so many that answering is an attack. It always says `n` when it does not bind, for it
//! knows nothing of what was advertised unless [`Scram::verify_offer`] tells it.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::base64::{decode_attribute, encode_attribute};
use crate::message::{Plain, ServerFirst, to_saslname};
use crate::token::messages;
use crate::{ChannelBinding, Hash, Offer, Password, TlsVersion};

/// The iterations a server may ask for: RFC 7677 §4 at the lower end, about a second of work at the upper.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

/// Why an exchange cannot go on, or why its end proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The server's message does not follow the grammar, or came at the wrong time.
    #[error("the server's message does not follow SCRAM")]
    Malformed,
    /// The nonce does not begin with ours, or adds nothing to it.
    #[error("the server answered with another nonce")]
    Nonce,
    /// Fewer iterations than 4096, or more than a million.
    #[error("the server asks for an iteration count that is not acceptable")]
    Iterations,
    /// XEP-0474: somebody changed the list of mechanisms or channel-binding types on its way.
    #[error("what was offered is not what the server says it offered")]
    Downgrade,
    /// XEP-0515: the server's end of the connection has another version of TLS.
    #[error("the server sees another version of TLS")]
    TlsVersion,
    /// The server does not know the password, or somebody else answered.
    #[error("the server did not prove that it knows the account")]
    Signature,
}

/// One SCRAM exchange as its client.
pub struct Scram {
    hash: Hash,
    username: String,
    authzid: Option<String>,
    password: Password,
    nonce: String,
    binding: Option<(ChannelBinding, Vec<u8>)>,
    offer: Option<Offer>,
    tls_version: Option<TlsVersion>,
    /// What the server's signature must be, once the proof was made.
    server_signature: Option<Vec<u8>>,
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").field("hash", &self.hash).field("username", &self.username).finish_non_exhaustive()
    }
}

impl Scram {
    /// Begins an exchange. `client_nonce` is random (18 bytes are good) and goes out as base64. With a channel binding
    /// and its data for this connection, the mechanism is the `-PLUS` one.
    pub fn new(
        hash: Hash,
        username: &str,
        password: &Password,
        client_nonce: &[u8],
        binding: Option<(ChannelBinding, Vec<u8>)>,
    ) -> Scram {
        Scram {
            hash,
            username: username.to_owned(),
            authzid: None,
            password: password.clone(),
            nonce: encode_attribute(client_nonce),
            binding,
            offer: None,
            tls_version: None,
            server_signature: None,
        }
    }

    /// Asks to act as this identity.
    #[must_use]
    pub fn with_authzid(mut self, authzid: &str) -> Scram {
        self.authzid = Some(authzid.to_owned());
        self
    }

    /// Checks what the server says of its offer (XEP-0474 §5.2), if it does, against what arrived on this stream.
    #[must_use]
    pub fn verify_offer(mut self, offer: Offer) -> Scram {
        self.offer = Some(offer);
        self
    }

    /// Checks what the server says of the connection's version of TLS (XEP-0515 §4.2), if it does, against ours.
    #[must_use]
    pub fn verify_tls_version(mut self, version: TlsVersion) -> Scram {
        self.tls_version = Some(version);
        self
    }

    /// `client-first-message`.
    pub fn initial(&self) -> Vec<u8> {
        format!("{}{}", self.gs2_header(), self.first_bare()).into_bytes()
    }

    /// `client-final-message`, in answer to the server's first. Slow (one PBKDF2 run).
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, ScramError> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| ScramError::Malformed)?;
        let first = ServerFirst::parse(challenge).ok_or(ScramError::Malformed)?;
        // RFC 5802 §5.1, "r": the client verifies that the nonce begins with what it sent.
        if first.nonce.strip_prefix(self.nonce.as_str()).is_none_or(str::is_empty) {
            return Err(ScramError::Nonce);
        }
        if !ITERATIONS.contains(&first.iterations) {
            return Err(ScramError::Iterations);
        }
        if let (Some(offer), Some(claimed)) = (&self.offer, first.downgrade_protection)
            && offer.downgrade_protection(self.hash) != claimed
        {
            return Err(ScramError::Downgrade);
        }
        if let (Some(version), Some(claimed)) = (self.tls_version, first.tls_version)
            && version.hex() != claimed
        {
            return Err(ScramError::TlsVersion);
        }

        let mut binding = self.gs2_header().into_bytes();
        if let Some((_, data)) = &self.binding {
            binding.extend_from_slice(data);
        }
        let without_proof = format!("c={},r={}", encode_attribute(&binding), first.nonce);
        let auth_message = format!("{},{challenge},{without_proof}", self.first_bare());
        let auth_message = [auth_message.as_bytes()];

        // RFC 5802 §3.
        let hash = self.hash;
        let salted_password = hash.salted_password(self.password.expose().as_bytes(), &first.salt, first.iterations);
        let keys = hash.server_side_keys(&salted_password, first.salt, first.iterations);
        let mut proof = Zeroizing::new(hash.hmac(&salted_password, &[b"Client Key"]));
        let client_signature = hash.hmac(&keys.stored_key, &auth_message);
        proof.iter_mut().zip(&client_signature).for_each(|(byte, signature)| *byte ^= signature);
        self.server_signature = Some(hash.hmac(&keys.server_key, &auth_message));
        Ok(format!("{without_proof},p={}", encode_attribute(&proof)).into_bytes())
    }

    /// Checks what came with success: the server's signature. Only then is the server the one that knows the account.
    pub fn finish(&self, data: &[u8]) -> Result<(), ScramError> {
        let expected = self.server_signature.as_ref().ok_or(ScramError::Malformed)?;
        let signature = std::str::from_utf8(data)
            .ok()
            .and_then(|text| text.strip_prefix("v="))
            // Extensions may follow.
            .and_then(|text| decode_attribute(text.split(',').next()?))
            .ok_or(ScramError::Malformed)?;
        if bool::from(signature.ct_eq(expected)) { Ok(()) } else { Err(ScramError::Signature) }
    }

    fn gs2_header(&self) -> String {
        let authzid = self.authzid.as_deref().map(|authzid| format!("a={}", to_saslname(authzid))).unwrap_or_default();
        match &self.binding {
            Some((kind, _)) => format!("p={},{authzid},", kind.name()),
            None => format!("n,{authzid},"),
        }
    }

    fn first_bare(&self) -> String {
        format!("n={},r={}", to_saslname(&self.username), self.nonce)
    }
}

/// One HT exchange as its client (draft-schmaus-kitten-sasl-ht-09).
pub struct HashedToken {
    initiator: Vec<u8>,
    responder: Vec<u8>,
}

impl fmt::Debug for HashedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashedToken(..)")
    }
}

impl HashedToken {
    /// Begins an exchange with a token, and the data of the channel binding that the mechanism has (none for `NONE`).
    pub fn new(token: &str, data: &[u8]) -> HashedToken {
        let (initiator, responder) = messages(token.as_bytes(), data);
        HashedToken { initiator, responder }
    }

    /// `initiator-msg`.
    pub fn initial(&self, username: &str) -> Vec<u8> {
        [username.as_bytes(), b"\0", &self.initiator].concat()
    }

    /// Checks what came with success: the server knows the token too.
    pub fn finish(&self, data: &[u8]) -> Result<(), ScramError> {
        if bool::from(self.responder.ct_eq(data)) { Ok(()) } else { Err(ScramError::Signature) }
    }
}

/// The message of PLAIN (RFC 4616 §2); wiped when dropped.
pub fn plain(authzid: Option<&str>, username: &str, password: &Password) -> Zeroizing<Vec<u8>> {
    Plain::compose(authzid, username, password)
}

/// The message of EXTERNAL (RFC 4422 appendix A.1): the identity to act as, or nothing to leave it to the certificate.
pub fn external(identity: Option<&str>) -> Vec<u8> {
    identity.unwrap_or_default().as_bytes().to_vec()
}
