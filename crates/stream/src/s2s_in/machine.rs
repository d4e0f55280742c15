//! The states of the stream and the stream itself: headers, features, STARTTLS, time, its end.

use super::dialback::{Pairs, Waiting};
use super::management::Counting;
use super::{Command, Config, Event, dialback, external, management, stanzas};
use crate::ending::{CLOSING, peer_error};
use crate::features::{limits_feature, write_features};
use crate::header::{self, FOOTER, Ours, stream_id};
use crate::outside::Tokens;
use crate::wire::{self, Gate, OurHeader, Wire, earliest, name_of};
use crate::{
    CertificatePolicy, Closed, DialbackPolicy, HostStatus, PeerCertificate, PeerVersion, S2sTransport, Step, TlsFacts,
    TlsPolicy, Token, Transmit, Validity,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use stonechat_jid::Domain;
use stonechat_sasl::Negotiation;
use stonechat_stanza::{StreamCondition, StreamError, ns};
use stonechat_xml::{Element, Frame, Header, Item, Text};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    Clear,
    Tls(PeerCertificate),
}

pub(super) enum State {
    /// The peer's header is awaited; after SASL for this domain.
    Opening(Option<Domain>),
    /// Headers were exchanged.
    Open {
        /// An exchange of EXTERNAL that waits for a response.
        sasl: Option<Box<Negotiation>>,
    },
    /// `<proceed/>` was sent.
    Securing,
    /// Our footer was sent; the peer's is awaited.
    Closing(Instant),
    Closed,
}

/// The machine.
pub struct S2sIn {
    pub(super) config: Arc<Config>,
    pub(super) wire: Wire,
    pub(super) state: State,
    pub(super) security: Security,
    /// Frozen by the first header (RFC 6120 §4.7.2).
    pub(super) to: Option<Domain>,
    /// Who the peer says it is.
    pub(super) from: Option<Domain>,
    pub(super) version: PeerVersion,
    /// The id in our last header, on which dialback keys hang.
    pub(super) stream_id: String,
    /// RFC 6120 §4.7.4: the language of stanzas that say none.
    pub(super) lang: Option<Text>,
    pub(super) pairs: Pairs,
    /// What goes on when a certificate was judged.
    pub(super) waiting: Option<(Token, Waiting)>,
    pub(super) failures: u8,
    pub(super) counting: Counting,
    pub(super) tokens: Tokens,
    pub(super) events: VecDeque<Event>,
    negotiation_deadline: Option<Instant>,
    quiet_since: Instant,
}

