//! Whatever a peer sends, in whatever pieces, and whatever happens around it: no machine panics, holds more than it may, or
//! says anything after its end; and how the bytes were cut makes no difference.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking, in its helpers too")]

use proptest::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stonechat_jid::{BareJid, Domain, Level};
use stonechat_sasl::{Credentials, DecoySecret, Lookup, ScramKeys, TokenLookup, TokenSecret, Verdict};
use stonechat_stream::c2s::{self, C2s};
use stonechat_stream::s2s_in::{self, S2sIn};
use stonechat_stream::s2s_out::{self, External, Purpose, Question, S2sOut};
use stonechat_stream::{
    CertificatePolicy, Dialback, DialbackPolicy, DialbackSecret, FeatureSource, HostStatus, Hosts, PeerCertificate,
    Phase, Random, Registration, S2sPolicy, S2sTransport, TlsFacts, TlsPolicy, Validity,
};
use stonechat_xml::Element;

struct World;

impl Hosts for World {
    fn status(&self, domain: &Domain) -> HostStatus {
        if domain.as_str() == "a.example" { HostStatus::Served } else { HostStatus::Unknown }
    }
}

impl FeatureSource for World {
    fn features(&self, _: Phase, _: &Domain) -> Vec<Element> {
        Vec::new()
    }
    fn registration(&self) -> Registration {
        Registration::Offered
    }
}

impl Random for World {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn policy() -> S2sPolicy {
    S2sPolicy { tls: TlsPolicy::Optional, certificate: CertificatePolicy::Preferred, dialback: DialbackPolicy::Allowed }
}

/// Things that peers say, for all kinds of streams, well-formed or not.
const FRAGMENTS: &[&str] = &[
    "<?xml version='1.0'?>",
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='a.example' version='1.0'>",
    "<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams' \
     from='b.example' to='a.example' id='i' version='1.0'>",
    "<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams' \
     from='b.example' to='a.example' id='i'>",
    "<stream:features/>",
    "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>",
    "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>\
     </stream:features>",
    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHVzZXIAcGVuY2ls</auth>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>biwsbj11c2VyLHI9YWJjZGVm</auth>",
    "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AHVzZXIAcGVuY2ls</response>",
    "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</challenge>",
    "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>",
    "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
    "<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
    "<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>",
    "<iq type='get'/>",
    "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>AHVzZXIAcGVuY2ls</initial-response>\
     <user-agent id='1'/><bind xmlns='urn:xmpp:bind:0'><enable xmlns='urn:xmpp:sm:3'/></bind></authenticate>",
    "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>AHVzZXIAcGVuY2ls</initial-response>\
     <resume xmlns='urn:xmpp:sm:3' previd='old' h='1'/>\
     <upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-256</upgrade></authenticate>",
    "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='HT-SHA-256-NONE'><initial-response>dXNlcgBh</initial-response>\
     <user-agent id='1'/><fast xmlns='urn:xmpp:fast:0' count='1'/></authenticate>",
    "<response xmlns='urn:xmpp:sasl:2'>AHVzZXIAcGVuY2ls</response>",
    "<abort xmlns='urn:xmpp:sasl:2'/>",
    "<next xmlns='urn:xmpp:sasl:2' task='UPGR-SCRAM-SHA-256'/>",
    "<task-data xmlns='urn:xmpp:sasl:2'><hash xmlns='urn:xmpp:scram-upgrade:0'>\
     BzOnw3Pc5H4bOLlPZ/8JAy6wnTpH05aH21KW2+Xfpaw=</hash></task-data>",
    "<enable xmlns='urn:xmpp:sm:3' resume='true'/>",
    "<resume xmlns='urn:xmpp:sm:3' previd='old' h='1'/>",
    "<a xmlns='urn:xmpp:sm:3' h='4294967295'/>",
    "<r xmlns='urn:xmpp:sm:3'/>",
    "<inactive xmlns='urn:xmpp:csi:0'/>",
    "<message from='x@b.example' to='y@a.example'><body>hi &amp; b&#xe9;</body><delay xmlns='urn:xmpp:delay' from='a.example'/></message>",
    "<presence type='odd'/>",
    "<db:result from='b.example' to='a.example'>key</db:result>",
    "<db:result from='c.example' to='a.example'>key</db:result>",
    "<db:result from='b.example' to='a.example' type='valid'/>",
    "<db:result from='b.example' to='a.example' type='error'/>",
    "<db:verify from='b.example' to='a.example' id='1'>key</db:verify>",
    "<db:verify from='b.example' to='a.example' id='1' type='invalid'/>",
    "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
    "</stream:stream>",
    "<a><b>",
    "</b></a>",
    " \n",
    "<!-- -->",
    "text",
    "\u{0}",
];

#[derive(Clone, Debug)]
enum Happening {
    Said(usize),
    Noise(Vec<u8>),
    Waited(u16),
    /// What our side does on its own.
    Command(u8),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        12 => (0..FRAGMENTS.len()).prop_map(Happening::Said),
        1 => proptest::collection::vec(any::<u8>(), 1..40).prop_map(Happening::Noise),
        1 => (0u16..70).prop_map(Happening::Waited),
        1 => any::<u8>().prop_map(Happening::Command),
    ];
    proptest::collection::vec(one, 1..24)
}

