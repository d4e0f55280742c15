//! A machine with somebody around it who answers its questions, and a client that says what a test wants.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use stonechat_jid::{BareJid, Domain, Level};
use stonechat_sasl::client::Scram;
use stonechat_sasl::{
    Candidate, ChannelBinding, ChannelBindings, Credentials, DEFAULT_ITERATIONS, DecoySecret, Failure, Hash, Lookup,
    Password, TlsVersion, TokenLookup, TokenMechanism, TokenOwner, TokenSecret, Validity, Verdict, decode, encode,
    prepare_password,
};
use stonechat_stanza::{ContentNamespace, StanzaCondition, StreamCondition};
use stonechat_stream::c2s::{
    Bound2, C2s, Command, Config, Enabled, Event, Granted, IssuedToken, Limits, Remembered, Resumed, Resumption,
    Transport,
};
use stonechat_stream::{Closed, FeatureSource, HostStatus, Hosts, Phase, Random, Registration, TlsFacts};
use stonechat_xml::Element;

pub(crate) const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' to='a.example' version='1.0'>";
pub(crate) const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// Of the one account there is.
fn credentials() -> Credentials {
    static CREDENTIALS: OnceLock<Credentials> = OnceLock::new();
    CREDENTIALS
        .get_or_init(|| Credentials::derive(&password("pencil"), [[1; 16], [2; 16], [3; 16]], DEFAULT_ITERATIONS))
        .clone()
}

pub(crate) fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

pub(crate) fn password(text: &str) -> Password {
    prepare_password(text).unwrap()
}

struct TestHosts;

impl Hosts for TestHosts {
    fn status(&self, domain: &Domain) -> HostStatus {
        match domain.as_str() {
            "a.example" | "b.example" => HostStatus::Served,
            "gone.example" => HostStatus::Gone,
            _ => HostStatus::Unknown,
        }
    }
    fn authoritative(&self) -> Option<Domain> {
        Some(domain("a.example"))
    }
}

struct TestFeatures(Registration);

impl FeatureSource for TestFeatures {
    fn features(&self, phase: Phase, _: &Domain) -> Vec<Element> {
        match (phase, self.0) {
            (Phase::AfterAuthentication, _) => vec![Element::new("ver", "urn:xmpp:features:rosterver")],
            (Phase::BeforeAuthentication, Registration::Offered) => {
                vec![Element::new("register", "http://jabber.org/features/iq-register")]
            }
            (Phase::BeforeAuthentication, Registration::Closed) => Vec::new(),
        }
    }
    fn registration(&self) -> Registration {
        self.0
    }
}

/// Not random, and different each time.
struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        let value = self.0.fetch_add(1, Ordering::Relaxed);
        for (index, byte) in buffer.iter_mut().enumerate() {
            *byte = u8::try_from((value * 31 + index as u64) % 251).unwrap();
        }
    }
}

/// What answers a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Working,
    /// The account has no keys for SHA-512.
    Lacking,
    Locked,
    Down,
}

/// What happens to the machine's questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    AtOnce,
    Never,
}

/// What becomes of a client's wish to have its stanzas acknowledged, and its session back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// Granted. There is the session `old`, bound to `old`, with 7 stanzas of the client handled and 3 sent to it.
    Kept,
    /// Stanzas are acknowledged, and no session can be resumed; it is still known that 5 were handled.
    Counted,
    /// Refused.
    Refused,
}

/// What the account's archive has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archive {
    Full,
    Empty,
}

/// The device that has tokens, and the secret they are made from.
pub(crate) const DEVICE: &str = "d4565fa7-4d72-4749-b3d3-740edbf87770";
pub(crate) const SECRET: [u8; 32] = [6; 32];

/// A token of the device, or of another of the same account.
pub(crate) fn device_token(device: &str, mechanism: TokenMechanism, seed: [u8; 16]) -> String {
    TokenSecret(SECRET).token(TokenOwner { account: 7, device }, mechanism, &seed).expose().to_owned()
}

