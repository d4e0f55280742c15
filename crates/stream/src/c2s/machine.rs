//! The states of a client's stream and what leads from one to the next.

use super::auth::{self, Exchange, Failed};
use super::stanzas;
use crate::header::{self, FOOTER, Ours, Version};
use crate::shared::{CLOSING, earliest, limits_feature, stream_id, write_features};
use crate::{Closed, FeatureSource, HostStatus, Hosts, Phase, Random, Registration, TlsFacts, Token, Transmit};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stonechat_jid::{BareJid, Domain, FullJid};
use stonechat_sasl::{ChannelBindings, DecoySecret, Lookup, Password, Verdict};
use stonechat_stanza::{
    AcceptError, Accepted, ContentNamespace, IqType, Stanza, StanzaCondition, StanzaError, StanzaType, StreamCondition,
    StreamError, ns,
};
use stonechat_xml::{Element, Frame, Framing, Header, Item, Limits as XmlLimits, Parser};

/// What TLS is to this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// STARTTLS is offered and required.
    StartTls,
    /// STARTTLS is offered; SCRAM works without it.
    StartTlsOptional,
    /// TLS is there from the first byte.
    DirectTls,
}

/// Bounds and times.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// XML before authentication.
    pub before: XmlLimits,
    /// XML after.
    pub after: XmlLimits,
    /// From the first byte until a resource is bound.
    pub login: Duration,
    /// From the first byte of a stanza to its last.
    pub stanza: Duration,
    /// Silence after which a space is sent, so that a dead connection shows.
    pub keepalive: Duration,
    /// Failed authentications.
    pub attempts: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            before: XmlLimits::BEFORE_AUTHENTICATION,
            after: XmlLimits::CLIENT,
            login: Duration::from_secs(30),
            stanza: Duration::from_secs(60),
            keepalive: Duration::from_secs(600),
            attempts: 3,
        }
    }
}

/// What streams of one kind share.
pub struct Config {
    /// The served domains.
    pub hosts: Arc<dyn Hosts>,
    /// What extensions add.
    pub features: Arc<dyn FeatureSource>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// For accounts that do not exist.
    pub decoy: DecoySecret,
    /// TLS.
    pub transport: Transport,
    /// Bounds and times.
    pub limits: Limits,
}

/// What the machine wants known or done.
#[derive(Debug)]
pub enum Event {
    /// Send what is to be sent, then run the handshake for this domain and call [`C2s::on_tls`].
    StartTls(Domain),
    /// Look the account up and answer with [`Command::Credentials`].
    Lookup(Token, BareJid),
    /// Check the password, which is slow, and answer with [`Command::PasswordChecked`].
    CheckPassword(Token, Password, Box<stonechat_sasl::Credentials>),
    /// An authentication failed.
    AuthenticationFailed(Failed),
    /// The client is who it says.
    Authenticated(BareJid),
    /// Bind a resource of the account and answer with [`Command::Bound`] or [`Command::BindRefused`].
    Bind(Token, BareJid, Option<String>),
    /// `jabber:iq:register` before authentication at this domain; answer with [`Command::Send`].
    Register(Domain, Stanza),
    /// A stanza of the bound client, stamped.
    Stanza(Stanza),
    /// The stream has ended; nothing follows. What is to be sent is sent first.
    Closed(Closed),
}

/// What the outside tells the machine.
#[derive(Debug)]
pub enum Command {
    /// Answers [`Event::Lookup`].
    Credentials(Token, Lookup),
    /// Answers [`Event::CheckPassword`].
    PasswordChecked(Token, Verdict),
    /// Answers [`Event::Bind`].
    Bound(Token, FullJid),
    /// Answers [`Event::Bind`].
    BindRefused(Token, StanzaError),
    /// Sends a stanza before a resource is bound.
    Send(Stanza),
    /// Ends the stream.
    Close(Option<StreamError>),
}

#[derive(Clone, Debug)]
pub(super) enum Security {
    Clear,
    Tls(ChannelBindings),
}

enum State {
    /// The client's header is awaited; after SASL for this account.
    Opening(Option<BareJid>),
    /// Features were sent; not authenticated.
    Negotiating,
    /// In the middle of SASL.
    Authenticating(Box<Exchange>),
    /// `<proceed/>` was sent.
    Securing,
    /// Authenticated; a resource is to be bound.
    Binding {
        account: BareJid,
        request: Option<(Token, Stanza)>,
    },
    /// Established.
    Bound(FullJid),
    /// Our footer was sent; the peer's is awaited.
    Closing(Instant),
    Closed,
}

