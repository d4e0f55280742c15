//! The initiating server against a peer that does not behave, or is old.

use crate::pair::{Name, Ways, domain, out_config, stanza};
use std::time::{Duration, Instant};
use stonechat_stanza::{StanzaCondition, StreamCondition};
use stonechat_stream::s2s_out::{Command, Ended, Event, External, PairFailure, Purpose, Question, S2sOut};
use stonechat_stream::{Closed, Dialback, PeerCertificate, S2sTransport, TlsFacts, Validity};

pub(crate) const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
     xmlns:stream='http://etherx.jabber.org/streams' from='b.example' id='i1' version='1.0'>";
const STARTTLS: &str =
    "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>";
const EXTERNAL: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
     <mechanism>EXTERNAL</mechanism></mechanisms></stream:features>";
const NOTHING: &str = "<stream:features/>";
const REFUSED: &str = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text>no</text></failure>";
const VALID: &str = "<db:result from='b.example' to='a.example' type='valid'/>";

pub(crate) struct Client {
    pub(crate) machine: S2sOut,
    pub(crate) now: Instant,
    pub(crate) events: Vec<Event>,
}

impl Client {
    pub(crate) fn new(ways: Ways, transport: S2sTransport, purpose: Purpose) -> Client {
        let now = Instant::now();
        let config = out_config(Name::A, ways, transport);
        let machine = S2sOut::new(config, domain("a.example"), domain("b.example"), purpose, now);
        Client { machine, now, events: Vec::new() }
    }

    /// Over TLS with a peer whose certificate holds; our header was sent.
    pub(crate) fn over_tls(ways: Ways, purpose: Purpose) -> Client {
        let mut client = Client::new(ways, S2sTransport::DirectTls, purpose);
        assert_eq!(client.settle(), "", "nothing before the handshake");
        client.machine.on_tls(client.now, TlsFacts { peer: PeerCertificate::Presented, ..TlsFacts::default() });
        assert!(client.settle().contains("<stream:stream "));
        client
    }

    /// A.example is ready, by dialback.
    pub(crate) fn ready() -> Client {
        let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
        client.hear(HEADER);
        client.hear(NOTHING);
        client.hear(VALID);
        assert!(client.machine.is_ready(&domain("a.example")));
        client
    }

    pub(crate) fn hear(&mut self, text: &str) -> String {
        self.machine.on_bytes(self.now, text.as_bytes());
        self.settle()
    }

    pub(crate) fn command(&mut self, command: Command) -> String {
        self.machine.command(self.now, command);
        self.settle()
    }

    pub(crate) fn wait(&mut self, time: Duration) -> String {
        self.now += time;
        self.machine.on_timeout(self.now);
        self.settle()
    }

    pub(crate) fn settle(&mut self) -> String {
        while let Some(event) = self.machine.poll_event() {
            if let Event::CheckCertificate(token, _) = &event {
                self.machine.command(self.now, Command::CertificateChecked(*token, Validity::Valid));
            }
            self.events.push(event);
        }
        let mut out = Vec::new();
        self.machine.poll_transmit(&mut out);
        String::from_utf8(out).unwrap()
    }

    pub(crate) fn ended(&self) -> Option<&Ended> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(ended) => Some(ended),
            _ => None,
        })
    }

    pub(crate) fn ended_with(&self) -> Option<StreamCondition> {
        match self.ended() {
            Some(Ended::Stream(Closed::ByUs(error))) => Some(error.condition),
            _ => None,
        }
    }

    pub(crate) fn verified(&self) -> Vec<Dialback> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Verified { answer, .. } => Some(*answer),
                _ => None,
            })
            .collect()
    }
}

fn question() -> Command {
    Command::Verify(Question {
        from: domain("a.example"),
        to: domain("b.example"),
        stream_id: "s1".to_owned(),
        key: "k<1".to_owned(),
    })
}

