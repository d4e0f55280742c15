//! A scripted client as a good one is written today: it counts (XEP-0198), resumes, sends again what was not acknowledged
//! under the same origin-id, catches up with the archive (XEP-0313), gets copies (XEP-0280) and says whether somebody
//! looks at it (XEP-0352). Whatever it does and sees is in the journal.

mod coming;

use super::Looking;
use super::journal::{DeviceId, Display, Journal, MessageId, Route, What};
use super::server::{Archive, Port};
use super::wire::{Lost, PATIENCE, Wire, refusal};
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;
use stonechat_xml::Element;
use tokio::net::TcpStream;
use tokio::time::Instant;

pub const SM: &str = "urn:xmpp:sm:3";
pub const CSI: &str = "urn:xmpp:csi:0";
pub const CARBONS: &str = "urn:xmpp:carbons:2";
pub const FORWARD: &str = "urn:xmpp:forward:0";
pub const MAM: &str = "urn:xmpp:mam:2";
pub const RSM: &str = "http://jabber.org/protocol/rsm";
pub const SID: &str = "urn:xmpp:sid:0";
const CLIENT: &str = "jabber:client";

/// Messages of one page.
const PAGE: u32 = 20;

/// Sockets of connections that vanished and that the server believes in still.
const GHOSTS: usize = 4;

/// How a device came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    Resumed,
    Anew,
}

/// How it logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogIn {
    /// SASL, a new stream, a resource, counting: one after another.
    Classic,
    /// Inside TLS, all of it in one exchange (XEP-0388, XEP-0386); its resource is the server's to choose.
    AtOnce,
}

/// How a connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The kernel tells the server.
    Cut,
    /// Nobody tells it.
    Vanish,
    /// In the middle of a stanza.
    Torn,
}

/// A session that counts: it outlives its connection.
struct Counted {
    id: Option<String>,
    /// Stanzas received.
    received: u32,
    /// The server's count of ours, as last told.
    acknowledged: u32,
}

/// What was sent and not acknowledged yet.
struct Unacknowledged {
    stanza: Element,
    message: Option<(MessageId, String)>,
}

pub struct Device {
    pub id: DeviceId,
    pub account: String,
    pub resource: String,
    pub archive: Archive,
    log_in: LogIn,
    /// Where it connects from.
    pub source: Option<Ipv4Addr>,
    journal: Journal,
    port: Port,
    wire: Option<Wire>,
    ghosts: VecDeque<TcpStream>,
    session: Option<Counted>,
    /// What the present session has been through: copies asked for, presence sent.
    copies: bool,
    present: bool,
    /// Whether all of that is done.
    there: bool,
    /// In order: the first is the one behind the server's count.
    unacknowledged: VecDeque<Unacknowledged>,
    messages: u32,
    requests: u32,
    answers: HashMap<String, Element>,
    rows: HashMap<String, Vec<(String, Element)>>,
    known: HashSet<String>,
    /// Everything in the archive up to here is known.
    cursor: Option<String>,
    caught_up: bool,
    /// The last id that came by itself while catching up.
    ahead: Option<String>,
    looking: Looking,
}

impl Device {
    pub fn new(
        journal: &Journal,
        port: &Port,
        account: &str,
        resource: &str,
        archive: Archive,
        log_in: LogIn,
    ) -> Device {
        Device {
            id: journal.device(account, resource),
            account: account.to_owned(),
            resource: resource.to_owned(),
            archive,
            log_in,
            source: None,
            journal: journal.clone(),
            port: port.clone(),
            wire: None,
            ghosts: VecDeque::new(),
            session: None,
            copies: false,
            present: false,
            there: false,
            unacknowledged: VecDeque::new(),
            messages: 0,
            requests: 0,
            answers: HashMap::new(),
            rows: HashMap::new(),
            known: HashSet::new(),
            cursor: None,
            caught_up: false,
            ahead: None,
            looking: Looking::Active,
        }
    }

    fn bare(&self) -> String {
        format!("{}@localhost", self.account)
    }

    pub fn is_connected(&self) -> bool {
        self.wire.is_some()
    }

    pub fn outstanding(&self) -> usize {
        self.unacknowledged.len()
    }

    fn note(&self, what: impl Into<String>) {
        self.journal.enter(self.id, What::Note(what.into()));
    }

    fn broke(&self, what: impl Into<String>) {
        self.journal.enter(self.id, What::Broke(what.into()));
    }