/// The machine.
pub struct C2s {
    config: Arc<Config>,
    parser: Parser,
    state: State,
    security: Security,
    /// Frozen by the first header (RFC 6120 §4.7.2): a stream restart cannot go to another domain.
    domain: Option<Domain>,
    failures: u8,
    next_token: u64,
    out: Vec<u8>,
    events: VecDeque<Event>,
    /// Input that waits for an answer to a question.
    backlog: Vec<u8>,
    header_sent: bool,
    login_deadline: Option<Instant>,
    stanza_deadline: Option<Instant>,
    quiet_since: Instant,
}

impl C2s {
    /// A machine for a connection that was accepted now. With [`Transport::DirectTls`], [`C2s::on_tls`] comes first.
    pub fn new(config: Arc<Config>, now: Instant) -> Self {
        let parser = Parser::new(Framing::Stream, config.limits.before);
        C2s {
            login_deadline: now.checked_add(config.limits.login),
            config,
            parser,
            state: State::Opening(None),
            security: Security::Clear,
            domain: None,
            failures: 0,
            next_token: 0,
            out: Vec::new(),
            events: VecDeque::new(),
            backlog: Vec::new(),
            header_sent: false,
            stanza_deadline: None,
            quiet_since: now,
        }
    }

    /// Whether the machine can take input; while it waits for an answer, the driver should not read.
    pub fn wants_input(&self) -> bool {
        self.backlog.is_empty() && !self.is_waiting() && !matches!(self.state, State::Closed)
    }

    fn is_waiting(&self) -> bool {
        match &self.state {
            State::Authenticating(exchange) => exchange.is_waiting(),
            State::Binding { request, .. } => request.is_some(),
            State::Securing => true,
            _ => false,
        }
    }

