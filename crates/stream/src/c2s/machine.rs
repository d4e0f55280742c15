//! The states of a client's stream, and the stream itself: headers, time, its end.

use super::auth::{Exchange, Next};
use super::management::Counting;
use super::sasl2::{self, Login, Stage};
use super::{Command, Config, Event, bind, management, negotiation, sasl, stanzas, upgrade};
use crate::ending::CLOSING;
use crate::header::{self, FOOTER, Ours, stream_id};
use crate::outside::Tokens;
use crate::wire::{self, Gate, OurHeader, Wire, earliest, name_of};
use crate::{Closed, HostStatus, PeerVersion, Phase, TlsFacts, Token, Transmit};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use stonechat_jid::{BareJid, Domain, FullJid, Jid};
use stonechat_sasl::ChannelBindings;
use stonechat_stanza::{
    AcceptError, Accepted, ContentNamespace, Stanza, StanzaCondition, StreamCondition, StreamError, ns,
};
use stonechat_xml::{Element, Frame, Header, Item, Text};

#[derive(Clone, Debug)]
pub(super) enum Security {
    Clear,
    Tls(ChannelBindings),
}

pub(super) enum State {
    /// The client's header is awaited; after SASL for this account.
    Opening(Option<BareJid>),
    /// Features were sent; not authenticated.
    Negotiating,
    /// In the middle of SASL.
    Authenticating(Box<Exchange>),
    /// In the middle of XEP-0388.
    LoggingIn(Box<Login>),
    /// `<proceed/>` was sent.
    Securing,
    /// Authenticated; a resource is to be bound, or a session resumed.
    Binding {
        account: BareJid,
        request: Option<Request>,
    },
    /// Established.
    Bound {
        jid: FullJid,
        counting: Counting,
    },
    /// The client's footer came; ours waits until what it sent is safe.
    Leaving,
    /// Our footer was sent; the peer's is awaited.
    Closing(Instant),
    Closed,
}

/// What an authenticated client asked for, unanswered as yet.
pub(super) enum Request {
    /// Boxed: every stream's state would have room for it.
    Bind(Token, Box<Stanza>),
    /// The session it wants back (XEP-0198 §5).
    Resume(Token, String),
}

/// The machine.
pub struct C2s {
    pub(super) config: Arc<Config>,
    pub(super) wire: Wire,
    pub(super) state: State,
    pub(super) security: Security,
    /// Frozen by the first header (RFC 6120 §4.7.2): a stream restart cannot go to another domain.
    pub(super) domain: Option<Domain>,
    /// Who the header says the client is, before anybody knows; `None` inside when that is nobody's address.
    pub(super) claim: Option<Option<BareJid>>,
    /// The version of the features that were sent (XEP-0509).
    pub(super) advertised: Option<String>,
    /// RFC 6120 §4.7.4: the language of stanzas that say none.
    lang: Option<Text>,
    pub(super) failures: u8,
    pub(super) tokens: Tokens,
    /// Each with how much had been written before it.
    events: VecDeque<(u64, Event)>,
    pub(super) login_deadline: Option<Instant>,
    quiet_since: Instant,
}

impl C2s {
    /// A machine for a connection that was accepted now. With [`super::Transport::DirectTls`], [`C2s::on_tls`] comes
    /// first.
    pub fn new(config: Arc<Config>, now: Instant) -> Self {
        C2s {
            login_deadline: now.checked_add(config.limits.login),
            wire: Wire::new(config.limits.before, config.limits.stanza),
            config,
            state: State::Opening(None),
            security: Security::Clear,
            domain: None,
            claim: None,
            advertised: None,
            lang: None,
            failures: 0,
            tokens: Tokens::default(),
            events: VecDeque::new(),
            quiet_since: now,
        }
    }

    /// Whether the machine can take input; while it waits for an answer, the driver should not read.
    pub fn wants_input(&self) -> bool {
        wire::Machine::gate(self) == Gate::Open && !self.wire.has_backlog()
    }

    /// Bytes held: an unfinished element, input that waits, output that was not taken yet.
    pub fn held(&self) -> usize {
        self.wire.held()
    }

