//! The receiving server against a peer that does not behave.

use crate::pair::{Name, Ways, domain, in_config};
use std::time::{Duration, Instant};
use stonechat_stanza::{StanzaCondition, StreamCondition};
use stonechat_stream::s2s_in::{Command, Event, Proof, S2sIn};
use stonechat_stream::{Closed, Dialback, PeerCertificate, S2sTransport, TlsFacts, Token, Validity};

pub(crate) const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
     xmlns:stream='http://etherx.jabber.org/streams' from='a.example' to='b.example' version='1.0'>";

pub(crate) struct Server {
    pub(crate) machine: S2sIn,
    pub(crate) now: Instant,
    pub(crate) events: Vec<Event>,
    pub(crate) certificate: Validity,
}

impl Server {
    /// B, over TLS, with a peer that presents a certificate.
    pub(crate) fn new(ways: Ways, certificate: Validity) -> Server {
        let now = Instant::now();
        let mut machine = S2sIn::new(in_config(Name::B, ways, S2sTransport::DirectTls), now);
        machine.on_tls(now, TlsFacts { peer: PeerCertificate::Presented, ..TlsFacts::default() });
        Server { machine, now, events: Vec::new(), certificate }
    }

    /// B in the clear, with STARTTLS to offer.
    pub(crate) fn clear(ways: Ways) -> Server {
        let now = Instant::now();
        let machine = S2sIn::new(in_config(Name::B, ways, S2sTransport::StartTls), now);
        Server { machine, now, events: Vec::new(), certificate: Validity::Invalid }
    }

    /// A.example is proved for b.example.
    pub(crate) fn proved() -> Server {
        let mut server = Server::new(Ways::good(), Validity::Valid);
        server.send(HEADER);
        let success = server.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
        assert_eq!(success, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        server.send(HEADER);
        server
    }

    pub(crate) fn send(&mut self, text: &str) -> String {
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
                self.machine.command(self.now, Command::CertificateChecked(*token, self.certificate));
            }
            self.events.push(event);
        }
        let mut out = Vec::new();
        self.machine.poll_transmit(&mut out);
        String::from_utf8(out).unwrap()
    }

    pub(crate) fn ended_with(&self) -> Option<StreamCondition> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(Closed::ByUs(error)) => Some(error.condition),
            _ => None,
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.events.iter().any(|event| matches!(event, Event::Closed(_)))
    }

    pub(crate) fn stanzas(&self) -> Vec<String> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Stanza(stanza) => Some(String::from_utf8(stanza.to_xml()).unwrap()),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn asked(&self) -> Vec<(Token, String, String)> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::DialbackResult { token, from, key, .. } => Some((*token, from.to_string(), key.clone())),
                _ => None,
            })
            .collect()
    }
}

fn result(from: &str, to: &str) -> String {
    format!("<db:result from='{from}' to='{to}'>key</db:result>")
}

fn message(addresses: &str) -> String {
    format!("<message {addresses}><body>x</body></message>")
}

#[test]
fn headers_are_held_to_the_rules() {
    let cases = [
        (HEADER.replace("to='b.example'", ""), StreamCondition::ImproperAddressing),
        (HEADER.replace("to='b.example'", "to='c.example'"), StreamCondition::HostUnknown),
        (HEADER.replace("to='b.example'", "to='gone.example'"), StreamCondition::HostGone),
        (HEADER.replace("'jabber:server'", "'jabber:client'"), StreamCondition::InvalidNamespace),
        // Abuse case 129: nobody else is us.
        (HEADER.replace("from='a.example'", "from='b2.example'"), StreamCondition::UndefinedCondition),
    ];
    for (header, condition) in cases {
        let mut server = Server::new(Ways::good(), Validity::Valid);
        let answer = server.send(&header);
        assert_eq!(server.ended_with(), Some(condition), "{header}");
        assert!(answer.starts_with("<?xml version='1.0'?><stream:stream ") && answer.ends_with("</stream:stream>"));
    }
    let mut server = Server::new(Ways::good(), Validity::Valid);
    let answer = server.send(HEADER);
    assert!(answer.contains(" from='b.example' to='a.example' id='") && answer.contains(" version='1.0'"), "{answer}");
    assert!(answer.contains("xmlns:db='jabber:server:dialback'"), "{answer}");
}

