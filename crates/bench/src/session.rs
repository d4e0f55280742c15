//! Logging in: stream, TLS, authentication, resource, roster, presence (RFC 6120 §6 and §7, RFC 6121 §2.2 and §4.2).
//!
//! [`classic`] goes step by step with a round trip each; [`sasl2`] in one exchange. On the relay a place is taken with one
//! line instead.

mod classic;
mod counting;
mod sasl2;

use std::sync::Arc;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub(crate) use self::counting::{Continuity, Counting, Kind, request};
pub(crate) use self::sasl2::Token;
use crate::endpoint::{Endpoint, Protocol, Security};
use crate::framing::{Frame, Framer, attribute, contains, name, text_of};
use crate::link::{Incoming, Link};
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
    /// While stream management is on.
    pub(crate) counting: Option<Counting>,
    /// Times that the log-in waited for the server, TLS apart.
    pub(crate) round_trips: u32,
    said: bool,
}

/// How far a log-in goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// The roster is known, nobody sees us.
    Roster,
    /// Present (RFC 6121 §4.2).
    Present,
}

/// What a session asks for beside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    /// Stream management (XEP-0198).
    pub(crate) counting: Option<Continuity>,
    /// Carbons (XEP-0280).
    pub(crate) carbons: bool,
}

/// Who enters, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) number: u32,
    pub(crate) place: relay::Place,
    pub(crate) resource: &'static str,
    pub(crate) until: Until,
    pub(crate) extras: Extras,
}

impl Entry {
    /// With one resource and nothing beside.
    pub(crate) fn simple(number: u32, place: relay::Place, until: Until) -> Self {
        Self { number, place, resource: "bench", until, extras: Extras::default() }
    }
}