/// What the three machines have in common, for the test.
trait Driven {
    fn hear(&mut self, now: Instant, bytes: &[u8]);
    fn wait(&mut self, now: Instant);
    fn act(&mut self, now: Instant, which: u8);
    fn settle(&mut self, now: Instant, log: &mut String) -> Ended;
    fn held(&self) -> usize;
    fn wants_input(&self) -> bool;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Yes,
    No,
}

fn drive(machine: &mut dyn Driven, happenings: &[Happening], piece: usize) -> String {
    let mut now = Instant::now();
    let mut log = String::new();
    let mut over = machine.settle(now, &mut log);
    for happening in happenings {
        match happening {
            Happening::Said(_) | Happening::Noise(_) => {
                let bytes = match happening {
                    Happening::Said(index) => FRAGMENTS[*index].as_bytes(),
                    Happening::Noise(bytes) => bytes,
                    _ => unreachable!(),
                };
                for bytes in bytes.chunks(piece) {
                    machine.hear(now, bytes);
                    let ended = machine.settle(now, &mut log);
                    assert!(over == Ended::No || ended == Ended::No, "it ended twice: {log}");
                    over = if over == Ended::Yes { over } else { ended };
                    assert!(machine.held() <= 64 * 1024, "P4");
                }
                continue;
            }
            Happening::Waited(seconds) => {
                now += Duration::from_secs(u64::from(*seconds));
                machine.wait(now);
            }
            Happening::Command(which) => machine.act(now, *which),
        }
        let ended = machine.settle(now, &mut log);
        assert!(over == Ended::No || ended == Ended::No, "it ended twice: {log}");
        over = if over == Ended::Yes { over } else { ended };
    }
    if over == Ended::Yes {
        assert!(!machine.wants_input());
        assert_eq!(machine.held(), 0);
    }
    log
}

/// Whom the world around a client's stream lets in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Admits {
    Nobody,
    Everybody,
}

struct Client {
    machine: C2s,
    admits: Admits,
}

/// Keys that are no more than possible; SHA-512 has none, so that there is something to upgrade.
fn credentials() -> Credentials {
    let keys = |length| {
        Some(ScramKeys {
            salt: vec![1; 16],
            iterations: 4096,
            stored_key: vec![2; length],
            server_key: vec![3; length],
        })
    };
    Credentials { sha1: keys(20), sha256: keys(32), sha512: None }
}

impl Client {
    fn answer(&mut self, now: Instant, event: &c2s::Event) -> Option<c2s::Command> {
        use c2s::{Command, Event};
        let bound = |account: &BareJid| account.with_resource("r", Level::Creating).unwrap();
        if self.admits == Admits::Nobody {
            assert!(!matches!(event, Event::Authorized(..) | Event::Authenticated(_)), "without a password");
        }
        Some(match event {
            Event::StartTls(_) => {
                self.machine.on_tls(now, TlsFacts::default());
                return None;
            }
            Event::Leaving => Command::Leave,
            Event::Lookup(token, _) => Command::Credentials(
                *token,
                match self.admits {
                    Admits::Nobody => Lookup::Unknown,
                    Admits::Everybody => Lookup::Found(credentials()),
                },
            ),
            Event::CheckPassword(token, ..) => Command::PasswordChecked(
                *token,
                match self.admits {
                    Admits::Nobody => Verdict::Refused,
                    Admits::Everybody => Verdict::Accepted,
                },
            ),
            Event::LookupTokens(token, _) => Command::Tokens(*token, TokenLookup::Unknown),
            Event::Upgraded(token, ..) => Command::Upgraded(*token),
            Event::Authorized(token, _) => Command::Granted(*token, c2s::Granted::default()),
            Event::Bind(token, account, _) => Command::Bound(*token, bound(account)),
            Event::Bind2(token, request) => {
                let jid = bound(&request.account);
                Command::Bound2(
                    *token,
                    c2s::Bound2 { jid, archive: None, enabled: request.enable.map(|_| Default::default()) },
                )
            }
            Event::Enable(token, _) => Command::Enabled(*token, c2s::Enabled::default()),
            Event::Resume(token, request) if request.h == 1 => {
                Command::Resumed(*token, c2s::Resumed { jid: bound(&request.account), h: 5 })
            }
            Event::Resume(token, _) => Command::ResumeRefused(*token, Some(1)),
            Event::Acknowledged(h) if *h > 1_000 => Command::AcknowledgedTooMuch { h: *h, sent: 1_000 },
            Event::AcknowledgementRequested => Command::Acknowledge(0),
            _ => return None,
        })
    }
}