#[test]
fn a_header_without_a_from_is_fine() {
    let mut server = Server::new(Ways::self_signed(), Validity::Invalid);
    let answer = server.send(&HEADER.replace("from='a.example'", ""));
    assert!(server.is_open() && !answer.contains("EXTERNAL"), "{answer}");
    server.send(&result("a.example", "b.example"));
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn features_say_what_can_be_used() {
    let external = "<mechanism>EXTERNAL</mechanism>";
    let dialback = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>";
    let mut server = Server::new(Ways::good(), Validity::Valid);
    let features = server.send(HEADER);
    assert!(features.contains(external) && features.contains(dialback), "{features}");
    // XEP-0478: what holds for a stranger; the rest is told when it is none any more.
    assert!(features.contains("<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>"), "{features}");
    let mut server = Server::new(Ways::good().without_dialback(), Validity::Invalid);
    let features = server.send(HEADER);
    assert!(!features.contains(external) && !features.contains("dialback'>"), "{features}");
    let mut server = Server::clear(Ways::good());
    let features = server.send(HEADER);
    assert!(features.contains("<required/>") && !features.contains(external) && !features.contains(dialback));
    let mut server = Server::clear(Ways::clear());
    let features = server.send(HEADER);
    assert!(features.contains("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>") && features.contains(dialback));
}

#[test]
fn xep0178_3_who_external_lets_in() {
    let auth =
        |text: &str| format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>{text}</auth>");
    // "a.example", "b.example", "A.EXAMPLE"
    let cases = [
        ("=", Ok(())),
        ("YS5leGFtcGxl", Ok(())),
        ("QS5FWEFNUExF", Ok(())),
        ("Yi5leGFtcGxl", Err("invalid-authzid")),
        ("c2hvcnQ!", Err("incorrect-encoding")),
    ];
    for (text, wanted) in cases {
        let mut server = Server::new(Ways::good(), Validity::Valid);
        server.send(HEADER);
        let answer = server.send(&auth(text));
        match wanted {
            Ok(()) => assert!(answer.contains("<success "), "{text}: {answer}"),
            Err(condition) => {
                assert!(answer.contains(&format!("<{condition}/>")), "abuse 64, {text}: {answer}");
                assert!(server.machine.authorised().next().is_none());
                assert!(server.is_open(), "dialback is still possible");
            }
        }
    }
    // Without an initial response.
    let mut server = Server::new(Ways::good(), Validity::Valid);
    server.send(HEADER);
    assert!(server.send(&auth("")).contains("<challenge "));
    let response = "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>YS5leGFtcGxl</response>";
    assert!(server.send(response).contains("<success "));
    // Not offered, not taken.
    let mut server = Server::new(Ways::good(), Validity::Invalid);
    server.send(HEADER);
    assert!(server.send(&auth("=")).contains("<invalid-mechanism/>"));
    for _ in 0..2 {
        server.send(&auth("="));
    }
    assert_eq!(server.ended_with(), Some(StreamCondition::PolicyViolation));
}

#[test]
fn after_external_the_stream_is_the_same_peers() {
    for (header, condition) in [
        (HEADER.replace("from='a.example'", "from='c.example'"), Some(StreamCondition::InvalidFrom)),
        (HEADER.replace("to='b.example'", "to='b2.example'"), Some(StreamCondition::NotAuthorized)),
        (HEADER.replace("from='a.example'", ""), None),
    ] {
        let mut server = Server::new(Ways::good(), Validity::Valid);
        server.send(HEADER);
        server.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
        let answer = server.send(&header);
        assert_eq!(server.ended_with(), condition, "{header}");
        assert!(!answer.contains("EXTERNAL"), "{answer}");
    }
}

#[test]
fn abuse_40_bytes_behind_starttls_close_the_connection() {
    let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    let mut server = Server::clear(Ways::good());
    server.send(HEADER);
    let answer = server.send(&format!("{starttls}{}", result("a.example", "b.example")));
    assert_eq!(answer, "");
    assert!(matches!(server.events.last(), Some(Event::Closed(Closed::Lost))));
    assert!(!server.events.iter().any(|event| matches!(event, Event::StartTls(_))));

    let mut server = Server::clear(Ways::good());
    server.send(HEADER);
    assert!(server.send(starttls).contains("<proceed "));
    server.machine.on_tls(server.now, TlsFacts { peer: PeerCertificate::Absent, ..TlsFacts::default() });
    server.send(HEADER);
    let refused = server.send(starttls);
    assert_eq!(refused, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>", "abuse 41");
}

#[test]
fn nothing_is_said_in_the_middle_of_the_handshake() {
    for command in [Command::Close(None), Command::Close(Some(StreamCondition::SystemShutdown.into()))] {
        let mut server = Server::clear(Ways::good());
        server.send(HEADER);
        server.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        assert_eq!(server.command(command), "");
        assert!(!server.is_open());
    }
}

#[test]
fn what_was_proved_in_the_clear_does_not_hold_under_tls() {
    let mut server = Server::clear(Ways::clear());
    server.send(HEADER);
    server.send(&result("a.example", "b.example"));
    let (token, ..) = server.asked()[0].clone();
    server.command(Command::DialbackVerdict(token, Dialback::Valid));
    assert_eq!(server.machine.authorised().count(), 1);
    server.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    server.machine.on_tls(server.now, TlsFacts::default());
    server.send(HEADER);
    server.send(&message("from='r@a.example' to='j@b.example'"));
    assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized));
}

