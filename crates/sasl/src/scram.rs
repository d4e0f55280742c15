//! SCRAM (RFC 5802, RFC 7677) from the server's side.
//!
//! [`Terms`] judges the client's first message, [`Challenge`] its second. What the GS2 header says is judged before any
//! account is looked up, the rest at the end and all at once: neither tells whether an account exists.
//!
//! The first answer carries the downgrade protection of XEP-0474 (`h`) and, where the connection's version of TLS is known,
//! that of XEP-0515 (`t`). The proof then covers both.
//!
//! Deliberately absent: `e=` in the server's final message. RFC 6120 §6.4.5 has failure conditions for that.

use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

use crate::base64::encode_attribute;
use crate::message::{BindingFlag, ClientFinal, ClientFirst, text};
use crate::negotiation::Standing;
use crate::{ChannelBinding, ChannelBindings, Failure, Hash, Notice, Offer, ScramKeys, Success, TlsVersion};

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
    tls_version: Option<TlsVersion>,
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
            tls_version: bindings.tls_version,
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
            tls_version: self.tls_version,
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
    tls_version: Option<TlsVersion>,
}

impl Opening {
    /// The server's first message.
    pub(crate) fn challenge(self, keys: ScramKeys, standing: Standing) -> (Challenge, Vec<u8>) {
        let mut server_first = format!(
            "r={},s={},i={},h={}",
            self.nonce,
            encode_attribute(&keys.salt),
            keys.iterations,
            self.downgrade_protection
        );
        if let Some(version) = self.tls_version {
            server_first.push_str(",t=");
            server_first.push_str(version.hex());
        }
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
    fn xep0515_4_3_the_published_exchange() {
        let hash = Hash::Sha1;
        let salt = [0x41, 0x25, 0xc2, 0x47, 0xe4, 0x3a, 0xb1, 0xe9, 0x3c, 0x6d, 0xff, 0x76];
        let salted_password = hash.salted_password(b"pencil", &salt, 4096);
        let keys = hash.server_side_keys(&salted_password, salt.to_vec(), 4096);
        let nonce = "12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6";
        let opening = |tls_version| Opening {
            hash,
            username: "user".to_owned(),
            authzid: None,
            bare: "n=user,r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6".to_owned(),
            nonce: nonce.to_owned(),
            expected_binding: b"p=tls-exporter,,THIS IS FAKE CB DATA".to_vec(),
            downgrade_protection: "G6k/rBLDqgOhRRaCuuatSDFkJ08=".to_owned(),
            tls_version,
        };
        let first = format!("r={nonce},s=QSXCR+Q6sek8bf92,i=4096,h=G6k/rBLDqgOhRRaCuuatSDFkJ08=");
        let last =
            format!("c=cD10bHMtZXhwb3J0ZXIsLFRISVMgSVMgRkFLRSBDQiBEQVRB,r={nonce},p=KHUfN8dSy1K95crT4D5y1ItLJfs=");

        let (challenge, sent) = opening(Some(TlsVersion::Tls13)).challenge(keys.clone(), Standing::Active);
        assert_eq!(String::from_utf8(sent).unwrap(), format!("{first},t=0304"));
        let success = challenge.prove(last.as_bytes()).unwrap();
        assert_eq!(success.data.unwrap(), b"v=3w34ZIMVRkx2f2Ozb3/ecRPVdv4=");

        // The proof covers the version: over another one, or none, it is wrong.
        for (tls_version, expected) in [(Some(TlsVersion::Tls12), format!("{first},t=0303")), (None, first)] {
            let (challenge, sent) = opening(tls_version).challenge(keys.clone(), Standing::Active);
            assert_eq!(String::from_utf8(sent).unwrap(), expected);
            assert_eq!(challenge.prove(last.as_bytes()).unwrap_err().failure, Failure::NotAuthorized);
        }
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