impl Driven for Client {
    fn hear(&mut self, now: Instant, bytes: &[u8]) {
        self.machine.on_bytes(now, bytes);
    }
    fn wait(&mut self, now: Instant) {
        self.machine.on_timeout(now);
    }
    fn act(&mut self, now: Instant, which: u8) {
        match which % 8 {
            0 => self.machine.command(now, c2s::Command::Close(None)),
            1 => self.machine.command(now, c2s::Command::Close(Some(stonechat_stanza::StreamCondition::Reset.into()))),
            2 => self.machine.on_eof(),
            _ => self.machine.on_tls(now, TlsFacts::default()),
        }
    }
    fn settle(&mut self, now: Instant, log: &mut String) -> Ended {
        let mut ended = Ended::No;
        while let Some(event) = self.machine.poll_event() {
            assert!(ended == Ended::No, "{event:?} after the end");
            log.push_str(&format!("{event:?}\n"));
            if matches!(event, c2s::Event::Closed(_)) {
                ended = Ended::Yes;
            }
            if let Some(command) = self.answer(now, &event) {
                self.machine.command(now, command);
            }
        }
        take(log, |out| self.machine.poll_transmit(out));
        ended
    }
    fn held(&self) -> usize {
        self.machine.held()
    }
    fn wants_input(&self) -> bool {
        self.machine.wants_input()
    }
}

fn take(log: &mut String, transmit: impl FnOnce(&mut Vec<u8>) -> stonechat_stream::Transmit) {
    let mut out = Vec::new();
    transmit(&mut out);
    log.push_str(std::str::from_utf8(&out).unwrap());
}

impl Driven for S2sIn {
    fn hear(&mut self, now: Instant, bytes: &[u8]) {
        self.on_bytes(now, bytes);
    }
    fn wait(&mut self, now: Instant) {
        self.on_timeout(now);
    }
    fn act(&mut self, now: Instant, which: u8) {
        match which % 8 {
            0 => self.command(now, s2s_in::Command::Close(None)),
            1 => self.command(now, s2s_in::Command::Close(Some(stonechat_stanza::StreamCondition::Reset.into()))),
            2 => self.on_eof(),
            _ => self.on_tls(now, TlsFacts { peer: PeerCertificate::Presented, ..TlsFacts::default() }),
        }
    }
    fn settle(&mut self, now: Instant, log: &mut String) -> Ended {
        let mut ended = Ended::No;
        while let Some(event) = self.poll_event() {
            assert!(ended == Ended::No, "{event:?} after the end");
            log.push_str(&format!("{event:?}\n"));
            match event {
                s2s_in::Event::StartTls(_) => self.act(now, 3),
                s2s_in::Event::CheckCertificate(token, domain) => {
                    let valid = domain.as_str() == "b.example";
                    let validity = if valid { Validity::Valid } else { Validity::Invalid };
                    self.command(now, s2s_in::Command::CertificateChecked(token, validity));
                }
                s2s_in::Event::DialbackResult { token, .. } => {
                    self.command(now, s2s_in::Command::DialbackVerdict(token, Dialback::Valid));
                }
                s2s_in::Event::Closed(_) => ended = Ended::Yes,
                _ => {}
            }
        }
        take(log, |out| self.poll_transmit(out));
        ended
    }
    fn held(&self) -> usize {
        S2sIn::held(self)
    }
    fn wants_input(&self) -> bool {
        S2sIn::wants_input(self)
    }
}

impl Driven for S2sOut {
    fn hear(&mut self, now: Instant, bytes: &[u8]) {
        self.on_bytes(now, bytes);
    }
    fn wait(&mut self, now: Instant) {
        self.on_timeout(now);
    }
    fn act(&mut self, now: Instant, which: u8) {
        match which % 8 {
            0 => self.command(now, s2s_out::Command::Close(None)),
            1 => self.command(now, s2s_out::Command::Close(Some(stonechat_stanza::StreamCondition::Reset.into()))),
            2 => self.on_eof(),
            3 => self.command(now, s2s_out::Command::AddLocal(domain("a2.example"))),
            4 => {
                let (from, to) = (domain("a.example"), domain("b.example"));
                let question = Question { from, to, stream_id: "1".into(), key: "k".into() };
                self.command(now, s2s_out::Command::Verify(question));
            }
            _ => self.on_tls(now, TlsFacts { peer: PeerCertificate::Presented, ..TlsFacts::default() }),
        }
    }
    fn settle(&mut self, now: Instant, log: &mut String) -> Ended {
        let mut ended = Ended::No;
        while let Some(event) = self.poll_event() {
            let answer = matches!(event, s2s_out::Event::Verified { .. });
            assert!(ended == Ended::No || answer, "{event:?} after the end");
            log.push_str(&format!("{event:?}\n"));
            match event {
                s2s_out::Event::StartTls(_) => self.act(now, 5),
                s2s_out::Event::CheckCertificate(token, _) => {
                    self.command(now, s2s_out::Command::CertificateChecked(token, Validity::Valid));
                }
                s2s_out::Event::Closed(_) => ended = Ended::Yes,
                _ => {}
            }
        }
        take(log, |out| self.poll_transmit(out));
        ended
    }
    fn held(&self) -> usize {
        S2sOut::held(self)
    }
    fn wants_input(&self) -> bool {
        S2sOut::wants_input(self)
    }
}