#[test]
fn in_the_clear_nothing_but_tls_where_tls_is_required() {
    let verify = "<db:verify from='a.example' to='b.example' id='1'>key</db:verify>";
    for element in [result("a.example", "b.example").as_str(), verify] {
        let mut server = Server::clear(Ways::good());
        server.send(HEADER);
        server.send(element);
        assert_eq!(server.ended_with(), Some(StreamCondition::PolicyViolation), "{element}");
    }
    let mut server = Server::clear(Ways::good());
    server.send(&HEADER.replace("version='1.0'>", ">"));
    assert_eq!(server.ended_with(), Some(StreamCondition::PolicyViolation), "a peer that cannot do TLS");
}

#[test]
fn xep0220_a_peer_from_before_features() {
    let mut server = Server::clear(Ways::clear());
    let answer = server.send(&HEADER.replace("version='1.0'>", ">"));
    assert!(!answer.contains("features") && !answer.contains("' version="), "{answer}");
    server.send(&result("a.example", "b.example"));
    let (token, from, key) = server.asked()[0].clone();
    assert_eq!((from.as_str(), key.as_str()), ("a.example", "key"));
    let answer = server.command(Command::DialbackVerdict(token, Dialback::Valid));
    assert_eq!(answer, "<db:result from='b.example' to='a.example' type='valid'/>");
    server.send(&message("from='r@a.example' to='j@b.example'"));
    assert_eq!(server.stanzas().len(), 1);
}

#[test]
fn abuse_128_no_stanza_before_a_domain_is_proved() {
    let mut server = Server::new(Ways::self_signed(), Validity::Invalid);
    server.send(HEADER);
    server.send(&message("from='r@a.example' to='j@b.example'"));
    assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized));
    // Asking is not proving.
    let mut server = Server::new(Ways::self_signed(), Validity::Invalid);
    server.send(HEADER);
    server.send(&result("a.example", "b.example"));
    server.send(&message("from='r@a.example' to='j@b.example'"));
    assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized));
    assert!(server.stanzas().is_empty());
    // And EXTERNAL is over when its stream has begun anew.
    let mut server = Server::new(Ways::good(), Validity::Valid);
    server.send(HEADER);
    server.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
    server.send(&message("from='r@a.example' to='j@b.example'"));
    assert!(server.stanzas().is_empty() && !server.is_open());
}