#[test]
fn rfc6120_4_7_our_header() {
    let mut client = Client::new(Ways::good(), S2sTransport::StartTls, Purpose::Stanzas);
    assert_eq!(
        client.settle(),
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
         xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' from='a.example' \
         to='b.example' version='1.0' xml:lang='en'>"
    );
}

#[test]
fn xep0220_a_peer_from_before_features() {
    let mut client = Client::new(Ways::clear(), S2sTransport::StartTls, Purpose::Stanzas);
    client.settle();
    let sent = client.hear(&HEADER.replace(" version='1.0'>", ">"));
    assert!(sent.starts_with("<db:result from='a.example' to='b.example'>"), "{sent}");
    client.hear(VALID);
    assert!(client.machine.is_ready(&domain("a.example")));
    // Where TLS is required there is no way.
    let mut client = Client::new(Ways::good(), S2sTransport::StartTls, Purpose::Stanzas);
    client.settle();
    assert_eq!(client.hear(&HEADER.replace(" version='1.0'>", ">")), "</stream:stream>");
    assert_eq!(client.ended(), Some(&Ended::TlsUnavailable));
}

#[test]
fn xep0178_external_refused_and_then() {
    // Dialback on the same stream.
    let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
    client.hear(HEADER);
    let auth = client.hear(EXTERNAL);
    assert_eq!(
        auth, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>YS5leGFtcGxl</auth>",
        "a.example in base64"
    );
    assert!(client.hear(REFUSED).contains("<db:result "));
    client.hear(VALID);
    assert!(client.machine.is_ready(&domain("a.example")));

    // The peer hangs up: with an error, in order, or without a word.
    let refused = Ended::ExternalRefused { condition: "not-authorized".to_owned() };
    let error = "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
    for end in [error, "</stream:stream>"] {
        let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
        client.hear(HEADER);
        client.hear(EXTERNAL);
        client.hear(REFUSED);
        client.hear(end);
        assert_eq!(client.ended(), Some(&refused), "{end}");
    }
    for words in ["", REFUSED] {
        let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
        client.hear(HEADER);
        client.hear(EXTERNAL);
        client.hear(words);
        client.machine.on_eof();
        client.settle();
        assert!(matches!(client.ended(), Some(Ended::ExternalRefused { .. })), "{words}: {:?}", client.ended());
    }

    // Dialback is not allowed: it is over.
    let mut client = Client::over_tls(Ways::good().without_dialback(), Purpose::Stanzas);
    client.hear(HEADER);
    client.hear(EXTERNAL);
    assert_eq!(client.hear(REFUSED), "</stream:stream>");
    assert_eq!(client.ended(), Some(&refused));

    // The next try goes without.
    let mut client = Client::over_tls(Ways { external: External::Never, ..Ways::good() }, Purpose::Stanzas);
    client.hear(HEADER);
    assert!(client.hear(EXTERNAL).contains("<db:result "));
}