fn client(admits: Admits) -> Client {
    let config = c2s::Config {
        hosts: Arc::new(World),
        features: Arc::new(World),
        random: Arc::new(World),
        decoy: DecoySecret([1; 32]),
        tokens: Some(TokenSecret([2; 32])),
        transport: c2s::Transport::StartTlsOptional,
        limits: c2s::Limits::default(),
        remembered: c2s::Remembered::default(),
    };
    Client { machine: C2s::new(Arc::new(config), Instant::now()), admits }
}

fn receiving() -> S2sIn {
    let config = s2s_in::Config {
        hosts: Arc::new(World),
        random: Arc::new(World),
        secret: DialbackSecret::new(&[1; 32]),
        transport: S2sTransport::StartTls,
        policy: policy(),
        limits: s2s_in::Limits::default(),
    };
    S2sIn::new(Arc::new(config), Instant::now())
}

fn initiating(purpose: Purpose) -> S2sOut {
    let config = s2s_out::Config {
        secret: DialbackSecret::new(&[1; 32]),
        transport: S2sTransport::StartTls,
        policy: policy(),
        external: External::WhenOffered,
        limits: s2s_out::Limits::default(),
    };
    S2sOut::new(Arc::new(config), domain("a.example"), domain("b.example"), purpose, Instant::now())
}

/// A start that gets somewhere, so that what follows is not all spent on the first header.
const STARTS: [&[usize]; 5] = [&[], &[0, 1], &[0, 2], &[2, 4], &[2, 6, 16, 2, 4]];

/// The same for a client: over TLS, and logged in there by either profile.
const CLIENT_STARTS: [&[usize]; 6] =
    [&[], &[0, 1], &[1, 7, 1], &[1, 7, 1, 23], &[1, 7, 1, 24, 28, 29], &[1, 7, 1, 10, 1, 19]];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn a_client_may_say_anything(start in 0..CLIENT_STARTS.len(), rest in happenings(), piece in 1usize..40) {
        let mut all: Vec<_> = CLIENT_STARTS[start].iter().map(|index| Happening::Said(*index)).collect();
        all.extend(rest);
        for admits in [Admits::Nobody, Admits::Everybody] {
            prop_assert_eq!(drive(&mut client(admits), &all, piece), drive(&mut client(admits), &all, usize::MAX));
        }
    }

    #[test]
    fn a_server_may_say_anything(start in 0..STARTS.len(), rest in happenings(), piece in 1usize..40) {
        let mut all: Vec<_> = STARTS[start].iter().map(|index| Happening::Said(*index)).collect();
        all.extend(rest);
        prop_assert_eq!(drive(&mut receiving(), &all, piece), drive(&mut receiving(), &all, usize::MAX));
    }

    #[test]
    fn a_server_may_answer_anything(start in 0..STARTS.len(), rest in happenings(), piece in 1usize..40) {
        let mut all: Vec<_> = STARTS[start].iter().map(|index| Happening::Said(*index)).collect();
        all.extend(rest);
        for purpose in [Purpose::Stanzas, Purpose::Verification] {
            prop_assert_eq!(
                drive(&mut initiating(purpose), &all, piece),
                drive(&mut initiating(purpose), &all, usize::MAX)
            );
        }
    }
}

#[test]
fn the_starts_of_a_client_lead_where_they_should() {
    let leads = ["", "<mechanism>", "urn:xmpp:sasl:2", "<bound ", "<resumed ", "</jid></bind>"];
    for (start, expected) in CLIENT_STARTS.iter().zip(leads) {
        let all: Vec<_> = start.iter().map(|index| Happening::Said(*index)).collect();
        let log = drive(&mut client(Admits::Everybody), &all, usize::MAX);
        assert!(log.contains(expected), "{expected} in {log}");
    }
}

#[test]
fn the_account_of_the_test_can_be_one() {
    // The fragments above log in as this account, and must not fail for its name.
    assert!(BareJid::parse("user@a.example").is_ok());
}