impl S2sIn {
    /// A machine for a connection that was accepted now. With [`S2sTransport::DirectTls`], [`S2sIn::on_tls`] comes
    /// first.
    pub fn new(config: Arc<Config>, now: Instant) -> Self {
        S2sIn {
            negotiation_deadline: now.checked_add(config.limits.negotiation),
            wire: Wire::new(config.limits.before, config.limits.stanza),
            pairs: Pairs::new(config.limits.pairs),
            config,
            state: State::Opening(None),
            security: Security::Clear,
            to: None,
            from: None,
            version: PeerVersion::Current,
            stream_id: String::new(),
            lang: None,
            waiting: None,
            failures: 0,
            counting: Counting::Off,
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
        self.security = Security::Tls(facts.peer);
        // RFC 6120 §5.4.3.3: everything known from the clear is forgotten, but not which domain was asked for.
        self.wire.restart(self.config.limits.before);
        self.from = None;
        self.lang = None;
        self.pairs = Pairs::new(self.config.limits.pairs);
        self.state = State::Opening(None);
        self.note(Step::TlsEstablished);
        if facts.peer == PeerCertificate::Absent {
            self.note(Step::NoCertificate);
        }
    }

    /// The connection ended.
    pub fn on_eof(&mut self) {
        match self.state {
            State::Closed => {}
            State::Closing(_) => self.finish(Closed::Cleanly),
            _ => self.finish(Closed::Lost),
        }
    }

    /// Time has passed.
    pub fn on_timeout(&mut self, now: Instant) {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        match self.state {
            State::Closed => {}
            State::Closing(deadline) if deadline <= now => self.finish(Closed::Cleanly),
            State::Closing(_) => {}
            _ if passed(self.negotiation_deadline) || passed(self.wire.element_deadline()) => {
                self.end_with(now, StreamCondition::ConnectionTimeout);
            }
            _ if passed(self.idle_due()) => self.close(now),
            _ => {}
        }
    }

    fn idle_due(&self) -> Option<Instant> {
        self.quiet_since.checked_add(self.config.limits.idle)
    }

    /// When [`S2sIn::on_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Closing(deadline) => Some(deadline),
            _ => earliest([self.negotiation_deadline, self.wire.element_deadline(), self.idle_due()]),
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Moves what is to be sent to the end of `out`. Whether there was anything.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Transmit {
        self.wire.transmit(out)
    }

    /// An answer, or something to do. An answer to a question that is not open is ignored.
    pub fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::CertificateChecked(token, validity) => {
                if let Some((_, waiting)) = self.waiting.take_if(|(asked, _)| *asked == token) {
                    self.on_certificate(waiting, validity);
                }
            }
            Command::DialbackVerdict(token, verdict) => dialback::verdict(self, token, verdict),
            Command::Acknowledge(h) => management::acknowledge(self, h),
            Command::Close(Some(error)) => self.end(now, error),
            Command::Close(None) => self.close(now),
        }
        wire::resume(self, now);
    }

    /// The pairs proved so far: the peer's domain, ours.
    pub fn authorised(&self) -> impl Iterator<Item = (&Domain, &Domain)> {
        self.pairs.proved()
    }

    /// How many stanzas were taken since the peer asked for acknowledgements; `None` when it did not.
    pub fn taken(&self) -> Option<u32> {
        match self.counting {
            Counting::On(taken) => Some(taken),
            Counting::Off => None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    fn on_header(&mut self, now: Instant, header: &Header) {
        let State::Opening(authenticated) = &mut self.state else {
            return self.end_with(now, StreamCondition::InvalidXml);
        };
        let authenticated = authenticated.take();
        let opening = match header::read(header, ns::SERVER) {
            Ok(opening) => opening,
            Err(error) => return self.end(now, error),
        };
        self.note(Step::Header { from: opening.from.clone(), version: opening.version });
        self.version = opening.version;
        // RFC 6120 §4.7.2, §4.9.3.7
        let Some(to) = opening.to else { return self.end_with(now, StreamCondition::ImproperAddressing) };
        match &self.to {
            Some(frozen) if *frozen != to => {
                let error = StreamError::new(StreamCondition::NotAuthorized).with_text("`to` cannot change");
                return self.end(now, error);
            }
            Some(_) => {}
            None => match self.config.hosts.status(&to) {
                HostStatus::Served => self.to = Some(to),
                HostStatus::Gone => return self.end_with(now, StreamCondition::HostGone),
                HostStatus::Unknown => return self.end_with(now, StreamCondition::HostUnknown),
            },
        }
        if let Some(from) = &opening.from {
            if authenticated.as_ref().is_some_and(|domain| domain != from) {
                return self.end_with(now, StreamCondition::InvalidFrom);
            }
            if self.config.hosts.status(from) == HostStatus::Served {
                return self.end(now, our_own());
            }
        }
        self.from = authenticated.clone().or(opening.from);
        self.lang = header.lang().cloned();
        self.send_header();
        self.state = State::Open { sasl: None };
        match (self.version, self.security) {
            // A peer from before RFC 3920 knows no features: it sends its dialback key, or asks about ours.
            (PeerVersion::Old, Security::Clear) if self.config.policy.tls == TlsPolicy::Required => {
                self.end(now, tls_required());
            }
            (PeerVersion::Old, _) => {}
            (PeerVersion::Current, Security::Tls(PeerCertificate::Presented)) if authenticated.is_none() => {
                // XEP-0178 §3: EXTERNAL is offered to who can pass it.
                match self.from.clone() {
                    Some(from) => self.ask_certificate(from, Waiting::Features),
                    None => self.send_features(),
                }
            }
            (PeerVersion::Current, _) => self.send_features(),
        }
    }

    pub(super) fn ask_certificate(&mut self, domain: Domain, then: Waiting) {
        let token = self.tokens.next();
        self.waiting = Some((token, then));
        self.events.push_back(Event::CheckCertificate(token, domain));
    }

    fn on_certificate(&mut self, waiting: Waiting, validity: Validity) {
        match waiting {
            Waiting::Features => {
                if let Some(from) = self.from.clone() {
                    self.note(Step::Certificate(from.clone(), validity));
                    self.pairs.remember(from, validity);
                }
                self.send_features();
            }
            Waiting::Dialback(request) => {
                self.note(Step::Certificate(request.from.clone(), validity));
                self.pairs.remember(request.from.clone(), validity);
                dialback::decide(self, request, validity);
            }
        }
    }

    fn send_header(&mut self) {
        self.stream_id = stream_id(&*self.config.random);
        let from = name_of(&*self.config.hosts, self.to.as_ref());
        let ours = Ours {
            content_namespace: ns::SERVER,
            from: from.as_ref().map(Domain::as_str),
            to: self.from.as_ref().map(Domain::as_str),
            id: Some(&self.stream_id),
            version: self.version,
        };
        header::write(ours, &mut self.wire.out);
        self.wire.header = OurHeader::Sent;
    }

    fn send_features(&mut self) {
        let mut features = Vec::new();
        if self.security == Security::Clear && self.config.transport == S2sTransport::StartTls {
            let starttls = Element::new("starttls", ns::TLS);
            features.push(match self.config.policy.tls {
                TlsPolicy::Required => starttls.with_child(Element::new("required", ns::TLS)),
                TlsPolicy::Optional => starttls,
            });
        }
        if external::is_offered(self) {
            features.push(external::feature());
        }
        if dialback::is_useful(self) {
            features.push(
                Element::new("dialback", ns::DIALBACK_FEATURE).with_child(Element::new("errors", ns::DIALBACK_FEATURE)),
            );
        }
        // XEP-0478, XEP-0198. After dialback no features follow, so what holds then is said before.
        match self.is_secure_enough() {
            SecureEnough::Yes => {
                features.push(management::feature());
                features.push(limits_feature(self.config.limits.after.bytes, Some(self.config.limits.idle)));
            }
            SecureEnough::No => features.push(limits_feature(self.config.limits.before.bytes, None)),
        }
        write_features(&features, ns::SERVER, &mut self.wire.out);
    }

    fn on_frame(&mut self, now: Instant, frame: Frame) {
        if let Some(error) = peer_error(&frame) {
            self.note(Step::PeerError(error.clone()));
            return self.ended_by_peer(Closed::ByPeer(error));
        }
        match (&**frame.namespace(), &**frame.name()) {
            (ns::TLS, "starttls") => self.on_starttls(now),
            (ns::SASL, _) => external::take(self, now, &frame),
            (ns::DIALBACK, "result") => dialback::on_result(self, now, &frame),
            (ns::DIALBACK, "verify") => dialback::on_verify(self, now, &frame),
            (ns::SERVER, "message" | "presence" | "iq") => stanzas::take(self, now, frame),
            (ns::SM, _) => management::take(self, now, &frame),
            // RFC 6120 §4.9.3.24
            _ => self.end_with(now, StreamCondition::UnsupportedStanzaType),
        }
    }

    fn on_starttls(&mut self, now: Instant) {
        let possible = self.security == Security::Clear
            && self.config.transport == S2sTransport::StartTls
            && matches!(self.state, State::Open { sasl: None });
        match (&self.to, possible) {
            (Some(to), true) => {
                let to = to.clone();
                self.wire.out.extend_from_slice(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
                self.state = State::Securing;
                self.note(Step::TlsStarted);
                self.events.push_back(Event::StartTls(to));
            }
            _ => {
                // RFC 6120 §5.4.2.2: a failure, and the stream is closed.
                self.wire.out.extend_from_slice(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
                self.close(now);
            }
        }
    }

    /// Whether policy lets the stream be used as it is now.
    pub(super) fn is_secure_enough(&self) -> SecureEnough {
        match (self.security, self.config.policy.tls) {
            (Security::Clear, TlsPolicy::Required) => SecureEnough::No,
            _ => SecureEnough::Yes,
        }
    }

    /// Whether dialback may prove a domain whose certificate does not hold.
    pub(super) fn dialback_alone(&self) -> DialbackPolicy {
        match (self.config.policy.dialback, self.security, self.config.policy.certificate) {
            (DialbackPolicy::Never, ..) => DialbackPolicy::Never,
            (_, Security::Tls(_), CertificatePolicy::Required) => DialbackPolicy::Never,
            _ => DialbackPolicy::Allowed,
        }
    }

    /// The stream has been of use: it is not ended for being slow to begin.
    pub(super) fn is_of_use(&mut self) {
        self.negotiation_deadline = None;
    }

    pub(super) fn note(&mut self, step: Step) {
        self.events.push_back(Event::Note(step));
    }

    pub(super) fn end_with(&mut self, now: Instant, condition: StreamCondition) {
        self.end(now, condition.into());
    }

    /// Ends the stream with an error. Our header goes first when it has not yet (RFC 6120 §4.9.1.2).
    pub(super) fn end(&mut self, _now: Instant, error: StreamError) {
        self.end_saying(error, None);
    }

    /// Ends the stream with an error, and an application's own words about it (RFC 6120 §4.9.4).
    pub(super) fn end_saying(&mut self, error: StreamError, more: Option<&Element>) {
        if matches!(self.state, State::Closed | State::Closing(_)) {
            return;
        }
        if matches!(self.state, State::Securing) {
            // In the middle of the handshake nothing can be said.
            return self.finish(Closed::ByUs(error));
        }
        if self.wire.header == OurHeader::Owed {
            self.send_header();
        }
        error.write_with(more, &mut self.wire.out);
        self.wire.out.extend_from_slice(FOOTER);
        self.finish(Closed::ByUs(error));
    }

    /// Closes our direction and waits for the peer to close its own (RFC 6120 §4.4).
    fn close(&mut self, now: Instant) {
        if matches!(self.state, State::Closed | State::Closing(_)) {
            return;
        }
        if matches!(self.state, State::Securing) {
            // In the middle of the handshake nothing can be said.
            return self.finish(Closed::Cleanly);
        }
        if self.wire.header == OurHeader::Owed {
            self.send_header();
        }
        self.wire.out.extend_from_slice(FOOTER);
        self.waiting = None;
        match now.checked_add(CLOSING) {
            Some(deadline) => self.state = State::Closing(deadline),
            None => self.finish(Closed::Cleanly),
        }
    }

    fn ended_by_peer(&mut self, closed: Closed) {
        if !matches!(self.state, State::Closing(_)) {
            self.wire.out.extend_from_slice(FOOTER);
        }
        self.finish(closed);
    }

    fn finish(&mut self, closed: Closed) {
        self.state = State::Closed;
        self.waiting = None;
        self.pairs = Pairs::new(0);
        self.wire.end(self.config.limits.before);
        self.events.push_back(Event::Closed(closed));
    }
}

/// See [`S2sIn::is_secure_enough`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecureEnough {
    Yes,
    No,
}

pub(super) fn tls_required() -> StreamError {
    StreamError::new(StreamCondition::PolicyViolation).with_text("TLS is required")
}

/// Abuse case 129: nobody else is us.
pub(super) fn our_own() -> StreamError {
    StreamError::new(StreamCondition::UndefinedCondition).with_text("this domain is served here")
}

impl wire::Machine for S2sIn {
    fn wire(&self) -> &Wire {
        &self.wire
    }
    fn wire_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn gate(&self) -> Gate {
        match self.state {
            State::Securing => Gate::Securing,
            State::Closed => Gate::Closed,
            _ if self.waiting.is_some() => Gate::Waiting,
            _ => Gate::Open,
        }
    }

    fn on_item(&mut self, now: Instant, item: Item) {
        match item {
            Item::Whitespace(_) => {}
            Item::Header(header) => self.on_header(now, &header),
            Item::Frame(frame) => match self.state {
                State::Open { .. } => self.on_frame(now, frame),
                State::Opening(_) => self.end_with(now, StreamCondition::BadFormat),
                State::Closing(_) | State::Closed | State::Securing => {}
            },
            Item::Footer => self.ended_by_peer(Closed::Cleanly),
        }
    }

    fn fail(&mut self, now: Instant, error: StreamError) {
        match self.state {
            // What comes after our footer is of no interest, and neither is its form.
            State::Closing(_) => self.finish(Closed::Cleanly),
            _ => self.end(now, error),
        }
    }

    fn abandon(&mut self) {
        self.wire.out = Vec::new();
        self.events.retain(|event| matches!(event, Event::Note(_)));
        self.finish(Closed::Lost);
    }
}
