//! The initiating side of SCRAM-SHA-1 (RFC 5802), without channel binding.
//!
//! SCRAM-SHA-1 because every server offers it, so all are measured with the same work. The password is used as it
//! stands: the accounts of a measurement have ASCII passwords, for which SASLprep changes nothing. The salted password
//! is kept by the caller, since repeating PBKDF2 for each log-in would measure the client.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::{Digest as _, Sha1};

use crate::Result;

const GS2_HEADER: &str = "n,,";

/// What PBKDF2 makes of a password, valid for one salt and iteration count.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Salted {
    salt: Vec<u8>,
    iterations: u32,
    key: [u8; 20],
}

/// An exchange that has sent its first message.
pub(crate) struct Exchange {
    client_first_bare: String,
    nonce: String,
}

/// The answer to the server's challenge.
pub(crate) struct Answer {
    /// The client-final-message.
    pub(crate) message: String,
    /// The salted password used, worth keeping for the next log-in.
    pub(crate) salted: Salted,
    expected_signature: [u8; 20],
}

impl Exchange {
    /// Begins with the user's name and a nonce of printable characters without a comma; returns the
    /// client-first-message with it.
    pub(crate) fn begin(user: &str, nonce: &str) -> (Self, String) {
        // RFC 5802 §5.1: `,` and `=` in the name are written as =2C and =3D.
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let client_first_bare = format!("n={user},r={nonce}");
        let message = format!("{GS2_HEADER}{client_first_bare}");
        (Self { client_first_bare, nonce: nonce.to_owned() }, message)
    }

    /// Answers the server-first-message. `known` saves the PBKDF2 when salt and count are still the same.
    pub(crate) fn answer(self, server_first: &str, password: &str, known: Option<Salted>) -> Result<Answer> {
        let mut nonce = None;
        let mut salt = None;
        let mut iterations = None;
        for attribute in server_first.split(',') {
            match attribute.split_once('=') {
                Some(("r", value)) => nonce = Some(value),
                Some(("s", value)) => salt = Some(BASE64.decode(value)?),
                Some(("i", value)) => iterations = Some(value.parse::<u32>()?),
                _ => {}
            }
        }
        let (Some(nonce), Some(salt), Some(iterations)) = (nonce, salt, iterations) else {
            return Err("the SCRAM challenge lacks a nonce, a salt or a count".into());
        };
        // RFC 5802 §5: the server's nonce begins with ours.
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the SCRAM challenge does not continue our nonce".into());
        }
        let salted = match known {
            Some(known) if known.salt == salt && known.iterations == iterations => known,
            _ => Salted::derive(password, salt, iterations)?,
        };

        let mut message = format!("c={},r={nonce}", BASE64.encode(GS2_HEADER));
        let auth_message = format!("{},{server_first},{message}", self.client_first_bare);
        let client_key = hmac(&salted.key, b"Client Key")?;
        let stored_key: [u8; 20] = Sha1::digest(client_key).into();
        let signature = hmac(&stored_key, auth_message.as_bytes())?;
        let mut proof = client_key;
        for (byte, mask) in proof.iter_mut().zip(signature) {
            *byte ^= mask;
        }
        write!(message, ",p={}", BASE64.encode(proof))?;
        let server_key = hmac(&salted.key, b"Server Key")?;
        let expected_signature = hmac(&server_key, auth_message.as_bytes())?;
        Ok(Answer { message, salted, expected_signature })
    }
}

impl Answer {
    /// Checks the server-final-message: only a server that knows the account can sign it.
    pub(crate) fn verify(&self, server_final: &str) -> Result<()> {
        let signature = server_final.split(',').find_map(|attribute| attribute.strip_prefix("v="));
        match signature.map(|value| BASE64.decode(value)) {
            Some(Ok(signature)) if signature == self.expected_signature => Ok(()),
            _ => Err("the server's SCRAM signature is wrong or missing".into()),
        }
    }
}

impl Salted {
    fn derive(password: &str, salt: Vec<u8>, iterations: u32) -> Result<Self> {
        let mut key = [0; 20];
        pbkdf2::pbkdf2::<Hmac<Sha1>>(password.as_bytes(), &salt, iterations, &mut key)
            .map_err(|error| format!("PBKDF2: {error}"))?;
        Ok(Self { salt, iterations, key })
    }
}

fn hmac(key: &[u8], data: &[u8]) -> Result<[u8; 20]> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).map_err(|error| format!("HMAC: {error}"))?;
    mac.update(data);
    Ok(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 5802 §5: the example exchange.
    const SERVER_FIRST: &str = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
    const CLIENT_FINAL: &str = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
    const SERVER_FINAL: &str = "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=";

    fn begin() -> Exchange {
        let (exchange, first) = Exchange::begin("user", "fyko+d2lbbFgONRv9qkxdawL");
        assert_eq!(first, "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
        exchange
    }

    #[test]
    fn rfc5802_5_example_exchange() {
        let answer = begin().answer(SERVER_FIRST, "pencil", None).unwrap();
        assert_eq!(answer.message, CLIENT_FINAL);
        answer.verify(SERVER_FINAL).unwrap();
        assert!(answer.verify("v=AAAAAAAAAAAAAAAAAAAAAAAAAAA=").is_err());
        assert!(answer.verify("e=invalid-proof").is_err());
    }

    #[test]
    fn a_kept_salted_password_gives_the_same_proof_and_another_salt_is_derived_anew() {
        let salted = begin().answer(SERVER_FIRST, "pencil", None).unwrap().salted;
        let again = begin().answer(SERVER_FIRST, "not looked at", Some(salted.clone())).unwrap();
        assert_eq!(again.message, CLIENT_FINAL);
        let other = SERVER_FIRST.replace("i=4096", "i=1");
        assert_ne!(begin().answer(&other, "pencil", Some(salted)).unwrap().message, CLIENT_FINAL);
    }

    #[test]
    fn rfc5802_5_a_foreign_nonce_or_a_short_challenge_is_refused() {
        assert!(begin().answer("r=other,s=QSXCR+Q6sek8bf92,i=4096", "pencil", None).is_err());
        assert!(begin().answer("r=fyko+d2lbbFgONRv9qkxdawL,s=QSXCR+Q6sek8bf92,i=4096", "pencil", None).is_err());
        assert!(begin().answer("s=QSXCR+Q6sek8bf92,i=4096", "pencil", None).is_err());
        assert!(begin().answer("r=fyko+d2lbbFgONRv9qkxdawLx,s=!,i=4096", "pencil", None).is_err());
    }

    #[test]
    fn rfc5802_5_1_a_comma_or_equals_sign_in_the_name_is_escaped() {
        assert_eq!(Exchange::begin("a,b=c", "n").1, "n,,n=a=2Cb=3Dc,r=n");
    }
}
