//! A client's stream: no bytes make it panic, what it writes is well-formed, what it holds is bounded, and nobody is bound
//! without a password.

use std::sync::Arc;
use std::time::Instant;
use stonechat_jid::Domain;
use stonechat_sasl::{DecoySecret, Lookup, TokenLookup, TokenSecret, Verdict};
use stonechat_stream::c2s::{C2s, Command, Config, Event, Limits, Remembered, Transport};
use stonechat_stream::{FeatureSource, HostStatus, Hosts, Phase, Random, Registration, TlsFacts};
use stonechat_xml::{Element, Framing, Limits as XmlLimits, Parser};

pub(crate) const CORPUS: &[&str] = &[
    "<?xml version='1.0'?><stream:stream to='a.example' version='1.0' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' \
     mechanism='SCRAM-SHA-1'>biwsbj11c2VyLHI9YWJj</auth><response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>Yz1iaXdz</response>\
     </stream:stream>",
    "<stream:stream to='a.example' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\
     <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    "<stream:stream to='b.example' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\
     <iq type='set' id='1'><query xmlns='jabber:iq:register'/></iq>",
    "<stream:stream to='a.example' from='u@a.example' version='1.0' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'><authenticate xmlns='urn:xmpp:sasl:2' mechanism='HT-SHA-256-NONE'>\
     <initial-response>dQBh</initial-response><user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'/>\
     <fast xmlns='urn:xmpp:fast:0' count='1'/><resume xmlns='urn:xmpp:sm:3' previd='1' h='1'/>\
     <bind xmlns='urn:xmpp:bind:0'><tag>x</tag></bind></authenticate>",
    "<stream:stream to='a.example' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\
     <authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-1'><initial-response>biwsbj11c2VyLHI9YWJj</initial-response>\
     <upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-256</upgrade></authenticate>\
     <response xmlns='urn:xmpp:sasl:2'>Yz1iaXdz</response><next xmlns='urn:xmpp:sasl:2' task='UPGR-SCRAM-SHA-256'/>",
];

struct World;

impl Hosts for World {
    fn status(&self, domain: &Domain) -> HostStatus {
        if domain.as_str() == "a.example" { HostStatus::Served } else { HostStatus::Unknown }
    }
}
impl FeatureSource for World {
    fn features(&self, _phase: Phase, _domain: &Domain) -> Vec<Element> {
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

pub(crate) fn run(data: &[u8]) {
    let config = Arc::new(Config {
        hosts: Arc::new(World),
        features: Arc::new(World),
        random: Arc::new(World),
        decoy: DecoySecret([1; 32]),
        tokens: Some(TokenSecret([2; 32])),
        transport: Transport::StartTlsOptional,
        limits: Limits::default(),
        remembered: Remembered::default(),
    });
    let now = Instant::now();
    let mut machine = C2s::new(config, now);
    // XEP-0388 is for TLS alone: every other input is read there.
    if data.len() % 2 == 0 {
        machine.on_tls(now, TlsFacts::default());
    }
    let mut written = Vec::new();
    for part in data.chunks(97) {
        machine.on_bytes(now, part);
        while let Some(event) = machine.poll_event() {
            match event {
                Event::Lookup(token, _) => machine.command(now, Command::Credentials(token, Lookup::Unknown)),
                Event::CheckPassword(token, ..) => {
                    machine.command(now, Command::PasswordChecked(token, Verdict::Refused));
                }
                Event::LookupTokens(token, _) => machine.command(now, Command::Tokens(token, TokenLookup::Unknown)),
                Event::Authenticated(_)
                | Event::Authorized(..)
                | Event::Upgraded(..)
                | Event::Resume(..)
                | Event::Bind(..)
                | Event::Bind2(..)
                | Event::Stanza(_) => panic!("somebody logged in without a password"),
                _ => {}
            }
        }
        machine.poll_transmit(&mut written);
    }
    machine.on_eof();
    let mut parser = Parser::new(Framing::Stream, XmlLimits::SERVER);
    let mut rest = written.as_slice();
    while !rest.is_empty() {
        match parser.next(&mut rest) {
            Ok(_) => {}
            Err(error) => panic!("what the server wrote is refused: {error}"),
        }
    }
}