#[test]
fn external_succeeds_and_the_stream_begins_anew() {
    let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
    client.hear(HEADER);
    client.hear(EXTERNAL);
    let header = client.hear("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert!(header.contains("<stream:stream "), "{header}");
    assert!(!client.events.iter().any(|event| matches!(event, Event::Ready(_))), "not before its features");
    client.hear(HEADER);
    assert_eq!(
        client.hear(
            "<stream:features><limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>100000</max-bytes>\
         </limits></stream:features>"
        ),
        ""
    );
    assert!(matches!(client.events.last(), Some(Event::Ready(_))));
    assert_eq!(client.machine.peer_max_bytes(), Some(100_000));
}

#[test]
fn a_peer_that_wants_the_identity_asked_for() {
    let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
    client.hear(HEADER);
    client.hear(EXTERNAL);
    assert_eq!(
        client.hear("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</challenge>"),
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>YS5leGFtcGxl</response>"
    );
}

#[test]
fn external_is_not_tried_in_the_clear() {
    let mut client = Client::new(Ways::clear(), S2sTransport::StartTls, Purpose::Stanzas);
    client.settle();
    client.hear(HEADER);
    assert!(client.hear(EXTERNAL).contains("<db:result "));
}

#[test]
fn starttls_refused_or_tampered_with() {
    let begin = || {
        let mut client = Client::new(Ways::clear(), S2sTransport::StartTls, Purpose::Stanzas);
        client.settle();
        client.hear(HEADER);
        assert_eq!(client.hear(STARTTLS), "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        client
    };
    let mut client = begin();
    client.hear("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert_eq!(client.ended(), Some(&Ended::TlsUnavailable));
    // Abuse case 40, the other way round.
    let proceed = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    let mut client = begin();
    assert_eq!(client.hear(&format!("{proceed}{HEADER}")), "");
    assert_eq!(client.ended(), Some(&Ended::Stream(Closed::Lost)));
    assert!(!client.events.iter().any(|event| matches!(event, Event::StartTls(_))));
    // Going on when nobody asked.
    let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
    client.hear(HEADER);
    client.hear(proceed);
    assert_eq!(client.ended_with(), Some(StreamCondition::NotAuthorized));
}

#[test]
fn abuse_130_answers_to_nothing_change_nothing() {
    let mut client = Client::ready();
    let before = client.events.len();
    for element in [
        VALID,
        "<db:result from='b.example' to='a2.example' type='valid'/>",
        "<db:result from='c.example' to='a.example' type='invalid'/>",
        "<db:verify from='b.example' to='a.example' id='s1' type='valid'/>",
        "<db:result from='b.example' to='a.example' type='error'/>",
    ] {
        assert_eq!(client.hear(element), "", "{element}");
    }
    assert_eq!(client.events.len(), before);
    assert!(client.machine.is_ready(&domain("a.example")));
    assert!(!client.machine.is_ready(&domain("a2.example")));
    // A question is not for this direction.
    client.hear("<db:result from='b.example' to='a.example'>key</db:result>");
    assert_eq!(client.ended_with(), Some(StreamCondition::NotAuthorized));
}

#[test]
fn abuse_130_an_answer_for_another_pair_or_stream() {
    let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
    client.hear(HEADER);
    client.hear(NOTHING);
    client.hear("<db:result from='c.example' to='a.example' type='valid'/>");
    client.hear("<db:result from='b.example' to='a2.example' type='valid'/>");
    assert!(!client.machine.is_ready(&domain("a.example")));
    client.hear("<db:result from='c.example' to='a.example' type='invalid'/>");
    client.hear(VALID);
    assert!(client.machine.is_ready(&domain("a.example")));

    let mut client = Client::over_tls(Ways::good(), Purpose::Verification);
    client.hear(HEADER);
    client.hear(NOTHING);
    let asked = client.command(question());
    assert_eq!(asked, "<db:verify from='a.example' to='b.example' id='s1'>k&lt;1</db:verify>");
    for element in [
        "<db:verify from='b.example' to='a.example' id='s2' type='valid'/>",
        "<db:verify from='c.example' to='a.example' id='s1' type='valid'/>",
        "<db:verify from='b.example' to='a2.example' id='s1' type='valid'/>",
    ] {
        client.hear(element);
    }
    assert!(client.verified().is_empty());
    client.hear("<db:verify from='b.example' to='a.example' id='s1' type='valid'/>");
    client.hear("<db:verify from='b.example' to='a.example' id='s1' type='invalid'/>");
    assert_eq!(client.verified(), [Dialback::Valid]);
}

#[test]
fn abuse_138_nothing_comes_by_the_way_we_send() {
    for stanza in [
        "<message from='r@b.example' to='j@a.example'/>",
        "<presence/>",
        "<iq/>",
        "<db:result from='b.example' to='a.example'>key</db:result>",
        "<db:verify from='b.example' to='a.example' id='1'>key</db:verify>",
    ] {
        let mut client = Client::ready();
        client.hear(stanza);
        assert_eq!(client.ended_with(), Some(StreamCondition::NotAuthorized), "{stanza}");
    }
}

#[test]
fn abuse_132_a_peer_that_stalls() {
    // In the negotiation.
    for heard in ["", HEADER] {
        let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
        client.hear(heard);
        client.wait(Duration::from_secs(60));
        assert_eq!(client.ended(), Some(&Ended::Timeout), "{heard}");
    }
    // In dialback: the domain fails first, and the stream ends when nothing else is proved.
    let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
    client.hear(HEADER);
    client.hear(NOTHING);
    client.wait(Duration::from_secs(30));
    assert!(matches!(client.events.last(), Some(Event::PairFailed { reason: PairFailure::Timeout, .. })));
    client.wait(Duration::from_secs(30));
    assert_eq!(client.ended(), Some(&Ended::Timeout));
    // A question.
    let mut client = Client::over_tls(Ways::good(), Purpose::Verification);
    client.hear(HEADER);
    client.hear(NOTHING);
    client.command(question());
    client.wait(Duration::from_secs(30));
    assert_eq!(client.verified(), [Dialback::Failed(StanzaCondition::RemoteServerTimeout)]);
    assert_eq!(client.ended(), None);
    // In the middle of an element.
    let mut client = Client::ready();
    client.hear("<db:res");
    client.wait(Duration::from_secs(60));
    assert_eq!(client.ended(), Some(&Ended::Timeout));
}

#[test]
fn questions_are_answered_before_the_end() {
    // One waits for the stream to be open, one for the peer's answer.
    let mut client = Client::over_tls(Ways::good(), Purpose::Verification);
    assert_eq!(client.command(question()), "");
    client.machine.on_eof();
    client.settle();
    assert_eq!(client.verified().len(), 1);
    assert!(matches!(client.events.last(), Some(Event::Closed(_))));
    client.command(question());
    assert_eq!(client.verified().len(), 2, "and after it");

    let mut client = Client::over_tls(Ways::good(), Purpose::Verification);
    client.command(question());
    client.hear(HEADER);
    assert!(client.hear(NOTHING).contains("<db:verify "));
    client.hear("</stream:stream>");
    assert_eq!(client.verified(), [Dialback::Failed(StanzaCondition::RemoteServerTimeout)]);
}

#[test]
fn xep0220_2_4_2_the_peers_errors() {
    let cases = [
        ("<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>", {
            StanzaCondition::ItemNotFound
        }),
        (
            "<error type='cancel'><remote-connection-failed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
            StanzaCondition::RemoteServerTimeout,
        ),
        (
            "<db:error type='cancel'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></db:error>",
            StanzaCondition::PolicyViolation,
        ),
        ("", StanzaCondition::UndefinedCondition),
    ];
    for (error, wanted) in cases {
        let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
        client.hear(HEADER);
        client.hear(NOTHING);
        client.hear(&format!("<db:result from='b.example' to='a.example' type='error'>{error}</db:result>"));
        let failed = client.events.iter().find_map(|event| match event {
            Event::PairFailed { local, remote, reason } => Some((local.as_str(), remote.as_str(), *reason)),
            _ => None,
        });
        assert_eq!(failed, Some(("a.example", "b.example", PairFailure::Refused(wanted))), "{error}");
        assert_eq!(client.ended(), None);
        // It may be tried again.
        assert!(client.command(Command::AddLocal(domain("a.example"))).contains("<db:result "));
        client.hear(VALID);
        assert!(client.machine.is_ready(&domain("a.example")));
    }
}

#[test]
fn a_key_needs_the_peers_stream_id() {
    let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
    client.hear(&HEADER.replace("id='i1'", ""));
    assert_eq!(client.hear(NOTHING), "");
    assert!(matches!(client.events.last(), Some(Event::PairFailed { reason: PairFailure::NotAllowed, .. })));
}

#[test]
fn as_many_local_domains_as_there_may_be() {
    let mut client = Client::ready();
    for n in 0..63 {
        assert!(client.command(Command::AddLocal(domain(&format!("d{n}.example")))).contains("<db:result "));
    }
    assert_eq!(client.command(Command::AddLocal(domain("last.example"))), "");
    assert!(matches!(client.events.last(), Some(Event::PairFailed { reason: PairFailure::NotAllowed, .. })));
}

#[test]
fn rfc6120_4_6_1_white_space_keeps_a_quiet_stream() {
    let mut client = Client::ready();
    assert_eq!(client.wait(Duration::from_secs(299)), "");
    assert_eq!(client.wait(Duration::from_secs(1)), " ");
    assert_eq!(client.wait(Duration::from_secs(1)), "", "one is enough for a while");
    assert_eq!(client.wait(Duration::from_secs(299)), " ");
    let message = "<message xmlns='jabber:client' from='r@a.example' to='j@b.example'/>";
    client.now += Duration::from_secs(299);
    client.machine.send(client.now, &stanza(message)).unwrap();
    assert_eq!(client.settle(), "<message from='r@a.example' to='j@b.example'/>", "in the stream's own namespace");
    assert_eq!(client.wait(Duration::from_secs(299)), "");
    assert_eq!(client.wait(Duration::from_secs(1)), " ");
}

#[test]
fn the_peers_error_is_told() {
    let mut client = Client::ready();
    let error = "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>back at nine</text></stream:error>";
    assert_eq!(client.hear(error), "</stream:stream>");
    assert_eq!(client.ended().unwrap().to_string(), "the peer ended the stream: system-shutdown (back at nine)");
}

#[test]
fn a_peer_that_talks_too_much() {
    let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
    client.hear(HEADER);
    let mut most = 0;
    for _ in 0..100 {
        client.hear(&" ".repeat(1_000));
        most = most.max(client.machine.held());
    }
    assert_eq!(client.ended_with(), Some(StreamCondition::PolicyViolation));
    assert!(most <= 64 * 1024, "P4: {most}");
}

#[test]
fn a_peer_whose_domain_took_ours_may_acknowledge_for_as_long_as_it_likes() {
    let mut client = Client::ready();
    for _ in 0..1_000 {
        client.hear(VALID);
    }
    assert_eq!(client.ended(), None);
}

#[test]
fn rfc6120_4_4_a_peer_that_does_not_close_is_not_waited_for() {
    let mut client = Client::ready();
    assert_eq!(client.command(Command::Close(None)), "</stream:stream>");
    assert_eq!(client.machine.poll_timeout(), Some(client.now + Duration::from_secs(5)));
    client.wait(Duration::from_secs(4));
    assert_eq!(client.ended(), None);
    client.wait(Duration::from_secs(1));
    assert_eq!(client.ended(), Some(&Ended::Stream(Closed::Cleanly)));
    let mut client = Client::ready();
    client.command(Command::Close(None));
    assert_eq!(client.hear("</stream:stream>"), "", "the end is said once");
    assert_eq!(client.ended(), Some(&Ended::Stream(Closed::Cleanly)));
}

#[test]
fn where_dialback_is_refused_no_further_domain_is_proved_by_it() {
    let mut client = Client::over_tls(Ways::good().without_dialback(), Purpose::Stanzas);
    client.hear(HEADER);
    client.hear(EXTERNAL);
    client.hear("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    client.hear(HEADER);
    client.hear(NOTHING);
    assert!(client.machine.is_ready(&domain("a.example")));
    assert_eq!(client.command(Command::AddLocal(domain("a2.example"))), "");
    assert!(matches!(client.events.last(), Some(Event::PairFailed { reason: PairFailure::NotAllowed, .. })));
    assert!(client.machine.is_ready(&domain("a.example")));
}

#[test]
fn what_is_not_xmpp_ends_it() {
    for (heard, condition) in [
        ("HTTP/1.1 400 Bad Request\r\n", StreamCondition::NotWellFormed),
        ("<html>", StreamCondition::BadFormat),
        ("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", {
            StreamCondition::InvalidNamespace
        }),
    ] {
        let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
        client.hear(heard);
        assert_eq!(client.ended_with(), Some(condition), "{heard}");
    }
}
