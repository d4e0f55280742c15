//! SCRAM (RFC 5802, RFC 7677) from the server's side.
//!
//! [`Terms`] judges the client's first message, [`Challenge`] its second. What the GS2 header says is judged before any
//! account is looked up, the rest at the end and all at once: neither tells whether an account exists.
//!
//! The first answer carries the downgrade protection of XEP-0474 (`h`), which the proof then covers.
//!
//! Deliberately absent: `e=` in the server's final message. RFC 6120 §6.4.5 has failure conditions for that.

use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

use crate::base64::encode_attribute;
use crate::message::{BindingFlag, ClientFinal, ClientFirst, text};
use crate::negotiation::Standing;
use crate::{ChannelBinding, ChannelBindings, Failure, Hash, Notice, Offer, ScramKeys, Success};

/// A failure, with what the operator should know of it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) failure: Failure,
    pub(crate) notice: Option<Notice>,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal { failure, notice: None }
    }
}

impl From<Notice> for Refusal {
    fn from(notice: Notice) -> Refusal {
        Refusal { failure: Failure::NotAuthorized, notice: Some(notice) }
    }
}

/// Whether the mechanism chosen is a `-PLUS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    Required,
    Absent,
}

/// What this stream has on offer, and our half of the nonce.
pub(crate) struct Terms {
    pub(crate) hash: Hash,
    binding: Binding,
    plus_offered: bool,
    /// The types advertised, with this connection's data.
    bindings: Vec<(ChannelBinding, Vec<u8>)>,
    downgrade_protection: String,
    nonce: String,
}

impl Terms {
    pub(crate) fn new(hash: Hash, binding: Binding, offer: &Offer, bindings: &ChannelBindings, nonce: &[u8]) -> Terms {
        Terms {
            hash,
            binding,
            plus_offered: offer.has_channel_binding(),
            bindings: offer
                .channel_bindings
                .iter()
                .filter_map(|kind| Some((*kind, bindings.get(*kind)?.to_vec())))
                .collect(),
            downgrade_protection: offer.downgrade_protection(hash),
            nonce: encode_attribute(nonce),
        }
    }

    /// Judges the client's first message.
    pub(crate) fn open(self, message: &[u8]) -> Result<Opening, Refusal> {
        let first = ClientFirst::parse(text(message)?)?;
        let data: &[u8] = match (first.flag, self.binding) {
            (BindingFlag::Unsupported, Binding::Absent) => &[],
            // RFC 5802 §6: a client that thinks us unable while we offered it has been shown another list.
            (BindingFlag::NotOffered, Binding::Absent) if self.plus_offered => {
                return Err(Notice::Downgrade.into());
            }
            (BindingFlag::NotOffered, Binding::Absent) => &[],
            (BindingFlag::Bound(name), Binding::Required) => {
                let kind = ChannelBinding::from_name(name).ok_or(Failure::NotAuthorized)?;
                let (_, data) =
                    self.bindings.iter().find(|(offered, _)| *offered == kind).ok_or(Failure::NotAuthorized)?;
                data
            }
            _ => return Err(Failure::NotAuthorized.into()),
        };
        let mut expected_binding = first.gs2_header.as_bytes().to_vec();
        expected_binding.extend_from_slice(data);
        Ok(Opening {
            hash: self.hash,
            username: first.username,
            authzid: first.authzid,
            bare: first.bare.to_owned(),
            nonce: format!("{}{}", first.nonce, self.nonce),
            expected_binding,
            downgrade_protection: self.downgrade_protection,
        })
    }
}

/// A first message that is in order; the account's keys are awaited.
pub(crate) struct Opening {
    pub(crate) hash: Hash,
    pub(crate) username: String,
    authzid: Option<String>,
    bare: String,
    nonce: String,
    expected_binding: Vec<u8>,
    downgrade_protection: String,
}

impl Opening {
    /// The server's first message.
    pub(crate) fn challenge(self, keys: ScramKeys, standing: Standing) -> (Challenge, Vec<u8>) {
        let server_first = format!(
            "r={},s={},i={},h={}",
            self.nonce,
            encode_attribute(&keys.salt),
            keys.iterations,
            self.downgrade_protection
        );
        let challenge = Challenge {
            hash: self.hash,
            username: self.username,
            authzid: self.authzid,
            signed: format!("{},{server_first},", self.bare),
            nonce: self.nonce,
            expected_binding: self.expected_binding,
            keys,
            standing,
        };
        (challenge, server_first.into_bytes())
    }
}