#[test]
fn abuse_129_addresses() {
    let cases = [
        ("to='j@b.example'", StreamCondition::ImproperAddressing),
        ("from='r@a.example'", StreamCondition::ImproperAddressing),
        ("from='r@a.example' to='@b.example'", StreamCondition::ImproperAddressing),
        ("from='@a.example' to='j@b.example'", StreamCondition::ImproperAddressing),
        ("from='r@c.example' to='j@b.example'", StreamCondition::InvalidFrom),
        ("from='r@b.example' to='j@b.example'", StreamCondition::InvalidFrom),
        ("from='r@sub.a.example' to='j@b.example'", StreamCondition::InvalidFrom),
        // Proved for another of our domains.
        ("from='r@a.example' to='j@b2.example'", StreamCondition::InvalidFrom),
        ("from='r@a.example' to='j@c.example'", StreamCondition::HostUnknown),
        ("from='r@a.example' to='j@gone.example'", StreamCondition::HostGone),
    ];
    for (addresses, condition) in cases {
        let mut server = Server::proved();
        server.send(&message(addresses));
        assert_eq!(server.ended_with(), Some(condition), "{addresses}");
        assert!(server.stanzas().is_empty());
    }
    let mut server = Server::proved();
    for addresses in ["from='r@a.example/x' to='j@b.example'", "from='A.example' to='B.EXAMPLE'"] {
        server.send(&message(addresses));
    }
    assert_eq!(server.stanzas().len(), 2);
    // Our own domain as a source, by dialback.
    let mut server = Server::new(Ways::self_signed(), Validity::Invalid);
    server.send(HEADER);
    server.send(&result("b2.example", "b.example"));
    assert_eq!(server.ended_with(), Some(StreamCondition::UndefinedCondition));
    // Dialback without addresses.
    for element in
        ["<db:result to='b.example'>k</db:result>", "<db:verify from='a.example' to='b.example'>k</db:verify>"]
    {
        let mut server = Server::new(Ways::self_signed(), Validity::Invalid);
        server.send(HEADER);
        server.send(element);
        assert_eq!(server.ended_with(), Some(StreamCondition::ImproperAddressing), "{element}");
    }
}

#[test]
fn abuse_130_answers_to_nothing() {
    for element in [
        "<db:result from='a.example' to='b.example' type='valid'/>",
        "<db:verify from='a.example' to='b.example' id='1' type='valid'/>",
        "<db:result from='a.example' to='b.example' type='error'/>",
        "<db:result from='a.example' to='b.example' type='whatever'/>",
    ] {
        let mut server = Server::new(Ways::self_signed(), Validity::Invalid);
        server.send(HEADER);
        server.send(element);
        assert_eq!(server.ended_with(), Some(StreamCondition::InvalidFrom), "{element}");
        assert!(!server.events.iter().any(|event| matches!(event, Event::Authorised { .. })));
    }
}

#[test]
fn abuse_131_a_key_of_another_stream_or_pair_is_not_genuine() {
    use stonechat_stream::s2s_out::{Purpose, S2sOut};
    // B proves itself to A: what key does it send on a stream with this id?
    let config = crate::pair::out_config(Name::B, Ways::clear(), S2sTransport::StartTls);
    let mut out = S2sOut::new(config, domain("b.example"), domain("a.example"), Purpose::Stanzas, Instant::now());
    let header = HEADER.replace("from='a.example' to='b.example' version='1.0'", "from='a.example' id='first'");
    out.on_bytes(Instant::now(), header.as_bytes());
    let mut sent = Vec::new();
    out.poll_transmit(&mut sent);
    let sent = String::from_utf8(sent).unwrap();
    let key = sent.split_once("<db:result").unwrap().1.split_once('>').unwrap().1.split_once('<').unwrap().0;
    let ask = |from: &str, to: &str, id: &str, key: &str| {
        let mut server = Server::new(Ways::self_signed(), Validity::Invalid);
        server.send(HEADER);
        server.send(&format!("<db:verify from='{from}' to='{to}' id='{id}'>{key}</db:verify>"))
    };
    assert_eq!(
        ask("a.example", "b.example", "first", key),
        "<db:verify from='b.example' to='a.example' id='first' type='valid'/>"
    );
    for (from, to, id) in [
        ("a.example", "b.example", "second"),
        ("c.example", "b.example", "first"),
        ("a.example", "b2.example", "first"),
    ] {
        assert!(ask(from, to, id, key).contains("type='invalid'"), "{from} {to} {id}");
    }
    assert!(ask("a.example", "b.example", "first", &key.to_uppercase()).contains("type='invalid'"));
    assert!(ask("a.example", "c.example", "first", key).contains("<item-not-found "));
}

