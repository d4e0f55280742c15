//! The log-in in one exchange: SASL2 (XEP-0388) with Bind 2 (XEP-0386), tokens (XEP-0484) and inline resumption.
//!
//! With a password it takes the features first, as a client does that knows nothing of the server; with a token it says
//! everything at once, as one does that was here before (XEP-0388 §2.2, XEP-0509).

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::counting::{self, Counting};
use super::{Entry, Session, decode_text, nonce};
use crate::Result;
use crate::endpoint::Endpoint;
use crate::framing::{attribute, contains, descendants, text_of};
use crate::scram::Exchange;

const FAST: &str = "HT-SHA-256-NONE";

/// What a device was given to come back with.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    text: String,
    /// XEP-0484 §3.6: each use has a higher number.
    count: u32,
}

impl Session {
    /// Authenticates by password and binds; asks for a token when there is a place to put it.
    pub(super) async fn authenticate2(
        &mut self,
        endpoint: &Endpoint,
        entry: &Entry,
        features: &[u8],
        token: Option<&mut Option<Token>>,
    ) -> Result<()> {
        if !contains(features, "urn:xmpp:sasl:2") {
            return Err("the server does not offer SASL2 here".into());
        }
        let user = endpoint.users.user(entry.number);
        let (exchange, first) = Exchange::begin(&user, &nonce()?);
        let wanted = match &token {
            Some(_) => format!("<request-token xmlns='urn:xmpp:fast:0' mechanism='{FAST}'/>"),
            None => String::new(),
        };
        let inline = bind_request(entry) + &wanted;
        self.say(&authenticate("SCRAM-SHA-1", first.as_bytes(), entry.number, &inline))?;
        let challenge = decode_text(&self.expect("challenge").await?, "challenge")?;
        let answer = exchange.answer(&challenge, &endpoint.password, endpoint.known_key(&user))?;
        let response = BASE64.encode(&answer.message);
        self.say(&format!("<response xmlns='urn:xmpp:sasl:2'>{response}</response>"))?;
        let success = self.expect("success").await?;
        answer.verify(&decode_text(&success, "additional-data")?)?;
        endpoint.keep_key(&user, answer.salted);
        if let Some(place) = token {
            *place = Some(Token::given(&success)?.ok_or("no token was given")?);
        }
        self.bound2(&success, entry)
    }

    /// Opens the stream and authenticates by token in one breath, to bind or to resume.
    pub(super) async fn enter_by_token(
        &mut self,
        endpoint: &Endpoint,
        entry: &Entry,
        token: &mut Token,
        before: Option<(Counting, String)>,
    ) -> Result<()> {
        token.count += 1;
        let user = endpoint.users.user(entry.number);
        let mut message = user.into_bytes();
        message.push(0);
        message.extend(token.proof(b"Initiator")?);
        let inline = match &before {
            Some((counting, _)) => counting.resume()?,
            None => bind_request(entry),
        };
        let inline = format!("{inline}<fast xmlns='urn:xmpp:fast:0' count='{}'/>", token.count);
        let all = super::header(&endpoint.domain) + &authenticate(FAST, &message, entry.number, &inline);
        self.say(&all)?;
        self.expect("stream:features").await?;
        let success = self.expect("success").await?;
        let answer = text_of(&success, "additional-data").ok_or("the server does not prove itself")?;
        if BASE64.decode(answer)? != token.proof(b"Responder")? {
            return Err("the server's proof is wrong".into());
        }
        if let Some(fresh) = Token::given(&success)? {
            *token = fresh;
        }
        match before {
            Some((counting, jid)) => {
                if descendants(&success, "resumed").next().is_none() {
                    return Err(format!("not resumed: {}", String::from_utf8_lossy(&success)).into());
                }
                self.counting = Some(counting);
                self.jid = jid;
                Ok(())
            }
            None => self.bound2(&success, entry),
        }
    }

    fn bound2(&mut self, success: &[u8], entry: &Entry) -> Result<()> {
        let jid = text_of(success, "authorization-identifier").ok_or("no address was bound")?;
        self.jid = String::from_utf8(jid.to_vec())?;
        if entry.extras.counting.is_some() {
            let enabled = descendants(success, "enabled").next().ok_or("stream management was not enabled")?;
            self.counting = Some(Counting::enabled(enabled)?);
        }
        Ok(())
    }
}

impl Token {
    fn given(success: &[u8]) -> Result<Option<Self>> {
        let token = descendants(success, "token").next().and_then(|token| attribute(token, "token"));
        token.map(|text| Ok(Self { text: String::from_utf8(text.to_vec())?, count: 0 })).transpose()
    }

    /// HMAC over the direction's name; no channel binding (draft-schmaus-kitten-sasl-ht).
    fn proof(&self, whose: &[u8]) -> Result<Vec<u8>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.text.as_bytes()).map_err(|error| format!("HMAC: {error}"))?;
        mac.update(whose);
        Ok(mac.finalize().into_bytes().to_vec())
    }
}

fn authenticate(mechanism: &str, initial: &[u8], number: u32, inline: &str) -> String {
    format!(
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{mechanism}'><initial-response>{}</initial-response>\
         <user-agent id='d4565fa7-4d72-4749-b3d3-{number:012x}'><software>stonechat-bench</software></user-agent>\
         {inline}</authenticate>",
        BASE64.encode(initial)
    )
}

fn bind_request(entry: &Entry) -> String {
    let counting = entry.extras.counting.map(counting::enable).unwrap_or_default();
    let carbons = if entry.extras.carbons { "<enable xmlns='urn:xmpp:carbons:2'/>" } else { "" };
    format!("<bind xmlns='urn:xmpp:bind:0'><tag>{}</tag>{carbons}{counting}</bind>", entry.resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_the_success() {
        let success =
            b"<success xmlns='urn:xmpp:sasl:2'><token xmlns='urn:xmpp:fast:0' expiry='x' token='s3cr3t'/></success>";
        let token = Token::given(success).unwrap().unwrap();
        assert_eq!((token.text.as_str(), token.count), ("s3cr3t", 0));
        assert!(Token::given(b"<success/>").unwrap().is_none());
        assert_ne!(token.proof(b"Initiator").unwrap(), token.proof(b"Responder").unwrap());
    }
}
