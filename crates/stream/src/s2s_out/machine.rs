//! The states of the stream and what leads from one to the next.

use super::dialback::{Expected, Pairs};
use super::features::Features;
use super::management::{self, Counting, Delivered};
use super::{Command, Config, Ended, Event, External, Purpose, Unsent, dialback};
use crate::ending::{CLOSING, peer_error};
use crate::header::{self, FOOTER, Ours};
use crate::outside::Tokens;
use crate::wire::{self, Gate, OurHeader, Wire, earliest};
use crate::{
    CertificatePolicy, Closed, Dialback, DialbackPolicy, Offered, PeerCertificate, PeerVersion, S2sTransport, Step,
    TlsFacts, TlsPolicy, Token, Transmit, Validity,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use stonechat_jid::Domain;
use stonechat_sasl::encode;
use stonechat_stanza::{ContentNamespace, Stanza, StanzaCondition, StreamCondition, StreamError, ns};
use stonechat_xml::{Element, Frame, Header, Item};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    Clear,
    Tls,
}

enum State {
    /// Direct TLS: the handshake comes first.
    Connecting,
    /// The certificate is being judged.
    Judging(Token),
    /// Our header was sent; the peer's is awaited.
    Opening,
    /// The peer's features are awaited.
    Offering,
    /// `<starttls/>` was sent.
    Asking,
    /// The peer said to go on.
    Securing,
    /// `<auth/>` was sent.
    Authenticating,
    /// Negotiated.
    Open,
    /// Our footer was sent; the peer's is awaited.
    Closing(Instant),
    Closed,
}

/// The machine.
pub struct S2sOut {
    pub(super) config: Arc<Config>,
    local: Domain,
    pub(super) remote: Domain,
    purpose: Purpose,
    pub(super) wire: Wire,
    state: State,
    security: Security,
    /// The id in the peer's header, on which dialback keys hang.
    pub(super) peer_id: Option<String>,
    peer_max_bytes: Option<usize>,
    /// Whether EXTERNAL proved the local domain, or with which condition the peer refused it.
    external: Tried,
    pub(super) pairs: Pairs,
    pub(super) counting: Counting,
    tokens: Tokens,
    pub(super) events: VecDeque<Event>,
    negotiation_deadline: Option<Instant>,
    /// What whoever asks for something when it is over is told.
    unreachable: StanzaCondition,
    /// When we last had something to say.
    quiet_since: Instant,
}

enum Tried {
    No,
    Accepted,
    Refused(String),
}

impl S2sOut {
    /// A machine for a connection to a server of `remote` that was made now. With [`S2sTransport::DirectTls`],
    /// [`S2sOut::on_tls`] comes first.
    pub fn new(config: Arc<Config>, local: Domain, remote: Domain, purpose: Purpose, now: Instant) -> Self {
        let mut stream = S2sOut {
            wire: Wire::new(config.limits.xml, config.limits.negotiation),
            negotiation_deadline: now.checked_add(config.limits.negotiation),
            config,
            local,
            remote,
            purpose,
            state: State::Connecting,
            security: Security::Clear,
            peer_id: None,
            peer_max_bytes: None,
            external: Tried::No,
            pairs: Pairs::default(),
            counting: Counting::No,
            tokens: Tokens::default(),
            events: VecDeque::new(),
            unreachable: StanzaCondition::RemoteServerTimeout,
            quiet_since: now,
        };
        if stream.config.transport == S2sTransport::StartTls {
            stream.begin();
        }
        stream
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
        wire::receive(self, now, bytes);
    }

    /// The handshake is done.
    pub fn on_tls(&mut self, now: Instant, facts: TlsFacts) {
        if !matches!(self.state, State::Securing | State::Connecting) {
            return;
        }
        self.quiet_since = now;
        self.security = Security::Tls;
        self.note(Step::TlsEstablished);
        match (facts.peer, self.config.policy.certificate) {
            (PeerCertificate::Presented, _) => {
                let token = self.tokens.next();
                self.state = State::Judging(token);
                self.events.push_back(Event::CheckCertificate(token, self.remote.clone()));
            }
            (PeerCertificate::Absent, CertificatePolicy::Required) => {
                self.note(Step::NoCertificate);
                self.finish(Ended::CertificateAbsent);
            }
            (PeerCertificate::Absent, CertificatePolicy::Preferred) => {
                self.note(Step::NoCertificate);
                self.begin();
            }
        }
    }

