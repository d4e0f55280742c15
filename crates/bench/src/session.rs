//! Logging in: stream, TLS, SCRAM, resource binding, roster, presence (RFC 6120 §6 and §7, RFC 6121 §2.2 and §4.2).
//!
//! Step by step with a round trip each, as clients of today do without SASL2. On the relay a place is taken with one
//! line instead.

use std::sync::Arc;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::endpoint::{Endpoint, Protocol, Security};
use crate::framing::{Frame, Framer, attribute, contains, name, text_of};
use crate::link::{Incoming, Link};
use crate::scram::Exchange;
use crate::{Result, relay};

const LOGIN_LIMIT: Duration = Duration::from_secs(60);
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// A logged-in connection.
pub(crate) struct Session {
    pub(crate) link: Arc<Link>,
    incoming: Incoming,
    pub(crate) framer: Framer,
    /// The full address that was bound.
    pub(crate) jid: String,
    /// The roster as it came.
    pub(crate) roster: Vec<u8>,
}

/// How far a log-in goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// The roster is known, nobody sees us.
    Roster,
    /// Present (RFC 6121 §4.2).
    Present,
}

impl Session {
    /// Logs an account in, or takes the place on the relay.
    pub(crate) async fn enter(endpoint: &Endpoint, number: u32, place: relay::Place, until: Until) -> Result<Self> {
        let work = async {
            match endpoint.protocol {
                Protocol::Xmpp => Self::log_in(endpoint, number, until).await,
                Protocol::Relay => Self::take_place(endpoint, place).await,
            }
        };
        match tokio::time::timeout(LOGIN_LIMIT, work).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(format!("{}: {error}", endpoint.bare_jid(number)).into()),
            Err(_) => Err(format!("{}: not logged in after {LOGIN_LIMIT:?}", endpoint.bare_jid(number)).into()),
        }
    }

    async fn log_in(endpoint: &Endpoint, number: u32, until: Until) -> Result<Self> {
        let (mut session, features) = Self::open_stream(endpoint).await?;
        session.authenticate(endpoint, number, &features).await?;
        session.framer.restart();
        session.header(&endpoint.domain).await?;

        let bound = session
            .query(
                "bind",
                "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                 <resource>bench</resource></bind></iq>",
            )
            .await?;
        let jid = text_of(&bound, "jid").ok_or("no address was bound")?;
        session.jid = String::from_utf8(jid.to_vec())?;
        session.roster =
            session.query("roster", "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>").await?;
        if until == Until::Present {
            session.link.send(b"<presence/>")?;
        }
        Ok(session)
    }

    /// Opens a stream, with STARTTLS if that is asked for; returns the features that are offered then.
    pub(crate) async fn open_stream(endpoint: &Endpoint) -> Result<(Self, Vec<u8>)> {
        let (link, incoming) = endpoint.connect().await?;
        let mut session = Self { link, incoming, framer: Framer::new(), jid: String::new(), roster: Vec::new() };
        let mut features = session.header(&endpoint.domain).await?;
        if endpoint.security == Security::Starttls {
            if !contains(&features, "<starttls") {
                return Err("the server does not offer STARTTLS".into());
            }
            session.link.send(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")?;
            session.expect("proceed").await?;
            endpoint.secure(&mut session.incoming).await?;
            session.framer.restart();
            features = session.header(&endpoint.domain).await?;
        }
        Ok((session, features))
    }

    async fn header(&mut self, domain: &str) -> Result<Vec<u8>> {
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xml:lang='en' \
             xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        self.link.send(header.as_bytes())?;
        self.expect("stream:features").await
    }

    async fn authenticate(&mut self, endpoint: &Endpoint, number: u32, features: &[u8]) -> Result<()> {
        if !contains(features, ">SCRAM-SHA-1<") {
            return Err("the server does not offer SCRAM-SHA-1 here".into());
        }
        let user = endpoint.users.user(number);
        let mut random = [0; 18];
        getrandom::fill(&mut random).map_err(|error| error.to_string())?;
        let (exchange, first) = Exchange::begin(&user, &BASE64.encode(random));
        let auth = format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>{}</auth>",
            BASE64.encode(first)
        );
        self.link.send(auth.as_bytes())?;
        let challenge = self.expect("challenge").await?;
        let challenge = decode_text(&challenge, "challenge")?;
        let answer = exchange.answer(&challenge, &endpoint.password, endpoint.known_key(&user))?;
        let response =
            format!("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{}</response>", BASE64.encode(&answer.message));
        self.link.send(response.as_bytes())?;
        let success = self.expect("success").await?;
        answer.verify(&decode_text(&success, "success")?)?;
        endpoint.keep_key(&user, answer.salted);
        Ok(())
    }

    async fn take_place(endpoint: &Endpoint, place: relay::Place) -> Result<Self> {
        let (link, incoming) = endpoint.connect().await?;
        let jid = format!("{}@{}/bench", place.name(), endpoint.domain);
        let mut session = Self { link, incoming, framer: Framer::inside_stream(), jid, roster: Vec::new() };
        session.link.send(place.line().as_bytes())?;
        // The relay's answer looks like a stanza, so that the framer takes it.
        session.expect("ready").await?;
        Ok(session)
    }

    /// Waits for bytes and puts them into the framer; false when the peer has closed.
    pub(crate) async fn receive(&mut self) -> Result<Stream> {
        match self.incoming.receive(self.framer.input()).await? {
            0 => Ok(Stream::Closed),
            _ => Ok(Stream::Open),
        }
    }

    /// Waits for the next first-level element.
    pub(crate) async fn next_element(&mut self) -> Result<Vec<u8>> {
        loop {
            match self.framer.next_frame() {
                Some(Frame::Element(element)) => return Ok(element.to_vec()),
                Some(Frame::Header(_)) => {}
                Some(Frame::End) => return Err("the server closed the stream".into()),
                None => {
                    if self.receive().await? == Stream::Closed {
                        return Err("the server closed the connection".into());
                    }
                }
            }
        }
    }

    async fn expect(&mut self, wanted: &str) -> Result<Vec<u8>> {
        let element = self.next_element().await?;
        if name(&element) == wanted.as_bytes() {
            Ok(element)
        } else {
            Err(format!("<{wanted}> was expected, this came: {}", String::from_utf8_lossy(&element)).into())
        }
    }

    /// Sends a request and waits for the response with that id; everything else is passed over.
    pub(crate) async fn query(&mut self, id: &str, request: &str) -> Result<Vec<u8>> {
        self.link.send(request.as_bytes())?;
        self.response(id, |_| {}).await
    }

    /// Waits for the response with that id; everything else goes to `other`.
    pub(crate) async fn response(&mut self, id: &str, mut other: impl FnMut(&[u8])) -> Result<Vec<u8>> {
        loop {
            let element = self.next_element().await?;
            let ours = name(&element) == b"iq" && attribute(&element, "id") == Some(id.as_bytes());
            match attribute(&element, "type") {
                Some(b"result") if ours => return Ok(element),
                Some(b"error") if ours => {
                    return Err(format!("{id}: {}", String::from_utf8_lossy(&element)).into());
                }
                _ => other(&element),
            }
        }
    }

    /// Closes the stream and waits until the server has done so too (RFC 6120 §4.4).
    pub(crate) async fn close(mut self) -> Result<()> {
        self.link.send(b"</stream:stream>")?;
        let work = async {
            loop {
                match self.framer.next_frame() {
                    Some(Frame::End) => return Ok(()),
                    Some(_) => {}
                    None => match self.receive().await {
                        Ok(Stream::Open) => {}
                        Ok(Stream::Closed) => return Ok(()),
                        Err(error) => return Err(error),
                    },
                }
            }
        };
        tokio::time::timeout(CLOSE_LIMIT, work).await.map_err(|_| "the server did not close the stream")??;
        self.link.close()?;
        Ok(())
    }
}

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Open,
    Closed,
}

fn decode_text(element: &[u8], wanted: &str) -> Result<String> {
    let text = text_of(element, wanted).unwrap_or_default();
    Ok(String::from_utf8(BASE64.decode(text)?)?)
}

/// Enters with many accounts, a few at a time; the sessions come in the order of the list.
pub(crate) async fn enter_all(
    list: impl IntoIterator<Item = (Endpoint, u32, relay::Place)>,
    until: Until,
) -> Result<Vec<Session>> {
    let gate = Arc::new(Semaphore::new(32));
    let mut entering = JoinSet::new();
    for (index, (endpoint, number, place)) in list.into_iter().enumerate() {
        let gate = Arc::clone(&gate);
        entering.spawn(async move {
            let _permit = gate.acquire_owned().await?;
            Session::enter(&endpoint, number, place, until).await.map(|session| (index, session))
        });
    }
    let mut sessions = Vec::new();
    while let Some(outcome) = entering.join_next().await {
        sessions.push(outcome??);
    }
    sessions.sort_by_key(|(index, _)| *index);
    Ok(sessions.into_iter().map(|(_, session)| session).collect())
}