/// A challenge that was sent; the proof is awaited.
pub(crate) struct Challenge {
    hash: Hash,
    username: String,
    authzid: Option<String>,
    /// AuthMessage up to the client's final message.
    signed: String,
    nonce: String,
    expected_binding: Vec<u8>,
    keys: ScramKeys,
    standing: Standing,
}

impl Challenge {
    /// Judges the client's final message.
    pub(crate) fn prove(self, message: &[u8]) -> Result<Success, Refusal> {
        let last = ClientFinal::parse(text(message)?)?;
        let auth_message: [&[u8]; 2] = [self.signed.as_bytes(), last.without_proof.as_bytes()];

        // RFC 5802 §3: ClientKey := ClientProof XOR ClientSignature; H(ClientKey) is the StoredKey, or it is not the client.
        let mut client_key = Zeroizing::new(self.hash.hmac(&self.keys.stored_key, &auth_message));
        client_key.iter_mut().zip(&last.proof).for_each(|(byte, proof)| *byte ^= proof);
        let proved: Choice = self.hash.digest(&client_key).ct_eq(&self.keys.stored_key)
            & last.proof.len().ct_eq(&self.hash.length())
            & last.nonce.as_bytes().ct_eq(self.nonce.as_bytes());
        // Made for everybody, so that failure is not quicker.
        let signature = self.hash.hmac(&self.keys.server_key, &auth_message);

        if !bool::from(proved) {
            return Err(Failure::NotAuthorized.into());
        }
        // RFC 5802 §6: the password is right, but what it was bound to is another connection, or another header.
        if !bool::from(last.binding.ct_eq(&self.expected_binding)) {
            return Err(Notice::ForeignChannel.into());
        }
        self.standing.judge()?;
        Ok(Success {
            username: self.username,
            authzid: self.authzid,
            data: Some(format!("v={}", encode_attribute(&signature)).into_bytes()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Credentials, prepare_password};

    /// The proof of a client that knows the password, over whatever it chose to say.
    fn prove(without_proof: &str) -> Result<Success, Refusal> {
        let hash = Hash::Sha256;
        let keys = Credentials::derive(&prepare_password("pencil").unwrap(), [[1; 16]; 3], 2).sha256.unwrap();
        let salted_password = hash.salted_password(b"pencil", &keys.salt, keys.iterations);
        let challenge = Challenge {
            hash,
            username: "juliet".to_owned(),
            authzid: None,
            signed: "n=juliet,r=abc,r=abcdef,s=AQEBAQEBAQEBAQEBAQEBAQ==,i=2,".to_owned(),
            nonce: "abcdef".to_owned(),
            expected_binding: b"n,,".to_vec(),
            keys,
            standing: Standing::Active,
        };
        let mut proof = hash.hmac(&salted_password, &[b"Client Key"]);
        let signature = hash.hmac(&hash.digest(&proof), &[challenge.signed.as_bytes(), without_proof.as_bytes()]);
        proof.iter_mut().zip(signature).for_each(|(byte, signature)| *byte ^= signature);
        challenge.prove(format!("{without_proof},p={}", encode_attribute(&proof)).as_bytes())
    }

    #[test]
    fn abuse_56_a_good_proof_over_another_nonce_or_header_is_refused() {
        assert!(prove("c=biws,r=abcdef").is_ok());
        assert!(prove("c=biws,r=abcdef,x=1").is_ok());
        for nonce in ["abc", "abcdeg", "abcdeff", "x", "abcdef-"] {
            let refusal = prove(&format!("c=biws,r={nonce}")).unwrap_err();
            assert_eq!((refusal.failure, refusal.notice), (Failure::NotAuthorized, None), "{nonce}");
        }
        // "y,,", "n,", "n,,x" and "p=tls-exporter,,".
        for binding in ["eSws", "biw=", "biwseA==", "cD10bHMtZXhwb3J0ZXIsLA=="] {
            let refusal = prove(&format!("c={binding},r=abcdef")).unwrap_err();
            let expected = (Failure::NotAuthorized, Some(Notice::ForeignChannel));
            assert_eq!((refusal.failure, refusal.notice), expected, "{binding}");
        }
    }
}