    /// Bytes from the peer.
    pub fn on_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.quiet_since = now;
        if matches!(self.state, State::Securing) {
            // RFC 6120 §5.4.3.3: whatever follows <starttls/> in the clear was not written by who will speak TLS.
            self.abandon();
            return;
        }
        if self.is_waiting() || !self.backlog.is_empty() {
            self.backlog.extend_from_slice(bytes);
            return;
        }
        self.read(now, bytes);
    }

    fn read(&mut self, now: Instant, bytes: &[u8]) {
        let mut rest = bytes;
        while !matches!(self.state, State::Closed) {
            match self.parser.next(&mut rest) {
                Ok(Some(item)) => self.on_item(now, item),
                Ok(None) => break,
                Err(error) => self.fail(now, StreamError::from(&error)),
            }
            if matches!(self.state, State::Securing) && !rest.is_empty() {
                self.abandon();
                return;
            }
            if self.is_waiting() {
                self.backlog = rest.to_vec();
                break;
            }
        }
        self.stanza_deadline = match (self.parser.is_mid_element(), self.stanza_deadline) {
            (false, _) => None,
            (true, Some(deadline)) => Some(deadline),
            (true, None) => now.checked_add(self.config.limits.stanza),
        };
    }

    /// Goes on with what came while an answer was awaited.
    fn resume(&mut self, now: Instant) {
        if !self.is_waiting() && !self.backlog.is_empty() {
            let backlog = std::mem::take(&mut self.backlog);
            self.read(now, &backlog);
        }
    }

    /// The handshake is done.
    pub fn on_tls(&mut self, now: Instant, facts: TlsFacts) {
        self.quiet_since = now;
        self.security = Security::Tls(facts.bindings);
        // RFC 6120 §5.4.3.3: everything known from the clear is forgotten, but not which domain was asked for.
        self.parser = Parser::new(Framing::Stream, self.config.limits.before);
        self.header_sent = false;
        self.state = State::Opening(None);
    }

    /// The connection ended.
    pub fn on_eof(&mut self) {
        let closed = match self.state {
            State::Closed => return,
            State::Closing(_) => Closed::Cleanly,
            _ => Closed::Lost,
        };
        self.end(closed);
    }

    /// Time has passed.
    pub fn on_timeout(&mut self, now: Instant) {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        match self.state {
            State::Closed => {}
            State::Closing(deadline) if deadline <= now => self.end(Closed::Cleanly),
            State::Closing(_) => {}
            _ if passed(self.login_deadline) || passed(self.stanza_deadline) => {
                self.fail(now, StreamCondition::ConnectionTimeout.into());
            }
            State::Bound(_) if passed(self.keepalive_due()) => {
                self.quiet_since = now;
                self.out.push(b' ');
            }
            _ => {}
        }
    }

    fn keepalive_due(&self) -> Option<Instant> {
        match self.state {
            State::Bound(_) => self.quiet_since.checked_add(self.config.limits.keepalive),
            _ => None,
        }
    }

    /// When [`C2s::on_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Closing(deadline) => Some(deadline),
            _ => earliest([self.login_deadline, self.stanza_deadline, self.keepalive_due()]),
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Moves what is to be sent to the end of `out`. Whether there was anything.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Transmit {
        if self.out.is_empty() {
            return Transmit::Nothing;
        }
        out.extend_from_slice(&self.out);
        self.out = Vec::new();
        Transmit::Bytes
    }

    /// The bound address, when there is one.
    pub fn bound(&self) -> Option<&FullJid> {
        match &self.state {
            State::Bound(jid) => Some(jid),
            _ => None,
        }
    }

    /// An answer, or something to do. An answer to a question that is not open is ignored.
    pub fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Credentials(token, lookup) => {
                if let State::Authenticating(exchange) = &mut self.state
                    && let Some(step) = exchange.credentials(token, lookup)
                {
                    self.follow(now, step);
                }
            }
            Command::PasswordChecked(token, verdict) => {
                if let State::Authenticating(exchange) = &mut self.state
                    && let Some(step) = exchange.password_checked(token, verdict)
                {
                    self.follow(now, step);
                }
            }
            Command::Bound(token, jid) => self.on_bound(token, jid),
            Command::BindRefused(token, error) => {
                if let State::Binding { request, .. } = &mut self.state
                    && let Some((_, stanza)) = request.take_if(|(asked, _)| *asked == token)
                    && let Some(reply) = stanza.error_reply(&error)
                {
                    reply.write(ContentNamespace::Client, &mut self.out);
                }
            }
            Command::Send(stanza) => {
                if !matches!(self.state, State::Closed | State::Closing(_)) {
                    stanza.write(ContentNamespace::Client, &mut self.out);
                }
            }
            Command::Close(Some(error)) => self.fail(now, error),
            Command::Close(None) => self.close(now),
        }
        self.resume(now);
    }

    fn on_bound(&mut self, token: Token, jid: FullJid) {
        let State::Binding { request, .. } = &mut self.state else { return };
        let Some((_, stanza)) = request.take_if(|(asked, _)| *asked == token) else { return };
        // RFC 6120 §7.6.1
        let bound = Element::new("bind", ns::BIND).with_child(Element::new("jid", ns::BIND).with_text(jid.as_str()));
        let mut reply = stanza.iq_result(Some(bound));
        reply.head_mut().from = None;
        reply.write(ContentNamespace::Client, &mut self.out);
        self.login_deadline = None;
        self.state = State::Bound(jid);
    }

    fn on_item(&mut self, now: Instant, item: Item) {
        match item {
            Item::Whitespace(_) => {}
            Item::Header(header) => self.on_header(now, &header),
            Item::Frame(frame) => self.on_frame(now, frame),
            Item::Footer => {
                // RFC 6120 §4.4: answered, and then both directions are closed.
                if !matches!(self.state, State::Closing(_)) {
                    self.out.extend_from_slice(FOOTER);
                }
                self.end(Closed::Cleanly);
            }
        }
    }

    fn on_header(&mut self, now: Instant, header: &Header) {
        let State::Opening(account) = &mut self.state else {
            return self.fail(now, StreamCondition::InvalidXml.into());
        };
        let account = account.take();
        let opening = match header::read(header, ns::CLIENT) {
            Ok(opening) => opening,
            Err(error) => return self.fail(now, error),
        };
        // RFC 6120 §4.7.2, §4.9.3.7
        let Some(to) = opening.to else { return self.fail(now, StreamCondition::ImproperAddressing.into()) };
        match &self.domain {
            Some(frozen) if *frozen != to => {
                let error = StreamError::new(StreamCondition::NotAuthorized).with_text("`to` cannot change");
                return self.fail(now, error);
            }
            Some(_) => {}
            None => match self.config.hosts.status(&to) {
                HostStatus::Served => self.domain = Some(to),
                HostStatus::Gone => return self.fail(now, StreamCondition::HostGone.into()),
                HostStatus::Unknown => return self.fail(now, StreamCondition::HostUnknown.into()),
            },
        }
        if opening.version == Version::Old {
            return self.fail(now, StreamCondition::UnsupportedVersion.into());
        }
        // RFC 6120 §4.7.1: once authenticated, a client that says who it is says the truth.
        if let (Some(account), Some(from)) = (&account, header.attribute("from"))
            && !stonechat_jid::Jid::parse(from).is_ok_and(|from| from.to_bare() == *account)
        {
            return self.fail(now, StreamCondition::InvalidFrom.into());
        }
        self.send_header();
        match account {
            None => {
                self.send_features_before();
                self.state = State::Negotiating;
            }
            Some(account) => {
                self.send_features_after();
                self.state = State::Binding { account, request: None };
            }
        }
    }

    fn send_header(&mut self) {
        let id = stream_id(&*self.config.random);
        let from = self.domain.as_ref().map(Domain::as_str);
        header::write(Ours { content_namespace: ns::CLIENT, from, to: None, id: Some(&id) }, &mut self.out);
        self.header_sent = true;
    }

    /// Whether SASL may be used as the connection is now.
    fn may_authenticate(&self) -> bool {
        matches!(self.security, Security::Tls(_)) || self.config.transport == Transport::StartTlsOptional
    }

    fn send_features_before(&mut self) {
        let mut features = Vec::new();
        if matches!(self.security, Security::Clear) {
            let mut starttls = Element::new("starttls", ns::TLS);
            if self.config.transport == Transport::StartTls {
                starttls = starttls.with_child(Element::new("required", ns::TLS));
            }
            features.push(starttls);
        }
        if self.may_authenticate()
            && let Some(domain) = &self.domain
        {
            features.extend(auth::features(&auth::offer(&self.security)));
            features.extend(self.config.features.features(Phase::BeforeAuthentication, domain));
        }
        features.push(limits_feature(self.config.limits.before.bytes, None));
        write_features(&features, ns::CLIENT, &mut self.out);
    }

    fn send_features_after(&mut self) {
        let mut features = vec![
            Element::new("bind", ns::BIND),
            // RFC 3921 §3; optional, since it has nothing to do.
            Element::new("session", ns::SESSION).with_child(Element::new("optional", ns::SESSION)),
        ];
        if let Some(domain) = &self.domain {
            features.extend(self.config.features.features(Phase::AfterAuthentication, domain));
        }
        features.push(limits_feature(self.config.limits.after.bytes, None));
        write_features(&features, ns::CLIENT, &mut self.out);
    }

    fn on_frame(&mut self, now: Instant, frame: Frame) {
        match &self.state {
            State::Negotiating | State::Authenticating(_) => self.on_frame_before(now, frame),
            State::Binding { .. } => self.on_frame_binding(now, frame),
            State::Bound(_) => self.on_frame_bound(now, frame),
            State::Closing(_) | State::Closed | State::Securing => {}
            State::Opening(_) => self.fail(now, StreamCondition::BadFormat.into()),
        }
    }

    fn on_frame_before(&mut self, now: Instant, frame: Frame) {
        match (&*frame.namespace().clone(), &*frame.name().clone()) {
            (ns::TLS, "starttls") => self.on_starttls(now),
            (ns::SASL, name) => self.on_sasl(now, name, &frame),
            (ns::CLIENT, "iq") if self.offers_registration() => self.on_registration(now, frame),
            // RFC 6120 §4.9.3.12
            (ns::CLIENT, "iq" | "message" | "presence") => self.fail(now, StreamCondition::NotAuthorized.into()),
            _ => self.fail(now, StreamCondition::UnsupportedStanzaType.into()),
        }
    }

    fn offers_registration(&self) -> bool {
        matches!(self.state, State::Negotiating)
            && self.may_authenticate()
            && self.config.features.registration() == Registration::Offered
    }

    fn on_registration(&mut self, now: Instant, frame: Frame) {
        let accepted = Accepted::from_frame(frame, ContentNamespace::Client);
        let Some(domain) = self.domain.clone() else { return };
        match accepted {
            Ok(Accepted::Stanza(stanza))
                if stanza.has_child("query", ns::REGISTER)
                    && matches!(stanza.stanza_type(), StanzaType::Iq(IqType::Get | IqType::Set)) =>
            {
                self.events.push_back(Event::Register(domain, stanza));
            }
            Err(AcceptError::Refused { reply: Some(reply), .. }) => {
                reply.write(ContentNamespace::Client, &mut self.out);
            }
            _ => self.fail(now, StreamCondition::NotAuthorized.into()),
        }
    }

    fn on_starttls(&mut self, now: Instant) {
        let in_clear = matches!(self.security, Security::Clear) && matches!(self.state, State::Negotiating);
        match (&self.domain, in_clear) {
            (Some(domain), true) => {
                let domain = domain.clone();
                self.out.extend_from_slice(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
                self.state = State::Securing;
                self.events.push_back(Event::StartTls(domain));
            }
            _ => {
                // RFC 6120 §5.4.2.2: failure, then the stream is closed.
                self.out.extend_from_slice(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
                self.close(now);
            }
        }
    }

    fn on_sasl(&mut self, now: Instant, name: &str, frame: &Frame) {
        let Some(domain) = self.domain.clone() else { return };
        match (name, &mut self.state) {
            ("auth", State::Negotiating) => {
                if !self.may_authenticate() {
                    return self.sasl_failed(now, Failed::before_tls());
                }
                let mut nonce = [0u8; 24];
                self.config.random.fill(&mut nonce);
                match Exchange::begin(frame, domain, &self.security, &self.config.decoy, &nonce) {
                    Ok((exchange, step)) => {
                        self.state = State::Authenticating(Box::new(exchange));
                        self.follow(now, step);
                    }
                    Err(failed) => self.sasl_failed(now, failed),
                }
            }
            ("response", State::Authenticating(exchange)) if !exchange.is_waiting() => {
                let step = exchange.response(frame);
                self.follow(now, step);
            }
            ("abort", State::Authenticating(exchange)) => {
                let failed = exchange.aborted();
                self.sasl_failed(now, failed);
            }
            // A response to nothing, or a second <auth/> in the middle of one.
            ("response" | "abort" | "auth", _) => self.fail(now, StreamCondition::NotAuthorized.into()),
            _ => self.fail(now, StreamCondition::UnsupportedStanzaType.into()),
        }
    }

    /// Does what SASL says next.
    fn follow(&mut self, now: Instant, step: auth::Next) {
        let mut step = step;
        loop {
            let State::Authenticating(exchange) = &mut self.state else { return };
            match step {
                auth::Next::Lookup(account) => {
                    let token = Token(self.next_token);
                    self.next_token = self.next_token.saturating_add(1);
                    exchange.await_answer(token);
                    self.events.push_back(Event::Lookup(token, account));
                    return;
                }
                auth::Next::LookupImpossible => step = exchange.unknown_account(),
                auth::Next::CheckPassword(password, credentials) => {
                    let token = Token(self.next_token);
                    self.next_token = self.next_token.saturating_add(1);
                    exchange.await_answer(token);
                    self.events.push_back(Event::CheckPassword(token, password, credentials));
                    return;
                }
                auth::Next::Challenge(data) => {
                    auth::write_challenge(&data, &mut self.out);
                    return;
                }
                auth::Next::Success(account, data) => {
                    auth::write_success(data.as_deref(), &mut self.out);
                    self.parser = Parser::new(Framing::Stream, self.config.limits.after);
                    self.header_sent = false;
                    self.events.push_back(Event::Authenticated(account.clone()));
                    self.state = State::Opening(Some(account));
                    return;
                }
                auth::Next::Failed(failed) => return self.sasl_failed(now, failed),
            }
        }
    }

    fn sasl_failed(&mut self, now: Instant, failed: Failed) {
        auth::write_failure(failed.failure, &mut self.out);
        self.state = State::Negotiating;
        if failed.counts() {
            self.failures = self.failures.saturating_add(1);
        }
        self.events.push_back(Event::AuthenticationFailed(failed));
        if self.failures >= self.config.limits.attempts {
            // RFC 6120 §6.4.5
            let error = StreamError::new(StreamCondition::PolicyViolation).with_text("too many failed log-ins");
            self.fail(now, error);
        }
    }

    fn on_frame_binding(&mut self, now: Instant, frame: Frame) {
        let stanza = match Accepted::from_frame(frame, ContentNamespace::Client) {
            Ok(Accepted::Stanza(stanza)) => stanza,
            Ok(Accepted::Other(_)) => return self.fail(now, StreamCondition::UnsupportedStanzaType.into()),
            Err(AcceptError::Refused { reply, .. }) => {
                if let Some(reply) = reply {
                    reply.write(ContentNamespace::Client, &mut self.out);
                }
                return;
            }
            Err(AcceptError::NotAStanza) => return self.fail(now, StreamCondition::UnsupportedStanzaType.into()),
        };
        let State::Binding { account, request } = &mut self.state else { return };
        if stanza.stanza_type() == StanzaType::Iq(IqType::Set) && stanza.has_child("bind", ns::BIND) {
            let resource =
                stanza.child("bind", ns::BIND).and_then(|bind| bind.child("resource", ns::BIND).map(Element::text));
            let token = Token(self.next_token);
            self.next_token = self.next_token.saturating_add(1);
            self.events.push_back(Event::Bind(token, account.clone(), resource));
            *request = Some((token, stanza));
        } else if stanza.stanza_type() == StanzaType::Iq(IqType::Set) && stanza.has_child("session", ns::SESSION) {
            stanza.iq_result(None).write(ContentNamespace::Client, &mut self.out);
        } else {
            // RFC 6120 §7.1: nothing before a resource is bound.
            self.fail(now, StreamCondition::NotAuthorized.into());
        }
    }

    fn on_frame_bound(&mut self, now: Instant, frame: Frame) {
        let State::Bound(jid) = &self.state else { return };
        let stanza = match Accepted::from_frame(frame, ContentNamespace::Client) {
            Ok(Accepted::Stanza(stanza)) => stanza,
            // RFC 6120 §4.9.3.24
            Ok(Accepted::Other(_)) | Err(AcceptError::NotAStanza) => {
                return self.fail(now, StreamCondition::UnsupportedStanzaType.into());
            }
            Err(AcceptError::Refused { reply, .. }) => {
                if let Some(reply) = reply {
                    reply.write(ContentNamespace::Client, &mut self.out);
                }
                return;
            }
        };
        let stanza = match stanzas::stamp(stanza, jid) {
            Ok(stanza) => stanza,
            Err(condition) => return self.fail(now, condition.into()),
        };
        match stanzas::of_the_stream(&stanza) {
            stanzas::Ours::No => self.events.push_back(Event::Stanza(stanza)),
            stanzas::Ours::Session => {
                let mut reply = stanza.iq_result(None);
                reply.head_mut().from = None;
                reply.write(ContentNamespace::Client, &mut self.out);
            }
            stanzas::Ours::Bind => {
                // RFC 6120 §7.7.2.3 of old, abuse case 33: one resource a stream.
                if let Some(reply) = stanza.error_reply(&StanzaCondition::NotAllowed.into()) {
                    reply.write(ContentNamespace::Client, &mut self.out);
                }
            }
        }
    }

    /// Ends the stream with an error; our header goes first when it has not yet (RFC 6120 §4.9.1.2).
    fn fail(&mut self, now: Instant, error: StreamError) {
        if matches!(self.state, State::Closed | State::Closing(_)) {
            return;
        }
        if !self.header_sent {
            self.send_header();
        }
        error.write(&mut self.out);
        self.out.extend_from_slice(FOOTER);
        let closed = Closed::ByUs(error);
        // RFC 6120 §4.9.1.1: unrecoverable; nothing more is read.
        let _ = now;
        self.end(closed);
    }

    fn close(&mut self, now: Instant) {
        match self.state {
            State::Closed | State::Closing(_) => return,
            _ => {}
        }
        if !self.header_sent {
            self.send_header();
        }
        self.out.extend_from_slice(FOOTER);
        match now.checked_add(CLOSING) {
            Some(deadline) => self.state = State::Closing(deadline),
            None => self.end(Closed::Cleanly),
        }
    }

    /// Ends without a word: there is nobody who could be told safely.
    fn abandon(&mut self) {
        self.out = Vec::new();
        self.events.clear();
        self.end(Closed::Lost);
    }

    fn end(&mut self, closed: Closed) {
        self.state = State::Closed;
        self.backlog = Vec::new();
        self.parser = Parser::new(Framing::Stream, self.config.limits.before);
        self.events.push_back(Event::Closed(closed));
    }
}