/// By what an account logs in.
pub(crate) enum By<'a> {
    /// SASL and bind, step by step.
    Steps,
    /// SASL2 with Bind 2, by password; a place for a token when one is wanted.
    Exchange(Option<&'a mut Option<Token>>),
    /// SASL2 with Bind 2, by token.
    Token(&'a mut Token),
    /// SASL, step by step, to continue this session.
    StepsBack(Counting, String),
    /// SASL2 by token, to continue this session.
    TokenBack(&'a mut Token, Counting, String),
}

impl Session {
    /// Logs an account in, or takes the place on the relay.
    pub(crate) async fn enter(endpoint: &Endpoint, entry: Entry) -> Result<Self> {
        Self::enter_by(endpoint, entry, By::Steps).await
    }

    /// The same in a way of choice.
    pub(crate) async fn enter_by(endpoint: &Endpoint, entry: Entry, by: By<'_>) -> Result<Self> {
        let work = async {
            match endpoint.protocol {
                Protocol::Xmpp => Self::log_in(endpoint, &entry, by).await,
                Protocol::Relay => Self::take_place(endpoint, entry.place).await,
            }
        };
        let who = || endpoint.bare_jid(entry.number);
        match tokio::time::timeout(LOGIN_LIMIT, work).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(format!("{}: {error}", who()).into()),
            Err(_) => Err(format!("{}: not logged in after {LOGIN_LIMIT:?}", who()).into()),
        }
    }

    async fn log_in(endpoint: &Endpoint, entry: &Entry, by: By<'_>) -> Result<Self> {
        let mut session = Self::secured(endpoint).await?;
        match by {
            By::Steps => {
                let features = session.header(&endpoint.domain).await?;
                session.authenticate(endpoint, entry.number, &features).await?;
                session.bind(entry).await?;
            }
            By::Exchange(token) => {
                let features = session.header(&endpoint.domain).await?;
                session.authenticate2(endpoint, entry, &features, token).await?;
            }
            By::Token(token) => session.enter_by_token(endpoint, entry, token, None).await?,
            By::StepsBack(before, jid) => {
                let features = session.header(&endpoint.domain).await?;
                session.authenticate(endpoint, entry.number, &features).await?;
                session.resume(before, jid).await?;
                return Ok(session);
            }
            By::TokenBack(token, before, jid) => {
                session.enter_by_token(endpoint, entry, token, Some((before, jid))).await?;
                return Ok(session);
            }
        }
        session.roster =
            session.query("roster", "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>").await?;
        if entry.until == Until::Present {
            session.say("<presence/>")?;
        }
        Ok(session)
    }

    fn new(link: Arc<Link>, incoming: Incoming, framer: Framer, jid: String) -> Self {
        Self { link, incoming, framer, jid, roster: Vec::new(), counting: None, round_trips: 0, said: false }
    }

    /// Connects, with STARTTLS if that is asked for; the stream is to be opened then.
    async fn secured(endpoint: &Endpoint) -> Result<Self> {
        let (link, incoming) = endpoint.connect().await?;
        let mut session = Self::new(link, incoming, Framer::new(), String::new());
        if endpoint.security == Security::Starttls {
            let features = session.header(&endpoint.domain).await?;
            if !contains(&features, "<starttls") {
                return Err("the server does not offer STARTTLS".into());
            }
            session.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")?;
            session.expect("proceed").await?;
            endpoint.secure(&mut session.incoming).await?;
            session.framer.restart();
        }
        session.round_trips = 0;
        Ok(session)
    }

    /// Opens a stream before authentication; returns the features that are offered there.
    pub(crate) async fn open_stream(endpoint: &Endpoint) -> Result<(Self, Vec<u8>)> {
        let mut session = Self::secured(endpoint).await?;
        let features = session.header(&endpoint.domain).await?;
        Ok((session, features))
    }

    async fn header(&mut self, domain: &str) -> Result<Vec<u8>> {
        self.say(&header(domain))?;
        self.expect("stream:features").await
    }

    /// Sends something that the server will answer.
    fn say(&mut self, text: &str) -> Result<()> {
        self.said = true;
        Ok(self.link.send(text.as_bytes())?)
    }

    async fn take_place(endpoint: &Endpoint, place: relay::Place) -> Result<Self> {
        let (link, incoming) = endpoint.connect().await?;
        let jid = format!("{}@{}/bench", place.name(), endpoint.domain);
        let mut session = Self::new(link, incoming, Framer::inside_stream(), jid);
        session.say(&place.line())?;
        // The relay's answer looks like a stanza, so that the framer takes it.
        session.expect("ready").await?;
        Ok(session)
    }

    /// Waits for bytes and puts them into the framer; false when the peer has closed.
    pub(crate) async fn receive(&mut self) -> Result<Stream> {
        if std::mem::take(&mut self.said) {
            self.round_trips += 1;
        }
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
        self.say(request)?;
        self.response(id, |_| {}).await
    }

    /// Waits for the response with that id; everything else goes to `other`.
    pub(crate) async fn response(&mut self, id: &str, mut other: impl FnMut(&[u8])) -> Result<Vec<u8>> {
        loop {
            let element = self.next_element().await?;
            if let Some(counting) = &mut self.counting
                && counting.take(&element, &self.link)? == Kind::Management
            {
                continue;
            }
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

    /// Leaves without a word, as a link does that is cut; what is needed to come back.
    pub(crate) fn cut(mut self) -> Result<(Counting, String)> {
        let counting = self.counting.take().ok_or("stream management is off")?;
        Ok((counting, std::mem::take(&mut self.jid)))
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

fn header(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xml:lang='en' \
         xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
    )
}

fn nonce() -> Result<String> {
    let mut random = [0; 18];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    Ok(BASE64.encode(random))
}

fn decode_text(element: &[u8], wanted: &str) -> Result<String> {
    let text = text_of(element, wanted).unwrap_or_default();
    Ok(String::from_utf8(BASE64.decode(text)?)?)
}

/// Enters with many accounts, a few at a time; the sessions come in the order of the list.
pub(crate) async fn enter_all(list: impl IntoIterator<Item = (Endpoint, Entry)>) -> Result<Vec<Session>> {
    let gate = Arc::new(Semaphore::new(32));
    let mut entering = JoinSet::new();
    for (index, (endpoint, entry)) in list.into_iter().enumerate() {
        let gate = Arc::clone(&gate);
        entering.spawn(async move {
            let _permit = gate.acquire_owned().await?;
            Session::enter(&endpoint, entry).await.map(|session| (index, session))
        });
    }
    let mut sessions = Vec::new();
    while let Some(outcome) = entering.join_next().await {
        sessions.push(outcome??);
    }
    sessions.sort_by_key(|(index, _)| *index);
    Ok(sessions.into_iter().map(|(_, session)| session).collect())
}