    /// The connection ended.
    pub fn on_eof(&mut self) {
        match self.state {
            State::Closed => {}
            State::Closing(_) => self.ended(Closed::Cleanly),
            _ => self.ended(Closed::Lost),
        }
    }

    /// Time has passed.
    pub fn on_timeout(&mut self, now: Instant) {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        match self.state {
            State::Closed => return,
            State::Closing(deadline) if deadline <= now => return self.ended(Closed::Cleanly),
            State::Closing(_) => return,
            _ if passed(self.negotiation_deadline) || passed(self.wire.element_deadline()) => {
                return self.give_up(StreamCondition::ConnectionTimeout, Ended::Timeout);
            }
            _ => {}
        }
        if passed(self.pairs.deadline()) {
            dialback::time_out(self, now);
        }
        if passed(management::deadline(&self.counting)) {
            management::time_out(self);
        }
        if passed(self.keepalive_due()) {
            self.quiet_since = now;
            self.wire.out.push(b' ');
        }
    }

    fn keepalive_due(&self) -> Option<Instant> {
        match self.state {
            State::Open => self.quiet_since.checked_add(self.config.limits.keepalive),
            _ => None,
        }
    }

    /// When [`S2sOut::on_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Closing(deadline) => Some(deadline),
            _ => earliest([
                self.negotiation_deadline,
                self.wire.element_deadline(),
                self.pairs.deadline(),
                management::deadline(&self.counting),
                self.keepalive_due(),
            ]),
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
                if matches!(self.state, State::Judging(asked) if asked == token) {
                    self.on_certificate(validity);
                }
            }
            Command::AddLocal(local) => {
                // Who comes after the end is told by the event that was its end.
                if !self.is_over() {
                    self.quiet_since = now;
                    dialback::add(self, now, local);
                }
            }
            Command::Verify(question) => {
                if self.is_over() {
                    let answer = Dialback::Failed(self.unreachable);
                    self.events.push_back(Event::Verified { question, answer });
                } else {
                    self.quiet_since = now;
                    dialback::ask(self, now, question);
                }
            }
            Command::Close(Some(error)) => self.end(error),
            Command::Close(None) => self.close(now),
        }
        wire::resume(self, now);
    }

    /// Whether stanzas of a local domain may be sent.
    pub fn is_ready(&self, local: &Domain) -> bool {
        self.may_send(local.as_str())
    }

    fn may_send(&self, local: &str) -> bool {
        self.is_open() && self.pairs.is_ready(local) && !matches!(self.counting, Counting::Asked { .. })
    }

    /// When a stanza that is sent counts as delivered.
    pub fn delivered(&self) -> Delivered {
        match self.counting {
            Counting::On { .. } => Delivered::WhenAcknowledged,
            Counting::No | Counting::Offered | Counting::Asked { .. } => Delivered::WhenWritten,
        }
    }

    /// Asks the peer to acknowledge what it was sent, unless it was asked already or has acknowledged all of it.
    pub fn request_acknowledgement(&mut self, now: Instant) {
        if self.is_open() {
            management::request(self, now);
        }
    }

    /// The largest stanza the peer takes, in bytes, when it says so (XEP-0478).
    pub fn peer_max_bytes(&self) -> Option<usize> {
        self.peer_max_bytes
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Closing(_) | State::Closed)
    }

    /// Sends a stanza of a local domain that is ready, or says why not.
    pub fn send(&mut self, now: Instant, stanza: &Stanza) -> Result<(), Unsent> {
        if stanza.to().is_none_or(|to| to.domain() != self.remote.as_str()) {
            return Err(Unsent::Misaddressed);
        }
        if !stanza.from().is_some_and(|from| self.may_send(from.domain())) {
            return Err(Unsent::NotReady);
        }
        let before = self.wire.out.len();
        stanza.write(ContentNamespace::Server, &mut self.wire.out);
        let size = self.wire.out.len().saturating_sub(before);
        if self.peer_max_bytes.is_some_and(|most| size > most) {
            // Abuse case 136: the peer would end the stream, and everybody's stanzas with it.
            self.wire.out.truncate(before);
            return Err(Unsent::TooLarge);
        }
        management::count(self);
        self.quiet_since = now;
        Ok(())
    }

    /// Opens the stream, or opens it anew.
    fn begin(&mut self) {
        self.wire.restart(self.config.limits.xml);
        let ours = Ours {
            content_namespace: ns::SERVER,
            from: Some(self.local.as_str()),
            to: Some(self.remote.as_str()),
            id: None,
            version: PeerVersion::Current,
        };
        header::write(ours, &mut self.wire.out);
        self.wire.header = OurHeader::Sent;
        self.peer_id = None;
        self.peer_max_bytes = None;
        self.counting = Counting::No;
        self.state = State::Opening;
    }

    fn on_certificate(&mut self, validity: Validity) {
        self.note(Step::Certificate(self.remote.clone(), validity));
        match (validity, self.config.policy.certificate) {
            (Validity::Invalid, CertificatePolicy::Required) => self.finish(Ended::CertificateRefused),
            (Validity::Valid, _) | (Validity::Invalid, CertificatePolicy::Preferred) => self.begin(),
        }
    }

    fn on_header(&mut self, now: Instant, header: &Header) {
        if !matches!(self.state, State::Opening) {
            return self.end_with(StreamCondition::InvalidXml);
        }
        let opening = match header::read(header, ns::SERVER) {
            Ok(opening) => opening,
            Err(error) => return self.end(error),
        };
        self.note(Step::Header { from: opening.from, version: opening.version });
        self.peer_id = opening.id.map(|id| id.as_str().to_owned());
        match opening.version {
            PeerVersion::Current => self.state = State::Offering,
            // A server from before RFC 3920 has no features, no TLS and no SASL.
            PeerVersion::Old => self.without_features(now),
        }
    }

    fn without_features(&mut self, now: Instant) {
        match (self.security, self.config.policy.tls) {
            (Security::Clear, TlsPolicy::Required) => self.leave(Ended::TlsUnavailable),
            _ => self.open(now),
        }
    }

    fn on_features(&mut self, now: Instant, frame: &Frame) {
        let features = Features::read(frame);
        self.note(features.step());
        self.peer_max_bytes = features.max_bytes;
        self.counting = match features.management {
            Offered::No => Counting::No,
            Offered::Yes | Offered::Required => Counting::Offered,
        };
        if self.security == Security::Clear {
            match (features.starttls, self.config.policy.tls) {
                (Offered::Yes | Offered::Required, _) => {
                    Element::new("starttls", ns::TLS).write(&mut self.wire.out, ns::SERVER);
                    self.state = State::Asking;
                    return;
                }
                (Offered::No, TlsPolicy::Required) => return self.leave(Ended::TlsUnavailable),
                (Offered::No, TlsPolicy::Optional) => {}
            }
        }
        let wanted = self.purpose == Purpose::Stanzas && self.config.external == External::WhenOffered;
        match (&self.external, features.external) {
            (Tried::No, Offered::Yes | Offered::Required) if wanted && self.security == Security::Tls => {
                // XEP-0178 §3: the domain that we are.
                Element::new("auth", ns::SASL)
                    .with_attribute("mechanism", "EXTERNAL")
                    .with_text(encode(self.local.as_str().as_bytes()))
                    .write(&mut self.wire.out, ns::SERVER);
                self.note(Step::ExternalTried(self.local.clone()));
                self.state = State::Authenticating;
            }
            _ => self.open(now),
        }
    }

    /// Negotiation is over, one way or another.
    fn open(&mut self, now: Instant) {
        let proved = matches!(self.external, Tried::Accepted);
        if self.purpose == Purpose::Stanzas && !proved && self.config.policy.dialback == DialbackPolicy::Never {
            return self.leave(Ended::NoMechanism);
        }
        self.state = State::Open;
        self.quiet_since = now;
        self.events.push_back(Event::Open);
        match self.purpose {
            Purpose::Stanzas if proved => {
                let local = self.local.clone();
                self.ready(now, &local);
                dialback::send_waiting(self, now);
            }
            Purpose::Stanzas => {
                dialback::add(self, now, self.local.clone());
                dialback::send_waiting(self, now);
            }
            Purpose::Verification => {
                self.negotiation_deadline = None;
                dialback::send_waiting(self, now);
            }
        }
    }

    /// A local domain is proved.
    pub(super) fn ready(&mut self, now: Instant, local: &Domain) {
        self.pairs.prove(local);
        self.negotiation_deadline = None;
        self.wire.trust(self.config.limits.xml);
        management::proved(self, now, local.clone());
    }

    fn on_sasl(&mut self, now: Instant, frame: &Frame) {
        match (&**frame.name(), &self.state) {
            ("success", State::Authenticating) => {
                self.note(Step::ExternalAccepted(self.local.clone()));
                self.external = Tried::Accepted;
                // RFC 6120 §6.4.6: the stream begins anew.
                self.begin();
            }
            ("challenge", State::Authenticating) => {
                // A peer that did not take the initial response for one.
                Element::new("response", ns::SASL)
                    .with_text(encode(self.local.as_str().as_bytes()))
                    .write(&mut self.wire.out, ns::SERVER);
            }
            ("failure", State::Authenticating) => {
                let condition = frame
                    .children()
                    .iter()
                    .map(|child| child.name.as_str())
                    .find(|name| *name != "text")
                    .unwrap_or("not-authorized")
                    .to_owned();
                self.note(Step::ExternalRefused(condition.clone()));
                self.external = Tried::Refused(condition.clone());
                match self.config.policy.dialback {
                    // XEP-0178 §3: the peer may go on with dialback, or close the stream.
                    DialbackPolicy::Allowed => self.open(now),
                    DialbackPolicy::Never => self.leave(Ended::ExternalRefused { condition }),
                }
            }
            _ => self.end_with(StreamCondition::NotAuthorized),
        }
    }

    fn on_tls_answer(&mut self, frame: &Frame) {
        match (&**frame.name(), &self.state) {
            ("proceed", State::Asking) => {
                self.note(Step::TlsStarted);
                self.state = State::Securing;
                self.events.push_back(Event::StartTls(self.remote.clone()));
            }
            ("failure", State::Asking) => {
                self.note(Step::TlsRefused);
                // RFC 6120 §5.4.2.2: the peer closes the stream.
                self.leave(Ended::TlsUnavailable);
            }
            _ => self.end_with(StreamCondition::NotAuthorized),
        }
    }

    fn on_frame(&mut self, now: Instant, frame: &Frame) {
        if let Some(error) = peer_error(frame) {
            self.note(Step::PeerError(error.clone()));
            return self.ended_by_peer(Closed::ByPeer(error));
        }
        match (&**frame.namespace(), &**frame.name(), &self.state) {
            (ns::STREAM, "features", State::Offering) => self.on_features(now, frame),
            // Features said again change nothing.
            (ns::STREAM, "features", State::Open) => {}
            (ns::TLS, ..) => self.on_tls_answer(frame),
            (ns::SASL, ..) => self.on_sasl(now, frame),
            (ns::SM, _, State::Open) => management::take(self, frame),
            (ns::DIALBACK, "result", State::Open) => {
                let expected = dialback::on_result(self, now, frame);
                self.hold_to(expected);
            }
            (ns::DIALBACK, "verify", State::Open) => {
                let expected = dialback::on_verify(self, frame);
                self.hold_to(expected);
            }
            // Nothing flows in this direction: bidirectional streams (XEP-0288) are not negotiated.
            (ns::SERVER, "message" | "presence" | "iq", _) => self.end_with(StreamCondition::NotAuthorized),
            _ => self.end_with(StreamCondition::UnsupportedStanzaType),
        }
    }

    fn hold_to(&mut self, expected: Expected) {
        if expected == Expected::No {
            self.end_with(StreamCondition::NotAuthorized);
        }
    }

    pub(super) fn note(&mut self, step: Step) {
        self.events.push_back(Event::Note(step));
    }

    pub(super) fn end_with(&mut self, condition: StreamCondition) {
        self.end(condition.into());
    }

    fn end(&mut self, error: StreamError) {
        self.end_saying(error, None);
    }

    /// Ends the stream with an error, and an application's own words about it (RFC 6120 §4.9.4).
    pub(super) fn end_saying(&mut self, error: StreamError, more: Option<&Element>) {
        if !self.is_over() {
            self.say_last(Some((&error, more)));
            self.finish(Ended::Stream(Closed::ByUs(error)));
        }
    }

    pub(super) fn give_up(&mut self, condition: StreamCondition, ended: Ended) {
        self.say_last(Some((&condition.into(), None)));
        self.finish(ended);
    }

    /// Closes the stream without an error: there is nothing to be had from the peer.
    fn leave(&mut self, ended: Ended) {
        self.say_last(None);
        self.finish(ended);
    }

    fn say_last(&mut self, error: Option<(&StreamError, Option<&Element>)>) {
        // Before our header there is no stream to say it on.
        if matches!(self.state, State::Connecting | State::Judging(_) | State::Securing) {
            return;
        }
        if let Some((error, more)) = error {
            error.write_with(more, &mut self.wire.out);
        }
        self.wire.out.extend_from_slice(FOOTER);
    }

    /// Closes our direction and waits for the peer to close its own (RFC 6120 §4.4).
    fn close(&mut self, now: Instant) {
        match (&self.state, now.checked_add(CLOSING)) {
            (State::Closing(_) | State::Closed, _) => {}
            (State::Connecting | State::Judging(_) | State::Securing, _) | (_, None) => self.leave_cleanly(),
            (_, Some(deadline)) => {
                self.say_last(None);
                self.state = State::Closing(deadline);
            }
        }
    }

    fn leave_cleanly(&mut self) {
        self.leave(Ended::Stream(Closed::Cleanly));
    }

    fn ended_by_peer(&mut self, closed: Closed) {
        if !matches!(self.state, State::Closing(_)) {
            self.wire.out.extend_from_slice(FOOTER);
        }
        self.ended(closed);
    }

    /// The stream is over, and not by our doing.
    fn ended(&mut self, closed: Closed) {
        let condition = match (&self.external, &self.state) {
            // Some peers say nothing, and hang up.
            (_, State::Authenticating) => Some("the stream was closed".to_owned()),
            (Tried::Refused(condition), State::Open) if !self.pairs.any_ready() => Some(condition.clone()),
            _ => None,
        };
        self.finish(match condition {
            Some(condition) => Ended::ExternalRefused { condition },
            None => Ended::Stream(closed),
        });
    }

    fn finish(&mut self, ended: Ended) {
        self.state = State::Closed;
        self.wire.end(self.config.limits.xml);
        // Who asked hears whether there is anybody to ask.
        self.unreachable = match &ended {
            Ended::Stream(Closed::ByPeer(error))
                if matches!(error.condition, StreamCondition::HostUnknown | StreamCondition::HostGone) =>
            {
                StanzaCondition::RemoteServerNotFound
            }
            _ => StanzaCondition::RemoteServerTimeout,
        };
        for question in self.pairs.take_questions() {
            let answer = Dialback::Failed(self.unreachable);
            self.events.push_back(Event::Verified { question, answer });
        }
        self.pairs = Pairs::default();
        self.counting = Counting::No;
        self.events.push_back(Event::Closed(ended));
    }
}

impl wire::Machine for S2sOut {
    fn wire(&self) -> &Wire {
        &self.wire
    }
    fn wire_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn gate(&self) -> Gate {
        match self.state {
            State::Judging(_) => Gate::Waiting,
            State::Connecting | State::Securing => Gate::Securing,
            State::Closed => Gate::Closed,
            _ => Gate::Open,
        }
    }

    fn on_item(&mut self, now: Instant, item: Item) {
        match item {
            Item::Whitespace(_) => {}
            Item::Header(header) => self.on_header(now, &header),
            Item::Frame(_) if self.is_over() => {}
            Item::Frame(frame) => self.on_frame(now, &frame),
            Item::Footer => self.ended_by_peer(Closed::Cleanly),
        }
    }

    fn fail(&mut self, _now: Instant, error: StreamError) {
        match self.state {
            // What comes after our footer is of no interest, and neither is its form.
            State::Closing(_) => self.ended(Closed::Cleanly),
            _ => self.end(error),
        }
    }

    fn abandon(&mut self) {
        self.wire.out = Vec::new();
        self.events.retain(|event| !matches!(event, Event::StartTls(_)));
        self.finish(Ended::Stream(Closed::Lost));
    }
}
