//! Two servers, A and B, and the streams between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use stonechat_jid::Domain;
use stonechat_stanza::Stanza;
use stonechat_stream::s2s_in::{self, S2sIn};
use stonechat_stream::s2s_out::{self, External, Purpose, Question, S2sOut};
use stonechat_stream::{
    CertificatePolicy, Dialback, DialbackPolicy, DialbackSecret, HostStatus, Hosts, PeerCertificate, Random, S2sPolicy,
    S2sTransport, TlsFacts, TlsPolicy, Validity,
};

pub(crate) fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

pub(crate) fn stanza(xml: &str) -> Stanza {
    Stanza::parse(xml.as_bytes()).unwrap()
}

/// The server that opens streams is A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    A,
    B,
}

impl Name {
    fn other(self) -> Name {
        match self {
            Name::A => Name::B,
            Name::B => Name::A,
        }
    }
    fn secret(self) -> DialbackSecret {
        DialbackSecret::new(&[if self == Name::A { 1 } else { 2 }; 32])
    }
}

struct HostsOf(Name);

impl Hosts for HostsOf {
    fn status(&self, domain: &Domain) -> HostStatus {
        let ours = match self.0 {
            Name::A => ["a.example", "a2.example"],
            Name::B => ["b.example", "b2.example"],
        };
        match domain.as_str() {
            name if ours.contains(&name) => HostStatus::Served,
            "gone.example" => HostStatus::Gone,
            _ => HostStatus::Unknown,
        }
    }
}

/// Not random, and different each time.
pub(crate) struct Counting(pub(crate) AtomicU64);

impl Random for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        let value = self.0.fetch_add(1, Ordering::Relaxed);
        for (index, byte) in buffer.iter_mut().enumerate() {
            *byte = u8::try_from((value * 31 + index as u64) % 251).unwrap();
        }
    }
}

/// Whose certificates hold, for which of their domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certificate {
    Absent,
    /// For nothing: self-signed, expired, another's.
    Worthless,
    /// For the first domain.
    First,
    /// For all of them.
    All,
}

impl Certificate {
    fn presented(self) -> PeerCertificate {
        match self {
            Certificate::Absent => PeerCertificate::Absent,
            _ => PeerCertificate::Presented,
        }
    }
    fn judge(self, domain: &Domain) -> Validity {
        let valid = match self {
            Certificate::Absent | Certificate::Worthless => false,
            Certificate::First => matches!(domain.as_str(), "a.example" | "b.example"),
            Certificate::All => true,
        };
        if valid { Validity::Valid } else { Validity::Invalid }
    }
}

/// One server's ways.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ways {
    pub(crate) policy: S2sPolicy,
    pub(crate) certificate: Certificate,
    pub(crate) external: External,
}

impl Ways {
    /// As servers should be.
    pub(crate) fn good() -> Ways {
        Ways { policy: S2sPolicy::default(), certificate: Certificate::All, external: External::WhenOffered }
    }
    /// Dialback over TLS with a self-signed certificate.
    pub(crate) fn self_signed() -> Ways {
        let policy = S2sPolicy { certificate: CertificatePolicy::Preferred, ..S2sPolicy::default() };
        Ways { policy, certificate: Certificate::Worthless, ..Ways::good() }
    }
    /// No TLS at all.
    pub(crate) fn clear() -> Ways {
        let policy = S2sPolicy { tls: TlsPolicy::Optional, ..S2sPolicy::default() };
        Ways { policy, ..Ways::good() }
    }
    pub(crate) fn without_dialback(self) -> Ways {
        Ways { policy: S2sPolicy { dialback: DialbackPolicy::Never, ..self.policy }, ..self }
    }
}

/// How the connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    StartTls,
    DirectTls,
    /// The receiving server has no TLS to offer.
    Clear,
}

/// What becomes of the questions of dialback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authoritative {
    /// They are asked on a stream of their own.
    Asked,
    Unreachable,
    Silent,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) a: Ways,
    pub(crate) b: Ways,
    pub(crate) port: Port,
    pub(crate) authoritative: Authoritative,
    /// Bytes arrive in pieces of this many.
    pub(crate) piece: usize,
}