    /// Passes a result on; when the connection is lost, that is written down and it is let go.
    fn keep<T>(&mut self, result: Result<T, Lost>) -> Result<T, Lost> {
        if let Err(lost) = &result {
            match lost {
                // Nobody was there to lose.
                Lost::Broken | Lost::Ended | Lost::Closed if self.wire.is_none() => {}
                Lost::Broken | Lost::Ended | Lost::Closed => self.note(format!("lost its connection: {lost:?}")),
                Lost::Error(condition) if condition == "system-shutdown" => self.note("is told that the server stops"),
                // RFC 6120 §6.5.10: as much.
                Lost::Refused(what) if what.contains("temporary-auth-failure") => self.note("is told to try later"),
                other => self.broke(format!("{other:?}")),
            }
            self.wire = None;
        }
        result
    }

    fn wire(&mut self) -> Result<&mut Wire, Lost> {
        self.wire.as_mut().ok_or(Lost::Broken)
    }

    // ── sending ──

    /// Sends the next message to an account, or to one resource of it.
    pub async fn say(&mut self, to: &str) -> Result<MessageId, Lost> {
        self.messages += 1;
        let message = MessageId { sender: self.id, number: self.messages };
        let account = to.split(['@', '/']).next().unwrap_or_default().to_owned();
        let origin = format!("{}-{}-{}", self.account, self.resource, self.messages);
        let stanza = Element::new("message", CLIENT)
            .with_attribute("to", to)
            .with_attribute("type", "chat")
            .with_attribute("id", origin.clone())
            .with_child(Element::new("body", CLIENT).with_text(self.journal.body(message)))
            .with_child(Element::new("origin-id", SID).with_attribute("id", origin));
        self.journal.enter(self.id, What::Sent { message, to: account.clone() });
        let sent = self.send(stanza, Some((message, account))).await;
        self.keep(sent)?;
        Ok(message)
    }

    /// Sends something that is worth nothing later.
    pub async fn type_to(&mut self, to: &str) -> Result<(), Lost> {
        let stanza = Element::new("message", CLIENT)
            .with_attribute("to", to)
            .with_attribute("type", "chat")
            .with_child(Element::new("composing", "http://jabber.org/protocol/chatstates"));
        let sent = self.send(stanza, None).await;
        self.keep(sent)
    }

    async fn send(&mut self, stanza: Element, message: Option<(MessageId, String)>) -> Result<(), Lost> {
        self.unacknowledged.push_back(Unacknowledged { stanza: stanza.clone(), message });
        self.wire()?.send(&stanza).await
    }

    /// Asks for the server's count.
    pub async fn ask(&mut self) -> Result<(), Lost> {
        let asked = match self.wire() {
            Ok(wire) => wire.send(&Element::new("r", SM)).await,
            Err(lost) => Err(lost),
        };
        self.keep(asked)
    }

    pub async fn look(&mut self, looking: Looking) -> Result<(), Lost> {
        self.looking = looking;
        let said = self.say_looking().await;
        self.keep(said)
    }

    async fn say_looking(&mut self) -> Result<(), Lost> {
        let name = match self.looking {
            Looking::Active => "active",
            Looking::Inactive => "inactive",
        };
        self.note(format!("is {name}"));
        self.wire()?.send(&Element::new(name, CSI)).await
    }

    async fn acknowledge(&mut self) -> Result<(), Lost> {
        let Some(session) = &self.session else { return Ok(()) };
        let answer = Element::new("a", SM).with_attribute("h", session.received.to_string());
        self.wire()?.send(&answer).await
    }