pub(crate) struct Server {
    pub(crate) machine: C2s,
    pub(crate) now: Instant,
    /// What the client received since it was last asked for.
    received: Vec<u8>,
    /// Every event, as it looks.
    pub(crate) events: Vec<Event>,
    pub(crate) store: Store,
    pub(crate) answers: Answers,
    pub(crate) refuse_bind: Option<StanzaCondition>,
    /// What becomes of stream management.
    pub(crate) sessions: Sessions,
    /// What becomes of those who have proved themselves, but for a token used up.
    pub(crate) denied: Option<Failure>,
    /// The tokens of the one device there is, and the last count one came with.
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) last_count: u64,
    /// Whether the archive has messages.
    pub(crate) archive: Archive,
    pub(crate) most_held: usize,
}

pub(crate) fn bindings() -> ChannelBindings {
    ChannelBindings {
        tls_exporter: Some(vec![7; 32]),
        tls_server_end_point: Some(vec![9; 32]),
        tls_version: Some(TlsVersion::Tls13),
    }
}

pub(crate) fn config(transport: Transport, registration: Registration) -> Config {
    Config {
        hosts: Arc::new(TestHosts),
        features: Arc::new(TestFeatures(registration)),
        random: Arc::new(Counting(AtomicU64::new(1))),
        decoy: DecoySecret([5; 32]),
        tokens: Some(TokenSecret(SECRET)),
        transport,
        limits: Limits::default(),
        remembered: Remembered::default(),
    }
}

impl Server {
    pub(crate) fn new(transport: Transport) -> Server {
        Server::with(config(transport, Registration::Closed))
    }

    pub(crate) fn with(config: Config) -> Server {
        let direct = config.transport == Transport::DirectTls;
        Server::of(Arc::new(config), direct)
    }

    /// Over TLS, with settings that others have too.
    pub(crate) fn shared(config: &Arc<Config>) -> Server {
        Server::of(Arc::clone(config), true)
    }

    fn of(config: Arc<Config>, tls: bool) -> Server {
        let now = Instant::now();
        let mut machine = C2s::new(config, now);
        if tls {
            machine.on_tls(now, TlsFacts { bindings: bindings(), ..TlsFacts::default() });
        }
        Server {
            machine,
            now,
            received: Vec::new(),
            events: Vec::new(),
            store: Store::Working,
            answers: Answers::AtOnce,
            refuse_bind: None,
            sessions: Sessions::Kept,
            denied: None,
            candidates: vec![Candidate { seed: [1; 16], validity: Validity::Good }],
            last_count: 0,
            archive: Archive::Full,
            most_held: 0,
        }
    }

    /// The client sends.
    pub(crate) fn send(&mut self, text: &str) -> String {
        self.send_cut(text.as_bytes(), usize::MAX)
    }

    /// The client sends in pieces of this many bytes.
    pub(crate) fn send_cut(&mut self, bytes: &[u8], piece: usize) -> String {
        for piece in bytes.chunks(piece.min(bytes.len()).max(1)) {
            self.machine.on_bytes(self.now, piece);
            self.most_held = self.most_held.max(self.machine.held());
            self.settle();
        }
        self.take()
    }

    pub(crate) fn wait(&mut self, time: Duration) -> String {
        self.now += time;
        self.machine.on_timeout(self.now);
        self.settle();
        self.take()
    }

    pub(crate) fn command(&mut self, command: Command) -> String {
        self.machine.command(self.now, command);
        self.settle();
        self.take()
    }

    pub(crate) fn take(&mut self) -> String {
        self.machine.poll_transmit(&mut self.received);
        String::from_utf8(std::mem::take(&mut self.received)).unwrap()
    }

    fn settle(&mut self) {
        loop {
            self.machine.poll_transmit(&mut self.received);
            let Some(event) = self.machine.poll_event() else { return };
            if let Event::Reply(Some(reply)) = &event {
                reply.write(ContentNamespace::Client, &mut self.received);
            }
            if self.answers == Answers::AtOnce {
                self.answer(&event);
            }
            self.events.push(event);
        }
    }

