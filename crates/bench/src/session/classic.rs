//! The log-in of RFC 6120 §6 and §7, step by step with a round trip each, as clients do without SASL2.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::counting::{self, Counting};
use super::{Entry, Session, decode_text, nonce};
use crate::Result;
use crate::endpoint::Endpoint;
use crate::framing::{contains, text_of};
use crate::scram::Exchange;

impl Session {
    /// Authenticates, and opens the stream that follows.
    pub(super) async fn authenticate(&mut self, endpoint: &Endpoint, number: u32, features: &[u8]) -> Result<()> {
        if !contains(features, ">SCRAM-SHA-1<") {
            return Err("the server does not offer SCRAM-SHA-1 here".into());
        }
        let user = endpoint.users.user(number);
        let (exchange, first) = Exchange::begin(&user, &nonce()?);
        let first = BASE64.encode(first);
        self.say(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>{first}</auth>"))?;
        let challenge = decode_text(&self.expect("challenge").await?, "challenge")?;
        let answer = exchange.answer(&challenge, &endpoint.password, endpoint.known_key(&user))?;
        let response = BASE64.encode(&answer.message);
        self.say(&format!("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{response}</response>"))?;
        let success = self.expect("success").await?;
        answer.verify(&decode_text(&success, "success")?)?;
        endpoint.keep_key(&user, answer.salted);
        self.framer.restart();
        self.header(&endpoint.domain).await?;
        Ok(())
    }

    /// Binds a resource, and enables what the entry wants.
    pub(super) async fn bind(&mut self, entry: &Entry) -> Result<()> {
        let bound = self
            .query(
                "bind",
                &format!(
                    "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                     <resource>{}</resource></bind></iq>",
                    entry.resource
                ),
            )
            .await?;
        let jid = text_of(&bound, "jid").ok_or("no address was bound")?;
        self.jid = String::from_utf8(jid.to_vec())?;
        if let Some(continuity) = entry.extras.counting {
            self.say(&counting::enable(continuity))?;
            let enabled = self.expect("enabled").await?;
            self.counting = Some(Counting::enabled(&enabled)?);
        }
        if entry.extras.carbons {
            self.query("carbons", "<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>").await?;
        }
        Ok(())
    }

    /// Continues a session on this authenticated stream (XEP-0198 §5).
    pub(super) async fn resume(&mut self, before: Counting, jid: String) -> Result<()> {
        self.say(&before.resume()?)?;
        self.expect("resumed").await?;
        self.counting = Some(before);
        self.jid = jid;
        Ok(())
    }
}