#[test]
fn xep0220_2_4_errors_leave_the_stream_to_others() {
    let mut server = Server::new(Ways::self_signed(), Validity::Invalid);
    server.send(HEADER);
    let answer = server.send(&result("a.example", "c.example"));
    assert_eq!(
        answer,
        "<db:result from='c.example' to='a.example' type='error'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>"
    );
    server.send(&result("a.example", "b.example"));
    server.send(&result("x.example", "b.example"));
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    let verdict = Dialback::Failed(StanzaCondition::RemoteServerTimeout);
    assert!(server.command(Command::DialbackVerdict(asked[0].0, verdict)).contains("<remote-server-timeout "));
    assert!(server.command(Command::DialbackVerdict(asked[1].0, Dialback::Valid)).contains("type='valid'"));
    // An answer counts once.
    assert_eq!(server.command(Command::DialbackVerdict(asked[0].0, Dialback::Valid)), "");
    let authorised: Vec<_> = server.machine.authorised().collect();
    assert_eq!(authorised, [(&domain("x.example"), &domain("b.example"))]);
    assert!(server.events.iter().any(|event| matches!(event, Event::Authorised { by: Proof::Dialback, .. })));
    server.send(&message("from='r@x.example' to='j@b.example'"));
    assert_eq!(server.stanzas().len(), 1);
    server.send(&message("from='r@a.example' to='j@b.example'"));
    assert_eq!(server.ended_with(), Some(StreamCondition::InvalidFrom));
}

#[test]
fn abuse_129_each_domain_of_ours_is_proved_for_by_itself() {
    let mut server = Server::new(Ways::self_signed(), Validity::Invalid);
    server.send(HEADER);
    server.send(&result("a.example", "b.example"));
    let (first, ..) = server.asked()[0].clone();
    assert!(server.command(Command::DialbackVerdict(first, Dialback::Valid)).contains("type='valid'"));
    assert_eq!(server.send(&result("a.example", "b2.example")), "", "that is another question");
    assert_eq!(server.asked().len(), 2);
    assert!(server.send(&result("a.example", "b.example")).contains("type='valid'"), "and this one has its answer");
    let (second, ..) = server.asked()[1].clone();
    assert!(server.command(Command::DialbackVerdict(second, Dialback::Invalid)).contains("type='invalid'"));
    let authorised: Vec<_> = server.machine.authorised().collect();
    assert_eq!(authorised, [(&domain("a.example"), &domain("b.example"))], "one does not take the other with it");
    server.send(&message("from='r@a.example' to='j@b2.example'"));
    assert_eq!(server.ended_with(), Some(StreamCondition::InvalidFrom));
}

#[test]
fn rfc6120_4_7_3_each_stream_has_an_id_that_nobody_foresees() {
    let id = |answer: &str| {
        let (_, rest) = answer.split_once(" id='").expect("an id");
        rest.split_once('\'').expect("its end").0.to_owned()
    };
    let mut server = Server::new(Ways::good(), Validity::Valid);
    let first = id(&server.send(HEADER));
    server.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
    let second = id(&server.send(HEADER));
    assert!(first != second && first.len() >= 32 && second.len() >= 32, "{first} {second}");
}

#[test]
fn rfc6120_6_4_4_external_is_given_up_and_what_belongs_to_none_ends_the_stream() {
    let sasl = |name: &str| format!("<{name} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    let begin = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'/>";
    let mut server = Server::new(Ways::good(), Validity::Valid);
    server.send(HEADER);
    assert!(server.send(begin).contains("<challenge "));
    assert!(server.send(&sasl("abort")).contains("<aborted/>"));
    assert!(server.is_open());
    for alone in ["response", "abort"] {
        let mut server = Server::new(Ways::good(), Validity::Valid);
        server.send(HEADER);
        server.send(&sasl(alone));
        assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized), "{alone}");
    }
    for (second, condition) in
        [(begin.to_owned(), StreamCondition::NotAuthorized), (sasl("x"), StreamCondition::UnsupportedStanzaType)]
    {
        let mut server = Server::new(Ways::good(), Validity::Valid);
        server.send(HEADER);
        server.send(begin);
        server.send(&second);
        assert_eq!(server.ended_with(), Some(condition), "{second}");
    }
}

#[test]
fn abuse_131_an_invalid_key_proves_nothing() {
    let mut server = Server::new(Ways::self_signed(), Validity::Invalid);
    server.send(HEADER);
    server.send(&result("a.example", "b.example"));
    let (token, ..) = server.asked()[0].clone();
    let answer = server.command(Command::DialbackVerdict(token, Dialback::Invalid));
    assert_eq!(answer, "<db:result from='b.example' to='a.example' type='invalid'/>");
    server.send(&message("from='r@a.example' to='j@b.example'"));
    assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized));
}