impl Setting {
    pub(crate) fn new(a: Ways, b: Ways, port: Port) -> Setting {
        Setting { a, b, port, authoritative: Authoritative::Asked, piece: usize::MAX }
    }
}

pub(crate) fn out_config(name: Name, ways: Ways, transport: S2sTransport) -> Arc<s2s_out::Config> {
    Arc::new(s2s_out::Config {
        secret: name.secret(),
        transport,
        policy: ways.policy,
        external: ways.external,
        limits: s2s_out::Limits::default(),
    })
}

pub(crate) fn in_config(name: Name, ways: Ways, transport: S2sTransport) -> Arc<s2s_in::Config> {
    Arc::new(s2s_in::Config {
        hosts: Arc::new(HostsOf(name)),
        random: Arc::new(Counting(AtomicU64::new(1))),
        secret: name.secret(),
        transport,
        policy: ways.policy,
        limits: s2s_in::Limits::default(),
    })
}

/// A stream of `initiating` to the other server.
pub(crate) struct Pair {
    setting: Setting,
    initiating: Name,
    pub(crate) now: Instant,
    pub(crate) out: S2sOut,
    pub(crate) inn: S2sIn,
    pub(crate) out_events: Vec<s2s_out::Event>,
    pub(crate) in_events: Vec<s2s_in::Event>,
    /// Everything that was said, with who said it.
    pub(crate) said: String,
    pub(crate) most_held: usize,
}

impl Pair {
    pub(crate) fn new(setting: Setting) -> Pair {
        Pair::between(setting, Name::A, "a.example", "b.example", Purpose::Stanzas)
    }

    pub(crate) fn between(setting: Setting, initiating: Name, local: &str, remote: &str, purpose: Purpose) -> Pair {
        let now = Instant::now();
        let receiving = initiating.other();
        let (out_transport, in_transport) = match setting.port {
            Port::StartTls => (S2sTransport::StartTls, S2sTransport::StartTls),
            Port::DirectTls => (S2sTransport::DirectTls, S2sTransport::DirectTls),
            Port::Clear => (S2sTransport::StartTls, S2sTransport::DirectTls),
        };
        let out_config = out_config(initiating, setting.ways(initiating), out_transport);
        let in_config = in_config(receiving, setting.ways(receiving), in_transport);
        let mut pair = Pair {
            setting,
            initiating,
            now,
            out: S2sOut::new(out_config, domain(local), domain(remote), purpose, now),
            inn: S2sIn::new(in_config, now),
            out_events: Vec::new(),
            in_events: Vec::new(),
            said: String::new(),
            most_held: 0,
        };
        if setting.port == Port::DirectTls {
            pair.in_tls();
            pair.out_tls();
        }
        pair.run();
        pair
    }

    fn out_tls(&mut self) {
        let peer = self.setting.ways(self.initiating.other()).certificate.presented();
        self.out.on_tls(self.now, TlsFacts { peer, ..TlsFacts::default() });
    }

    fn in_tls(&mut self) {
        let peer = self.setting.ways(self.initiating).certificate.presented();
        self.inn.on_tls(self.now, TlsFacts { peer, ..TlsFacts::default() });
    }

    /// Until nothing happens any more.
    pub(crate) fn run(&mut self) {
        loop {
            self.settle();
            let mut to_in = Vec::new();
            self.out.poll_transmit(&mut to_in);
            self.deliver(&to_in, "A");
            let mut to_out = Vec::new();
            self.inn.poll_transmit(&mut to_out);
            self.deliver(&to_out, "B");
            if to_in.is_empty() && to_out.is_empty() {
                return;
            }
        }
    }

    fn deliver(&mut self, bytes: &[u8], who: &str) {
        if bytes.is_empty() {
            return;
        }
        self.said += &format!("{who}: {}\n", String::from_utf8_lossy(bytes));
        for piece in bytes.chunks(self.setting.piece.min(bytes.len())) {
            match who {
                "A" => self.inn.on_bytes(self.now, piece),
                _ => self.out.on_bytes(self.now, piece),
            }
            self.most_held = self.most_held.max(self.inn.held()).max(self.out.held());
            self.settle();
        }
    }