    fn answer(&mut self, event: &Event) {
        let command = match event {
            Event::StartTls(_) => {
                return self.machine.on_tls(self.now, TlsFacts { bindings: bindings(), ..TlsFacts::default() });
            }
            Event::Leaving => Command::Leave,
            Event::Lookup(token, account) => {
                let known = account.as_str() == "user@a.example";
                let lookup = match self.store {
                    Store::Down => Lookup::Unavailable,
                    _ if !known => Lookup::Unknown,
                    Store::Working => Lookup::Found(credentials()),
                    Store::Lacking => Lookup::Found(Credentials { sha512: None, ..credentials() }),
                    Store::Locked => Lookup::Locked(credentials()),
                };
                Command::Credentials(*token, lookup)
            }
            Event::CheckPassword(token, password, _) => {
                // What `Credentials::verify` says, without its slowness.
                let verdict = if password.expose() == "pencil" { Verdict::Accepted } else { Verdict::Refused };
                Command::PasswordChecked(*token, verdict)
            }
            Event::Bind(token, account, resource) => match self.refuse_bind {
                Some(condition) => Command::BindRefused(*token, condition.into()),
                None => {
                    let resource = resource.as_deref().unwrap_or("made");
                    Command::Bound(*token, account.with_resource(resource, Level::Creating).unwrap())
                }
            },
            Event::Enable(token, resumption) => match self.enabled(*resumption) {
                Some(enabled) => Command::Enabled(*token, enabled),
                None => Command::EnableRefused(*token, StanzaCondition::ResourceConstraint),
            },
            Event::LookupTokens(token, of) => {
                let known = of.account.as_str() == "user@a.example";
                let here = of.device == DEVICE;
                let candidates = if here { self.candidates.clone() } else { Vec::new() };
                let lookup = match self.store {
                    Store::Down => TokenLookup::Unavailable,
                    _ if !known => TokenLookup::Unknown,
                    Store::Locked => TokenLookup::Locked { account: 7, candidates },
                    Store::Working | Store::Lacking => TokenLookup::Found { account: 7, candidates },
                };
                Command::Tokens(*token, lookup)
            }
            Event::Upgraded(token, ..) => Command::Upgraded(*token),
            Event::Authorized(token, authorized) => {
                let replayed =
                    authorized.used_token.is_some() && authorized.count != 0 && authorized.count <= self.last_count;
                match (replayed, self.denied) {
                    (true, _) => Command::Denied(*token, Failure::NotAuthorized),
                    (false, Some(failure)) => Command::Denied(*token, failure),
                    (false, None) => {
                        self.last_count = authorized.count;
                        let issued = |mechanism: TokenMechanism| IssuedToken {
                            token: format!("token-for-{}", mechanism.name()),
                            expiry: "2030-01-01T00:00:00Z".to_owned(),
                        };
                        Command::Granted(*token, Granted { token: authorized.requested_token.map(issued) })
                    }
                }
            }
            Event::Bind2(token, request) => match self.refuse_bind {
                Some(condition) => Command::BindRefused(*token, condition.into()),
                None => {
                    let tag = request.tag.as_deref().unwrap_or("none");
                    let place = if request.device.is_some() { "known" } else { "new" };
                    let jid = request.account.with_resource(&format!("{tag}/{place}"), Level::Creating).unwrap();
                    let end = |id: &str, stamp: &str| (id.to_owned(), stamp.to_owned());
                    let archive = (self.archive == Archive::Full)
                        .then(|| (end("a1", "2008-08-22T21:09:04Z"), end("a9", "2020-04-20T14:34:21Z")));
                    let enabled = request.enable.and_then(|resumption| self.enabled(resumption));
                    Command::Bound2(*token, Bound2 { jid, archive, enabled })
                }
            },
            Event::Resume(token, request) => match (self.sessions, request.previd.as_str(), request.h) {
                (Sessions::Kept, "old", h @ 4..) => Command::AcknowledgedTooMuch { h, sent: 3 },
                (Sessions::Kept, "old", _) => {
                    let jid = request.account.with_resource("old", Level::Creating).unwrap();
                    Command::Resumed(*token, Resumed { jid, h: 7 })
                }
                (Sessions::Counted, ..) => Command::ResumeRefused(*token, Some(5)),
                _ => Command::ResumeRefused(*token, None),
            },
            _ => return,
        };
        self.machine.command(self.now, command);
    }

    fn enabled(&self, resumption: Resumption) -> Option<Enabled> {
        match (self.sessions, resumption) {
            (Sessions::Refused, _) => None,
            (Sessions::Kept, Resumption::Wanted { seconds }) => {
                let max = Some(seconds.unwrap_or(600).min(600));
                Some(Enabled { id: Some("new".to_owned()), max })
            }
            _ => Some(Enabled::default()),
        }
    }