    /// Sends a request and reads until its answer is there.
    pub async fn request(&mut self, iq: Element) -> Result<Element, Lost> {
        self.requests += 1;
        let id = format!("q{}", self.requests);
        self.send(iq.with_attribute("id", id.clone()), None).await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return Ok(answer);
            }
            self.take(deadline).await?.ok_or(Lost::Silent)?;
        }
    }

    // ── receiving ──

    /// Reads for this long.
    pub async fn read_for(&mut self, span: Duration) -> Result<(), Lost> {
        let deadline = Instant::now() + span;
        loop {
            let taken = self.take(deadline).await;
            if self.keep(taken)?.is_none() {
                return Ok(());
            }
        }
    }

    /// Reads until everything it sent is acknowledged, and asks now and then.
    pub async fn read_until_acknowledged(&mut self) -> Result<(), Lost> {
        let deadline = Instant::now() + PATIENCE;
        while !self.unacknowledged.is_empty() {
            self.ask().await?;
            let before = self.unacknowledged.len();
            let next = Instant::now() + Duration::from_secs(1);
            while self.unacknowledged.len() == before && Instant::now() < next {
                let taken = self.take(next).await;
                self.keep(taken)?;
            }
            if Instant::now() > deadline {
                self.broke(format!("{} stanzas are never acknowledged", self.unacknowledged.len()));
                return self.keep(Err(Lost::Silent));
            }
        }
        Ok(())
    }

    /// Reads until the server has done with everything before, and what it had for us has come.
    pub async fn fence(&mut self) -> Result<(), Lost> {
        let answered = self.request(super::ping("")).await;
        self.keep(answered).map(|_| ())
    }

    async fn take(&mut self, deadline: Instant) -> Result<Option<()>, Lost> {
        let wire = self.wire()?;
        let element = match tokio::time::timeout_at(deadline, wire.next()).await {
            Ok(element) => element?,
            Err(_) => return Ok(None),
        };
        self.handle(element).await?;
        Ok(Some(()))
    }

    async fn handle(&mut self, element: Element) -> Result<(), Lost> {
        if element.is("r", SM) {
            return self.acknowledge().await;
        }
        if element.is("a", SM) {
            match element.attribute("h").and_then(|h| h.parse().ok()) {
                Some(h) => self.acknowledged(h),
                None => self.broke(element.to_xml()),
            }
            return Ok(());
        }
        if element.is("features", "http://etherx.jabber.org/streams") && self.log_in == LogIn::AtOnce {
            // XEP-0388 §2.6.4: behind the success, without a new stream.
            return Ok(());
        }
        if element.namespace() != CLIENT {
            return Err(refusal(&element));
        }
        if let Some(session) = &mut self.session {
            session.received = session.received.wrapping_add(1);
        }
        match element.name() {
            "message" => self.message(&element),
            "iq" => return self.iq(element).await,
            _ => {}
        }
        Ok(())
    }

    /// The server has handled this many of ours (modulo 2³²).
    fn acknowledged(&mut self, h: u32) {
        let Some(session) = &mut self.session else { return };
        let more = h.wrapping_sub(session.acknowledged) as usize;
        if more > self.unacknowledged.len() {
            let (told, sent) = (session.acknowledged, self.unacknowledged.len());
            self.broke(format!("it has handled {h}, said {told} before, and was sent only {sent} more"));
            return;
        }
        session.acknowledged = h;
        for Unacknowledged { message, .. } in self.unacknowledged.drain(..more) {
            if let Some((message, _)) = message {
                self.journal.enter(self.id, What::Acknowledged { message });
            }
        }
    }

    async fn iq(&mut self, iq: Element) -> Result<(), Lost> {
        let id = iq.attribute("id").unwrap_or_default().to_owned();
        match iq.attribute("type") {
            Some("result" | "error") => {
                self.answers.insert(id, iq);
                Ok(())
            }
            _ => {
                let answer = Element::new("iq", CLIENT)
                    .with_attribute("type", "result")
                    .with_attribute("id", id)
                    .with_attribute_if("to", iq.attribute("from"));
                self.send(answer, None).await
            }
        }
    }

    fn message(&mut self, message: &Element) {
        if let Some(result) = message.child("result", MAM) {
            let inner = result.child("forwarded", FORWARD).and_then(|forwarded| forwarded.child("message", CLIENT));
            let (Some(inner), Some(id)) = (inner, result.attribute("id")) else { return self.broke(message.to_xml()) };
            let query = result.attribute("queryid").unwrap_or_default().to_owned();
            self.rows.entry(query).or_default().push((id.to_owned(), inner.clone()));
            return;
        }
        let carbon = message.child("received", CARBONS).or_else(|| message.child("sent", CARBONS));
        if let Some(carbon) = carbon {
            let inner = carbon.child("forwarded", FORWARD).and_then(|forwarded| forwarded.child("message", CLIENT));
            match inner {
                // XEP-0280 §11: from anybody else it is a forgery.
                Some(inner) if message.attribute("from") == Some(&self.bare()) => {
                    self.copy(inner, if self.there { Route::Carbon } else { Route::Early });
                }
                _ => self.broke(message.to_xml()),
            }
            return;
        }
        let kept = message.child("delay", "urn:xmpp:delay").is_some();
        let route = match kept {
            true => Route::Kept,
            false if self.there => Route::Live,
            false => Route::Early,
        };
        self.copy(message, route);
    }

    fn copy(&mut self, message: &Element, route: Route) {
        let Some(body) = message.child("body", CLIENT) else { return };
        let Some(number) = self.journal.message(&body.text()) else { return };
        if message.attribute("type") == Some("error") {
            let condition = message.child("error", CLIENT).and_then(|error| error.children().next());
            let condition = condition.map_or("none", Element::name).to_owned();
            self.journal.enter(self.id, What::Bounced { message: number, condition });
            return;
        }
        let bare = self.bare();
        let mut ids = message.children().filter(|child| child.is("stanza-id", SID));
        let archive_id = ids.find(|id| id.attribute("by") == Some(&bare)).and_then(|id| id.attribute("id"));
        let archive_id = archive_id.map(str::to_owned);
        if let Some(id) = &archive_id {
            if self.caught_up {
                self.cursor = Some(id.clone());
            } else {
                self.ahead = Some(id.clone());
            }
        }
        self.show(number, archive_id, route);
    }

    fn show(&mut self, message: MessageId, archive_id: Option<String>, route: Route) {
        let display = match &archive_id {
            Some(id) if !self.known.insert(id.clone()) => Display::Dropped,
            _ => Display::Shown,
        };
        self.journal.enter(self.id, What::Copy { message, archive_id, route, display });
    }

    // ── the archive ──

    /// One page behind an id: its rows, and whether it is the last.
    async fn page(&mut self, after: Option<&str>) -> Result<(Vec<(String, Element)>, bool), Lost> {
        let query = format!("p{}", self.requests);
        let set = Element::new("set", RSM).with_child(Element::new("max", RSM).with_text(PAGE.to_string()));
        let set = match after {
            Some(id) => set.with_child(Element::new("after", RSM).with_text(id)),
            None => set,
        };
        let ask = Element::new("iq", CLIENT)
            .with_attribute("type", "set")
            .with_child(Element::new("query", MAM).with_attribute("queryid", query.clone()).with_child(set));
        let answer = self.request(ask).await?;
        let rows = self.rows.remove(&query).unwrap_or_default();
        match answer.child("fin", MAM) {
            Some(fin) => {
                let complete = fin.attribute("complete") == Some("true");
                if rows.is_empty() && !complete {
                    self.broke("an empty page that is not the last");
                }
                Ok((rows, complete))
            }
            // What the server gave out as an id it must know.
            None => Err(Lost::Refused(format!("{} in answer to a page behind {after:?}", answer.to_xml()))),
        }
    }

    /// Reads what it does not know yet: from then on what comes by itself is the end of the archive.
    async fn catch_up(&mut self) -> Result<(), Lost> {
        self.read_pages().await?;
        self.caught_up = true;
        if let Some(ahead) = self.ahead.take() {
            self.cursor = Some(ahead);
        }
        Ok(())
    }

    async fn read_pages(&mut self) -> Result<(), Lost> {
        loop {
            let after = self.cursor.clone();
            let (rows, complete) = self.page(after.as_deref()).await?;
            let empty = rows.is_empty();
            for (id, row) in rows {
                if self.ahead.as_ref() == Some(&id) {
                    self.ahead = None;
                }
                self.cursor = Some(id.clone());
                if let Some(message) = self.row(&row)
                    && message.sender != self.id
                {
                    self.show(message, Some(id), Route::Page);
                }
            }
            if complete || empty {
                return Ok(());
            }
        }
    }

    fn row(&self, row: &Element) -> Option<MessageId> {
        self.journal.message(&row.child("body", CLIENT)?.text())
    }

    /// Asks the archive again for everything behind what it knows.
    pub async fn catch_up_again(&mut self) -> Result<(), Lost> {
        self.caught_up = false;
        let caught_up = self.catch_up().await;
        self.keep(caught_up)
    }

    /// Reads the whole archive into the journal.
    pub async fn read_archive(&mut self) -> Result<(), Lost> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.page(after.as_deref()).await;
            let (rows, complete) = self.keep(page)?;
            after = rows.last().map(|(id, _)| id.clone());
            all.extend(rows.iter().filter_map(|(id, row)| Some((id.clone(), self.row(row)?))));
            if complete || rows.is_empty() {
                break;
            }
        }
        self.journal.archive(&self.account, all);
        Ok(())
    }
}