#[test]
fn abuse_132_a_peer_that_stalls() {
    let mut server = Server::new(Ways::self_signed(), Validity::Invalid);
    server.send(HEADER);
    server.send(&result("a.example", "b.example"));
    server.wait(Duration::from_secs(59));
    assert!(server.is_open());
    server.wait(Duration::from_secs(1));
    assert_eq!(server.ended_with(), Some(StreamCondition::ConnectionTimeout));
    // In the middle of a stanza.
    let mut server = Server::proved();
    server.send("<message from='r@a.example'");
    server.wait(Duration::from_secs(60));
    assert_eq!(server.ended_with(), Some(StreamCondition::ConnectionTimeout));
}

#[test]
fn abuse_135_ten_thousand_domains_on_one_stream() {
    let mut server = Server::new(Ways::self_signed(), Validity::Invalid);
    server.send(HEADER);
    server.send(&result("a.example", "b.example"));
    let (token, ..) = server.asked()[0].clone();
    server.command(Command::DialbackVerdict(token, Dialback::Valid));
    for n in 0..10_000 {
        if !server.is_open() {
            break;
        }
        server.send(&result(&format!("d{n}.example"), "b.example"));
    }
    assert_eq!(server.ended_with(), Some(StreamCondition::ResourceConstraint));
    assert_eq!(server.asked().len(), 64);
    // The same one again and again is one.
    let mut server = Server::new(Ways::self_signed(), Validity::Invalid);
    server.send(HEADER);
    for _ in 0..50 {
        server.send(&result("a.example", "b.example"));
    }
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn abuse_136_a_stanza_that_is_too_large() {
    let mut server = Server::proved();
    server.send("<message from='r@a.example' to='j@b.example'><body>");
    let piece = "x".repeat(16 * 1024);
    let mut most = 0;
    for _ in 0..128 {
        server.send(&piece);
        most = most.max(server.machine.held());
    }
    assert_eq!(server.ended_with(), Some(StreamCondition::PolicyViolation));
    assert!(most <= 524_288 + 16 * 1024, "P4: {most}");
    assert!(server.stanzas().is_empty());
}

#[test]
fn abuse_16_a_stranger_says_no_more_than_10_000_bytes() {
    let mut server = Server::new(Ways::self_signed(), Validity::Invalid);
    server.send(HEADER);
    let mut most = 0;
    for _ in 0..100 {
        server.send(&" ".repeat(1_000));
        most = most.max(server.machine.held());
    }
    assert_eq!(server.ended_with(), Some(StreamCondition::PolicyViolation));
    assert!(most <= 64 * 1024, "P4: {most}");
}

#[test]
fn abuse_73_what_only_we_may_say_is_cut() {
    let cut = [
        "<delay xmlns='urn:xmpp:delay' from='b.example' stamp='2000-01-01T00:00:00Z'/>",
        "<stanza-id xmlns='urn:xmpp:sid:0' by='j@b.example' id='1'/>",
        "<stanza-id xmlns='urn:xmpp:sid:0' by='b2.example' id='1'/>",
        "<received xmlns='urn:xmpp:carbons:2'/>",
        "<sent xmlns='urn:xmpp:carbons:2'/>",
    ];
    // A room speaks for itself.
    let kept = [
        "<delay xmlns='urn:xmpp:delay' from='room@a.example' stamp='2000-01-01T00:00:00Z'/>",
        "<stanza-id xmlns='urn:xmpp:sid:0' by='room@a.example' id='1'/>",
        "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='1'/>",
        "<result xmlns='urn:xmpp:mam:2' id='1'/>",
    ];
    for (children, stays) in [(&cut[..], false), (&kept[..], true)] {
        for child in children {
            let mut server = Server::proved();
            server.send(&format!("<message from='room@a.example' to='j@b.example'><body>x</body>{child}</message>"));
            assert_eq!(server.stanzas()[0].contains(child), stays, "{child}: {:?}", server.stanzas());
            assert!(server.stanzas()[0].contains("<body>x</body>"));
        }
    }
}

#[test]
fn malformed_stanzas_are_answered_by_way_of_our_own_stream() {
    let mut server = Server::proved();
    let answer = server.send("<iq type='get' from='r@a.example/x' to='j@b.example'><q xmlns='urn:x'/></iq>");
    assert_eq!(answer, "", "nothing but negotiation is sent on this stream");
    let Some(Event::Bounce(bounce)) = server.events.last() else { panic!("{:?}", server.events.last()) };
    let xml = String::from_utf8(bounce.to_xml()).unwrap();
    assert!(xml.contains("to='r@a.example/x'") && xml.contains("<bad-request "), "{xml}");
    assert!(server.is_open());
    // And only to who was proved.
    server.send("<iq type='get' from='r@c.example' to='j@b.example'><q xmlns='urn:x'/></iq>");
    assert_eq!(server.ended_with(), Some(StreamCondition::InvalidFrom));
}

#[test]
fn rfc6120_8_1_5_the_language_of_the_stream_is_that_of_its_stanzas() {
    let mut server = Server::new(Ways::good(), Validity::Valid);
    server.send(HEADER);
    server.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
    server.send(&HEADER.replace("from=", "xml:lang='de' from="));
    server.send(&message("from='r@a.example' to='j@b.example'"));
    server.send(&message("from='r@a.example' to='j@b.example' xml:lang='fr'"));
    assert!(server.stanzas()[0].contains("xml:lang='de'"), "{:?}", server.stanzas());
    assert!(server.stanzas()[1].contains("xml:lang='fr'"), "{:?}", server.stanzas());
}

#[test]
fn closing_in_both_directions() {
    let mut server = Server::proved();
    assert_eq!(server.send("</stream:stream>"), "</stream:stream>");
    assert!(matches!(server.events.last(), Some(Event::Closed(Closed::Cleanly))));
    let mut server = Server::proved();
    assert_eq!(server.command(Command::Close(None)), "</stream:stream>");
    assert_eq!(server.machine.poll_timeout(), Some(server.now + Duration::from_secs(5)));
    assert_eq!(server.wait(Duration::from_secs(4)), "");
    assert!(server.is_open());
    assert_eq!(server.wait(Duration::from_secs(1)), "");
    assert!(matches!(server.events.last(), Some(Event::Closed(Closed::Cleanly))));
    let mut server = Server::proved();
    server.command(Command::Close(None));
    assert_eq!(server.send("</stream:stream>"), "", "the end is said once");
    assert!(matches!(server.events.last(), Some(Event::Closed(Closed::Cleanly))));
    // A stream is opened before it is closed (RFC 6120 §4.9.1.2).
    let mut server = Server::new(Ways::good(), Validity::Valid);
    let answer = server.command(Command::Close(None));
    assert!(answer.starts_with("<?xml version='1.0'?><stream:stream ") && answer.ends_with("></stream:stream>"));
    let mut server = Server::proved();
    assert_eq!(
        server.command(Command::Close(Some(StreamCondition::SystemShutdown.into()))),
        "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
    );
    let mut server = Server::proved();
    let ended = "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
    assert_eq!(server.send(ended), "</stream:stream>");
    assert!(matches!(server.events.last(), Some(Event::Closed(Closed::ByPeer(error)))
        if error.condition == StreamCondition::Reset));
    let mut server = Server::proved();
    server.machine.on_eof();
    server.settle();
    assert!(matches!(server.events.last(), Some(Event::Closed(Closed::Lost))));
    assert_eq!(server.machine.authorised().count(), 0);
    assert_eq!(server.machine.poll_timeout(), None);
}

#[test]
fn a_question_about_a_certificate_holds_up_what_follows() {
    let now = Instant::now();
    let mut machine = S2sIn::new(in_config(Name::B, Ways::good(), S2sTransport::DirectTls), now);
    machine.on_tls(now, TlsFacts { peer: PeerCertificate::Presented, ..TlsFacts::default() });
    let early = format!("{HEADER}<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
    machine.on_bytes(now, early.as_bytes());
    assert!(!machine.wants_input());
    let mut token = None;
    while let Some(event) = machine.poll_event() {
        if let Event::CheckCertificate(asked, of) = event {
            assert_eq!(of, domain("a.example"));
            token = Some(asked);
        }
    }
    machine.command(now, Command::CertificateChecked(token.unwrap(), Validity::Valid));
    assert_eq!(machine.authorised().count(), 1);
    assert!(machine.wants_input());
}