    /// Bytes from the peer.
    pub fn on_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.quiet_since = now;
        wire::receive(self, now, bytes);
    }

    /// The handshake is done.
    pub fn on_tls(&mut self, now: Instant, facts: TlsFacts) {
        if !matches!(self.state, State::Securing | State::Opening(None)) {
            return;
        }
        self.quiet_since = now;
        self.security = Security::Tls(facts.bindings);
        // RFC 6120 §5.4.3.3: everything known from the clear is forgotten, but not which domain was asked for.
        self.wire.restart(self.config.limits.before);
        self.lang = None;
        self.state = State::Opening(None);
    }

    /// The connection ended.
    pub fn on_eof(&mut self) {
        match self.state {
            State::Closed => {}
            State::Closing(_) => self.finish(Closed::Unanswered),
            State::Leaving => self.finish(Closed::Cleanly),
            _ => self.finish(Closed::Lost),
        }
    }

    /// Time has passed.
    pub fn on_timeout(&mut self, now: Instant) {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        match self.state {
            State::Closed => {}
            State::Closing(deadline) if deadline <= now => self.finish(Closed::Unanswered),
            State::Closing(_) | State::Leaving => {}
            _ if passed(self.login_deadline) || passed(self.wire.element_deadline()) => {
                self.end_with(now, StreamCondition::ConnectionTimeout);
            }
            State::Bound { .. } if passed(self.keepalive_due()) => {
                self.quiet_since = now;
                self.wire.out.push(b' ');
            }
            _ => {}
        }
    }

    fn keepalive_due(&self) -> Option<Instant> {
        match self.state {
            State::Bound { .. } => self.quiet_since.checked_add(self.config.limits.keepalive),
            _ => None,
        }
    }

    /// When [`C2s::on_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Closed | State::Leaving => None,
            State::Closing(deadline) => Some(deadline),
            _ => earliest([self.login_deadline, self.wire.element_deadline(), self.keepalive_due()]),
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let next = self.events.pop_front();
        if self.events.is_empty() {
            // Room for events is large, and most streams are silent.
            self.events = VecDeque::new();
        }
        next.map(|(_, event)| event)
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.events.push_back((self.wire.written(), event));
    }

    /// Moves what is to be sent to the end of `out`. Whether there was anything.
    ///
    /// What the machine wrote after an event that was not polled yet stays: what comes of the event goes before it. (The
    /// end of a stream, above all, which nothing may follow.)
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Transmit {
        let until = self.events.front().map_or(u64::MAX, |(written, _)| *written);
        self.wire.transmit_until(until, out)
    }

    /// The bound address, when there is one.
    pub fn bound(&self) -> Option<&FullJid> {
        match &self.state {
            State::Bound { jid, .. } => Some(jid),
            _ => None,
        }
    }

    /// An answer, or something to do. An answer to a question that is not open is ignored.
    pub fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Credentials(token, lookup) => {
                self.answered(now, |exchange| exchange.credentials(token, lookup));
            }
            Command::PasswordChecked(token, verdict) => {
                self.answered(now, |exchange| exchange.password_checked(token, verdict));
            }
            Command::Tokens(token, lookup) => self.answered(now, |exchange| exchange.tokens(token, lookup)),
            Command::Upgraded(token) => upgrade::kept(self, token),
            Command::Granted(token, granted) => sasl2::granted(self, now, token, granted),
            Command::Denied(token, failure) => sasl2::denied(self, now, token, failure),
            Command::Bound2(token, bound) => sasl2::bound(self, token, bound),
            Command::Bound(token, jid) => bind::bound(self, token, jid),
            Command::BindRefused(token, error) => bind::refused(self, token, &error),
            Command::Enabled(token, enabled) => management::enabled(self, token, &enabled),
            Command::EnableRefused(token, condition) => management::enable_refused(self, token, condition),
            Command::Resumed(token, resumed) => management::resumed(self, token, resumed),
            Command::ResumeRefused(token, h) => management::resume_refused(self, token, h),
            Command::Acknowledge(h) => management::acknowledge(self, h),
            Command::AcknowledgedTooMuch { h, sent } => management::acknowledged_too_much(self, h, sent),
            Command::Send(stanza) => {
                // Once a resource is bound, what is not counted is not sent.
                if matches!(
                    self.state,
                    State::Opening(_)
                        | State::Negotiating
                        | State::Authenticating(_)
                        | State::LoggingIn(_)
                        | State::Binding { .. }
                ) {
                    stanza.write(ContentNamespace::Client, &mut self.wire.out);
                }
            }
            Command::Leave if matches!(self.state, State::Leaving) => self.ended_by_peer(Closed::Cleanly),
            Command::Leave => {}
            Command::Close(Some(error)) => self.end(now, error),
            Command::Close(None) => self.close(now),
        }
        wire::resume(self, now);
    }

    /// The client has its address: nothing presses any more.
    pub(super) fn establish(&mut self, jid: FullJid, counting: Counting) {
        self.login_deadline = None;
        self.state = State::Bound { jid, counting };
        // What only logging in needs is not kept for as long as the stream lives.
        self.claim = None;
        self.advertised = None;
        if let Security::Tls(bindings) = &mut self.security {
            *bindings = ChannelBindings::default();
        }
    }

    /// An answer to whatever profile of SASL is in use.
    fn answered(&mut self, now: Instant, answer: impl FnOnce(&mut Exchange) -> Option<Next>) {
        match &mut self.state {
            State::Authenticating(exchange) => {
                if let Some(step) = answer(exchange) {
                    sasl::follow(self, now, step);
                }
            }
            State::LoggingIn(login) => {
                if let Stage::Proving(exchange) = &mut login.stage
                    && let Some(step) = answer(exchange)
                {
                    sasl2::follow(self, now, step);
                }
            }
            _ => {}
        }
    }

    fn on_header(&mut self, now: Instant, header: &Header) {
        let State::Opening(account) = &mut self.state else {
            return self.end_with(now, StreamCondition::InvalidXml);
        };
        let account = account.take();
        let opening = match header::read(header, ns::CLIENT) {
            Ok(opening) => opening,
            Err(error) => return self.end(now, error),
        };
        // RFC 6120 §4.7.2, §4.9.3.7
        let Some(to) = opening.to else { return self.end_with(now, StreamCondition::ImproperAddressing) };
        match &self.domain {
            Some(frozen) if *frozen != to => {
                let error = StreamError::new(StreamCondition::NotAuthorized).with_text("`to` cannot change");
                return self.end(now, error);
            }
            Some(_) => {}
            None => match self.config.hosts.status(&to) {
                HostStatus::Served => self.domain = Some(to),
                HostStatus::Gone => return self.end_with(now, StreamCondition::HostGone),
                HostStatus::Unknown => return self.end_with(now, StreamCondition::HostUnknown),
            },
        }
        if opening.version == PeerVersion::Old {
            return self.end_with(now, StreamCondition::UnsupportedVersion);
        }
        // RFC 6120 §4.7.1: once authenticated, a client that says who it is says the truth.
        let from = header.attribute("from").and_then(|from| Jid::parse(from).ok());
        if let (Some(account), Some(_)) = (&account, header.attribute("from"))
            && !from.as_ref().is_some_and(|from| from.same_bare(account.as_jid()))
        {
            return self.end_with(now, StreamCondition::InvalidFrom);
        }
        // A copy: what is cut from the header keeps all of the header.
        self.lang = header.lang().map(|lang| Text::from(&**lang));
        self.send_header(from.as_ref());
        match account {
            None => {
                self.claim = header.attribute("from").map(|_| from.as_ref().map(Jid::to_bare));
                negotiation::send_features(self, Phase::BeforeAuthentication);
                self.state = State::Negotiating;
            }
            Some(account) => {
                self.claim = None;
                self.state = State::Binding { account, request: None };
                negotiation::send_features(self, Phase::AfterAuthentication);
            }
        }
    }

    /// RFC 6120 §4.7.2: `to` is there when the client said who it is.
    fn send_header(&mut self, to: Option<&Jid>) {
        let id = stream_id(&*self.config.random);
        let from = name_of(&*self.config.hosts, self.domain.as_ref());
        let ours = Ours {
            content_namespace: ns::CLIENT,
            from: from.as_ref().map(Domain::as_str),
            to: to.map(Jid::as_str),
            id: Some(&id),
            version: PeerVersion::Current,
        };
        header::write(ours, &mut self.wire.out);
        self.wire.header = OurHeader::Sent;
    }

    /// Every stanza makes one event, a [`Event::Stanza`] or a [`Event::Reply`], in the order in which they came: that is
    /// what XEP-0198 counts.
    fn on_frame_bound(&mut self, now: Instant, frame: Frame) {
        let State::Bound { jid, .. } = &self.state else { return };
        let stanza = match Accepted::from_frame(frame, ContentNamespace::Client) {
            Ok(Accepted::Stanza(stanza)) => stanza,
            Ok(Accepted::Other(frame)) => return negotiation::take_bound(self, now, frame),
            // RFC 6120 §4.9.3.24
            Err(AcceptError::NotAStanza) => return self.end_with(now, StreamCondition::UnsupportedStanzaType),
            Err(AcceptError::Refused { reply, .. }) => {
                return self.tell(Event::Reply(reply.map(|reply| *reply)));
            }
        };
        let mut stanza = match stanzas::stamp(stanza, jid, &*self.config.hosts) {
            Ok(stanza) => stanza,
            Err(condition) => return self.end_with(now, condition),
        };
        let event = match stanzas::of_the_stream(&stanza, jid) {
            stanzas::Ours::No => {
                // RFC 6120 §8.1.5
                if stanza.head().lang.is_none() {
                    stanza.head_mut().lang = self.lang.clone();
                }
                Event::Stanza(stanza)
            }
            stanzas::Ours::Session => Event::Reply(Some(bind::from_the_stream(stanza.iq_result(None)))),
            // Abuse case 33: one resource a stream.
            stanzas::Ours::Bind => {
                Event::Reply(stanza.error_reply(&StanzaCondition::NotAllowed.into()).map(bind::from_the_stream))
            }
        };
        self.tell(event);
    }

    pub(super) fn end_with(&mut self, now: Instant, condition: StreamCondition) {
        self.end(now, condition.into());
    }

    /// Ends the stream with an error. Our header goes first when it has not yet (RFC 6120 §4.9.1.2), and nothing is read
    /// any more: stream errors cannot be recovered from (§4.9.1.1).
    pub(super) fn end(&mut self, _now: Instant, error: StreamError) {
        self.end_saying(error, None);
    }

    /// As [`C2s::end`], with an application-specific condition (RFC 6120 §4.9.4).
    pub(super) fn end_saying(&mut self, error: StreamError, application: Option<&Element>) {
        if matches!(self.state, State::Closed | State::Closing(_)) {
            return;
        }
        if matches!(self.state, State::Securing) {
            // In the middle of the handshake nothing can be said.
            return self.finish(Closed::ByUs(error));
        }
        if self.wire.header == OurHeader::Owed {
            self.send_header(None);
        }
        error.write_with(application, &mut self.wire.out);
        self.wire.out.extend_from_slice(FOOTER);
        self.finish(Closed::ByUs(error));
    }

    /// Closes our direction and waits for the client to close its own (RFC 6120 §4.4).
    pub(super) fn close(&mut self, now: Instant) {
        if matches!(self.state, State::Closed | State::Closing(_)) {
            return;
        }
        if matches!(self.state, State::Securing) {
            // In the middle of the handshake nothing can be said.
            return self.finish(Closed::Unanswered);
        }
        if matches!(self.state, State::Leaving) {
            return self.ended_by_peer(Closed::Cleanly);
        }
        if self.wire.header == OurHeader::Owed {
            self.send_header(None);
        }
        self.wire.out.extend_from_slice(FOOTER);
        match now.checked_add(CLOSING) {
            Some(deadline) => self.state = State::Closing(deadline),
            None => self.finish(Closed::Unanswered),
        }
    }

    /// RFC 6120 §4.4: the client closed its direction; ours follows.
    pub(super) fn ended_by_peer(&mut self, closed: Closed) {
        if !matches!(self.state, State::Closing(_)) {
            self.wire.out.extend_from_slice(FOOTER);
        }
        self.finish(closed);
    }

    fn finish(&mut self, closed: Closed) {
        self.state = State::Closed;
        self.wire.end(self.config.limits.before);
        self.tell(Event::Closed(closed));
    }
}