    pub(crate) fn closed(&self) -> Option<&Closed> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(closed) => Some(closed),
            _ => None,
        })
    }

    pub(crate) fn ended_with(&self) -> Option<StreamCondition> {
        match self.closed() {
            Some(Closed::ByUs(error)) => Some(error.condition),
            _ => None,
        }
    }

    /// The stanzas let through, as XML.
    pub(crate) fn stanzas(&self) -> Vec<String> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Stanza(stanza) => Some(String::from_utf8(stanza.to_xml()).unwrap()),
                _ => None,
            })
            .collect()
    }

    /// Logs in with SCRAM-SHA-256-PLUS on a stream whose features were just sent. What the client received last.
    pub(crate) fn log_in(&mut self) -> String {
        let mut scram = scram(Some(ChannelBinding::TlsExporter));
        let challenge = self.send(&auth("SCRAM-SHA-256-PLUS", &scram.initial()));
        let response = scram.respond(&payload(&challenge)).unwrap();
        let success = self.send(&response_element(&response));
        scram.finish(&payload(&success)).unwrap();
        success
    }

    /// From nothing to where the client may log in, on direct TLS.
    pub(crate) fn started() -> Server {
        let mut server = Server::new(Transport::DirectTls);
        server.send(HEADER);
        server
    }

    /// From nothing to where a resource can be bound, on direct TLS.
    pub(crate) fn binding() -> Server {
        let mut server = Server::started();
        server.send(&auth("PLAIN", b"\0user\0pencil"));
        server.send(HEADER);
        server.events.clear();
        server
    }

    /// From nothing to a bound resource, on direct TLS.
    pub(crate) fn bound() -> Server {
        let mut server = Server::binding();
        let bound = server.send(BIND);
        assert!(bound.contains("<jid>user@a.example/balcony</jid>"), "{bound}");
        server.events.clear();
        server
    }
}

/// `<authenticate/>` of XEP-0388, with what is asked for beside.
pub(crate) fn authenticate(mechanism: &str, initial: &[u8], rest: &str) -> String {
    let initial = if initial.is_empty() { String::new() } else { encode(initial) };
    format!(
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{mechanism}'>\
         <initial-response>{initial}</initial-response>{rest}</authenticate>"
    )
}

/// With PLAIN, which needs one message.
pub(crate) fn authenticate_plain(rest: &str) -> String {
    authenticate("PLAIN", b"\0user\0pencil", rest)
}

pub(crate) fn response2_element(data: &[u8]) -> String {
    format!("<response xmlns='urn:xmpp:sasl:2'>{}</response>", encode(data))
}

pub(crate) fn failure2(condition: &str) -> String {
    format!("<failure xmlns='urn:xmpp:sasl:2'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>")
}

/// A user agent with this id.
pub(crate) fn agent(id: &str) -> String {
    format!("<user-agent id='{id}'><software>Awesome</software><device>Phone</device></user-agent>")
}

/// What is inside one element of those received.
pub(crate) fn inside<'a>(received: &'a str, name: &str) -> &'a str {
    let after = received.split_once(&format!("<{name}")).and_then(|(_, rest)| rest.split_once('>'));
    let inside = after.and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
    inside.map_or_else(|| panic!("no {name} in {received}"), |(text, _)| text)
}

pub(crate) const BIND: &str = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
     <resource>balcony</resource></bind></iq>";

pub(crate) fn scram(binding: Option<ChannelBinding>) -> Scram {
    let data = binding.map(|kind| (kind, bindings().get(kind).unwrap().to_vec()));
    Scram::new(Hash::Sha256, "user", &password("pencil"), &[4; 18], data)
}

pub(crate) fn auth(mechanism: &str, initial: &[u8]) -> String {
    auth_text(mechanism, &encode(initial))
}

pub(crate) fn auth_text(mechanism: &str, text: &str) -> String {
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{text}</auth>")
}

pub(crate) fn response_element(data: &[u8]) -> String {
    format!("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{}</response>", encode(data))
}

/// The base64 inside the one element received.
pub(crate) fn payload(received: &str) -> Vec<u8> {
    let text = received.split_once('>').and_then(|(_, rest)| rest.split_once('<')).map(|(text, _)| text);
    decode(text.unwrap_or_else(|| panic!("no payload in {received}"))).unwrap()
}

pub(crate) fn account() -> BareJid {
    BareJid::parse("user@a.example").unwrap()
}