    fn settle(&mut self) {
        while let Some(event) = self.inn.poll_event() {
            let command = match &event {
                s2s_in::Event::StartTls(_) => {
                    // What was to be said in the clear is said before.
                    let mut proceed = Vec::new();
                    self.inn.poll_transmit(&mut proceed);
                    self.in_tls();
                    self.in_events.push(event);
                    self.deliver(&proceed, "B");
                    continue;
                }
                s2s_in::Event::CheckCertificate(token, domain) => {
                    let validity = self.setting.ways(self.initiating).certificate.judge(domain);
                    Some(s2s_in::Command::CertificateChecked(*token, validity))
                }
                s2s_in::Event::DialbackResult { token, from, to, stream_id, key } => {
                    let (stream_id, key) = (stream_id.clone(), key.clone());
                    let question = Question { from: to.clone(), to: from.clone(), stream_id, key };
                    self.authoritative(question).map(|verdict| s2s_in::Command::DialbackVerdict(*token, verdict))
                }
                _ => None,
            };
            self.in_events.push(event);
            if let Some(command) = command {
                self.inn.command(self.now, command);
            }
        }
        while let Some(event) = self.out.poll_event() {
            match &event {
                s2s_out::Event::StartTls(_) => self.out_tls(),
                s2s_out::Event::CheckCertificate(token, domain) => {
                    let validity = self.setting.ways(self.initiating.other()).certificate.judge(domain);
                    self.out.command(self.now, s2s_out::Command::CertificateChecked(*token, validity));
                }
                _ => {}
            }
            self.out_events.push(event);
        }
    }

    /// Asks the initiating server about its key, on a stream in the other direction.
    fn authoritative(&self, question: Question) -> Option<Dialback> {
        match self.setting.authoritative {
            Authoritative::Silent => return None,
            Authoritative::Unreachable => {
                return Some(Dialback::Failed(stonechat_stanza::StanzaCondition::RemoteServerNotFound));
            }
            Authoritative::Asked => {}
        }
        let (local, remote) = (question.from.clone(), question.to.clone());
        let asking = self.initiating.other();
        let mut pair = Pair::between(self.setting, asking, local.as_str(), remote.as_str(), Purpose::Verification);
        pair.command(s2s_out::Command::Verify(question));
        pair.out_events.iter().find_map(|event| match event {
            s2s_out::Event::Verified { answer, .. } => Some(*answer),
            _ => None,
        })
    }

    /// The initiating server does something.
    pub(crate) fn command(&mut self, command: s2s_out::Command) {
        self.out.command(self.now, command);
        self.run();
    }

    pub(crate) fn send(&mut self, stanza: &Stanza) -> Result<(), s2s_out::Unsent> {
        let sent = self.out.send(self.now, stanza);
        self.run();
        sent
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.out.on_timeout(self.now);
        self.inn.on_timeout(self.now);
        self.run();
    }

    pub(crate) fn out_has(&self, wanted: &str) -> bool {
        self.out_events.iter().any(|event| format!("{event:?}").starts_with(wanted))
    }

    pub(crate) fn ended(&self) -> Option<&s2s_out::Ended> {
        self.out_events.iter().find_map(|event| match event {
            s2s_out::Event::Closed(ended) => Some(ended),
            _ => None,
        })
    }

    /// The pairs proved, and how, in order.
    pub(crate) fn proofs(&self) -> Vec<(String, String, s2s_in::Proof)> {
        self.in_events
            .iter()
            .filter_map(|event| match event {
                s2s_in::Event::Authorised { from, to, by } => Some((from.to_string(), to.to_string(), *by)),
                _ => None,
            })
            .collect()
    }

    /// The stanzas that arrived, as XML.
    pub(crate) fn stanzas(&self) -> Vec<String> {
        self.in_events
            .iter()
            .filter_map(|event| match event {
                s2s_in::Event::Stanza(stanza) => Some(String::from_utf8(stanza.to_xml()).unwrap()),
                _ => None,
            })
            .collect()
    }

    /// Everything there is to see.
    pub(crate) fn transcript(&self) -> String {
        format!("{}\n{:#?}\n{:#?}", self.said, self.out_events, self.in_events)
    }
}

impl Setting {
    fn ways(&self, name: Name) -> Ways {
        match name {
            Name::A => self.a,
            Name::B => self.b,
        }
    }
}