impl wire::Machine for C2s {
    fn wire(&self) -> &Wire {
        &self.wire
    }
    fn wire_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn gate(&self) -> Gate {
        match &self.state {
            State::Authenticating(exchange) if exchange.is_waiting() => Gate::Waiting,
            State::LoggingIn(login) if login.is_waiting() => Gate::Waiting,
            State::Binding { request: Some(_), .. } => Gate::Waiting,
            State::Bound { counting: Counting::Asked(_), .. } => Gate::Waiting,
            State::Securing => Gate::Securing,
            State::Closed | State::Leaving => Gate::Closed,
            _ => Gate::Open,
        }
    }

    fn on_item(&mut self, now: Instant, item: Item) {
        match item {
            Item::Whitespace(_) => {}
            Item::Header(header) => self.on_header(now, &header),
            Item::Frame(frame) => match &self.state {
                State::Negotiating | State::Authenticating(_) | State::LoggingIn(_) | State::Binding { .. } => {
                    negotiation::take(self, now, frame);
                }
                State::Bound { .. } => self.on_frame_bound(now, frame),
                State::Opening(_) => self.end_with(now, StreamCondition::BadFormat),
                State::Leaving | State::Closing(_) | State::Closed | State::Securing => {}
            },
            Item::Footer if matches!(self.state, State::Bound { .. }) => {
                self.state = State::Leaving;
                self.tell(Event::Leaving);
            }
            Item::Footer => self.ended_by_peer(Closed::Cleanly),
        }
    }

    fn fail(&mut self, now: Instant, error: StreamError) {
        match self.state {
            // What comes after our footer is of no interest, and neither is its form.
            State::Closing(_) => self.finish(Closed::Unanswered),
            _ => self.end(now, error),
        }
    }

    fn abandon(&mut self) {
        self.wire.out = Vec::new();
        self.events.clear();
        self.finish(Closed::Lost);
    }
}
