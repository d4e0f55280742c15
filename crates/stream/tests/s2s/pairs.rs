//! Two machines against each other.

use crate::pair::{Authoritative, Certificate, Name, Pair, Port, Setting, Ways, domain, stanza};
use std::time::Duration;
use stonechat_stanza::{Stanza, StanzaCondition};
use stonechat_stream::s2s_in::{self, Proof};
use stonechat_stream::s2s_out::{Command, Ended, Event, External, PairFailure, Purpose, Question, Unsent};
use stonechat_stream::{Closed, Dialback};

fn hello(n: u32) -> Stanza {
    stanza(&format!(
        "<message xmlns='jabber:client' from='romeo@a.example/x' to='juliet@b.example' id='{n}'><body>hi</body></message>"
    ))
}

fn proved(from: &str, to: &str, by: Proof) -> (String, String, Proof) {
    (from.to_owned(), to.to_owned(), by)
}

/// That stanzas cross, in order.
fn talk(pair: &mut Pair) {
    for n in 0..3 {
        pair.send(&hello(n)).unwrap();
    }
    let stanzas = pair.stanzas();
    assert_eq!(stanzas.len(), 3, "{}", pair.transcript());
    for (n, stanza) in stanzas.iter().enumerate() {
        assert!(stanza.contains(&format!("id='{n}'")), "{stanza}");
    }
}

fn refusal(pair: &Pair) -> Option<PairFailure> {
    pair.out_events.iter().find_map(|event| match event {
        Event::PairFailed { reason, .. } => Some(*reason),
        _ => None,
    })
}

#[test]
fn xep0178_external_over_starttls_and_direct_tls() {
    for port in [Port::StartTls, Port::DirectTls] {
        for dialback in ["allowed", "never"] {
            let ways = if dialback == "never" { Ways::good().without_dialback() } else { Ways::good() };
            let mut pair = Pair::new(Setting::new(ways, ways, port));
            assert!(pair.out_has("Ready(\"a.example\")"), "{}", pair.transcript());
            assert_eq!(pair.proofs(), [proved("a.example", "b.example", Proof::External)]);
            assert!(!pair.said.contains("<db:result"));
            assert_eq!(pair.out.peer_max_bytes(), Some(524_288));
            talk(&mut pair);
        }
    }
}

#[test]
fn xep0220_dialback_over_tls_with_self_signed_certificates() {
    for port in [Port::StartTls, Port::DirectTls] {
        for certificate in [Certificate::Worthless, Certificate::Absent] {
            let ways = Ways { certificate, ..Ways::self_signed() };
            let mut pair = Pair::new(Setting::new(ways, ways, port));
            assert_eq!(pair.proofs(), [proved("a.example", "b.example", Proof::Dialback)], "{}", pair.transcript());
            assert!(!pair.said.contains("EXTERNAL"));
            talk(&mut pair);
        }
    }
}

#[test]
fn xep0220_dialback_in_the_clear() {
    let mut pair = Pair::new(Setting::new(Ways::clear(), Ways::clear(), Port::Clear));
    assert_eq!(pair.proofs(), [proved("a.example", "b.example", Proof::Dialback)], "{}", pair.transcript());
    assert!(!pair.said.contains("starttls"));
    talk(&mut pair);
}

#[test]
fn a_certificate_that_holds_spares_the_dialling_back() {
    let a = Ways { external: External::Never, ..Ways::good() };
    let setting = Setting { authoritative: Authoritative::Silent, ..Setting::new(a, Ways::good(), Port::StartTls) };
    let mut pair = Pair::new(setting);
    assert_eq!(pair.proofs(), [proved("a.example", "b.example", Proof::Certificate)], "{}", pair.transcript());
    talk(&mut pair);
}

#[test]
fn abuse_133_a_peer_whose_certificate_does_not_hold() {
    // Refused where certificates are required …
    for certificate in [Certificate::Worthless, Certificate::Absent] {
        let a = Ways { certificate, ..Ways::good() };
        let pair = Pair::new(Setting::new(a, Ways::good(), Port::StartTls));
        assert_eq!(
            refusal(&pair),
            Some(PairFailure::Refused(StanzaCondition::PolicyViolation)),
            "{}",
            pair.transcript()
        );
        assert!(pair.proofs().is_empty() && !pair.said.contains("EXTERNAL"));
    }
    // … in both directions.
    for (certificate, ended) in
        [(Certificate::Worthless, Ended::CertificateRefused), (Certificate::Absent, Ended::CertificateAbsent)]
    {
        for port in [Port::StartTls, Port::DirectTls] {
            let b = Ways { certificate, ..Ways::good() };
            let pair = Pair::new(Setting::new(Ways::good(), b, port));
            assert_eq!(pair.ended(), Some(&ended));
            assert!(pair.proofs().is_empty() && !pair.out_has("Ready"));
        }
    }
}

#[test]
fn tls_that_is_required_and_not_there() {
    let pair = Pair::new(Setting::new(Ways::good(), Ways::clear(), Port::Clear));
    assert_eq!(pair.ended(), Some(&Ended::TlsUnavailable), "{}", pair.transcript());
    assert!(pair.said.ends_with("</stream:stream>\n"), "closed in order: {}", pair.said);
    assert_eq!(Ended::TlsUnavailable.to_string(), "it does not do TLS, which is required");
}

#[test]
fn no_way_to_log_in() {
    // We may use EXTERNAL only, and the peer does not offer it: our certificate does not hold.
    let a = Ways { certificate: Certificate::Worthless, ..Ways::good().without_dialback() };
    let pair = Pair::new(Setting::new(a, Ways::good(), Port::StartTls));
    assert_eq!(pair.ended(), Some(&Ended::NoMechanism), "{}", pair.transcript());
}

#[test]
fn an_authoritative_server_that_cannot_be_asked() {
    let setting = Setting::new(Ways::self_signed(), Ways::self_signed(), Port::StartTls);
    let pair = Pair::new(Setting { authoritative: Authoritative::Unreachable, ..setting });
    assert_eq!(refusal(&pair), Some(PairFailure::Refused(StanzaCondition::RemoteServerNotFound)));
    assert_eq!(pair.ended(), None, "XEP-0220 §2.4: an error does not end the stream");

    let mut pair = Pair::new(Setting { authoritative: Authoritative::Silent, ..setting });
    pair.wait(Duration::from_secs(30));
    assert_eq!(refusal(&pair), Some(PairFailure::Timeout));
    assert!(!pair.out.is_ready(&domain("a.example")));
    pair.wait(Duration::from_secs(30));
    assert!(matches!(pair.ended(), Some(Ended::Timeout | Ended::Stream(Closed::ByPeer(_)))), "{:?}", pair.ended());
}

#[test]
fn further_local_domains_on_one_stream() {
    // The certificate covers the first domain only: the second one is dialled back.
    let ways = Ways { certificate: Certificate::First, ..Ways::good() };
    let b = Ways { policy: Ways::self_signed().policy, ..Ways::good() };
    let a = Ways { policy: Ways::self_signed().policy, ..ways };
    let mut pair = Pair::new(Setting::new(a, b, Port::StartTls));
    pair.command(Command::AddLocal(domain("a2.example")));
    assert_eq!(
        pair.proofs(),
        [proved("a.example", "b.example", Proof::External), proved("a2.example", "b.example", Proof::Dialback)],
        "{}",
        pair.transcript()
    );
    pair.send(&stanza("<presence xmlns='jabber:client' from='r@a2.example' to='j@b.example'/>")).unwrap();
    assert_eq!(pair.stanzas().len(), 1);
    // Asked again, it is ready at once.
    let said = pair.said.len();
    pair.command(Command::AddLocal(domain("a2.example")));
    assert_eq!(pair.said.len(), said);
    assert_eq!(pair.out_events.iter().filter(|event| matches!(event, Event::Ready(_))).count(), 3);
    // Where the certificate covers it, nobody is dialled.
    let mut pair = Pair::new(Setting::new(Ways::good(), Ways::good(), Port::StartTls));
    pair.command(Command::AddLocal(domain("a2.example")));
    assert_eq!(pair.proofs()[1], proved("a2.example", "b.example", Proof::Certificate));
    // A stranger's domain is not proved by either.
    pair.command(Command::AddLocal(domain("gone.example")));
    assert_eq!(pair.proofs().len(), 3, "this certificate holds for everything");
    let mut pair = Pair::new(Setting::new(a, b, Port::StartTls));
    pair.command(Command::AddLocal(domain("other.example")));
    assert_eq!(
        refusal(&pair),
        Some(PairFailure::Refused(StanzaCondition::RemoteServerNotFound)),
        "{}",
        pair.transcript()
    );
}

#[test]
fn a_stanza_is_sent_or_not() {
    let mut pair = Pair::new(Setting::new(Ways::good(), Ways::good(), Port::StartTls));
    let cases = [
        ("<message xmlns='jabber:client' from='r@a2.example' to='j@b.example'/>", Unsent::NotReady),
        ("<message xmlns='jabber:client' to='j@b.example'/>", Unsent::NotReady),
        ("<message xmlns='jabber:client' from='r@a.example' to='j@c.example'/>", Unsent::Misaddressed),
    ];
    for (xml, wanted) in cases {
        assert_eq!(pair.send(&stanza(xml)), Err(wanted), "{xml}");
    }
    pair.command(Command::Close(None));
    assert_eq!(pair.ended(), Some(&Ended::Stream(Closed::Cleanly)));
    assert!(pair.in_events.iter().any(|event| matches!(event, s2s_in::Event::Closed(Closed::Cleanly))));
    assert_eq!(pair.send(&hello(1)), Err(Unsent::NotReady));
    assert!(pair.stanzas().is_empty());
}

#[test]
fn abuse_136_nothing_beyond_the_peers_limit_is_sent() {
    let mut pair = Pair::new(Setting::new(Ways::good(), Ways::good(), Port::StartTls));
    let of = |bytes: usize| {
        let body = "x".repeat(bytes);
        stanza(&format!(
            "<message xmlns='jabber:client' from='r@a.example' to='j@b.example'><body>{body}</body></message>"
        ))
    };
    pair.send(&of(524_100)).unwrap();
    assert_eq!(pair.stanzas().len(), 1);
    assert_eq!(pair.send(&of(524_288)), Err(Unsent::TooLarge));
    assert_eq!(pair.ended(), None);
    talk_after(&mut pair);
}

fn talk_after(pair: &mut Pair) {
    let before = pair.stanzas().len();
    pair.send(&hello(9)).unwrap();
    assert_eq!(pair.stanzas().len(), before + 1);
}

#[test]
fn xep0220_2_2_questions_about_keys() {
    let setting = Setting::new(Ways::self_signed(), Ways::self_signed(), Port::StartTls);
    let question = |from: &str, to: &str, key: &str| Question {
        from: domain(from),
        to: domain(to),
        stream_id: "some stream".to_owned(),
        key: key.to_owned(),
    };
    let mut pair = Pair::between(setting, Name::A, "a.example", "b.example", Purpose::Verification);
    assert!(pair.out_has("Open"));
    assert!(!pair.said.contains("db:result"), "nothing is to be proved: {}", pair.said);
    pair.command(Command::Verify(question("a.example", "b.example", "not the key")));
    pair.command(Command::Verify(question("a.example", "nobody.example", "not the key")));
    pair.command(Command::Verify(question("a.example", "b.example", "")));
    let answers: Vec<_> = pair
        .out_events
        .iter()
        .filter_map(|event| match event {
            Event::Verified { answer, .. } => Some(*answer),
            _ => None,
        })
        .collect();
    assert_eq!(
        answers,
        [Dialback::Invalid, Dialback::Failed(StanzaCondition::ItemNotFound), Dialback::Invalid],
        "{}",
        pair.transcript()
    );
    // It stays open for more than a stranger may say at once, as long as it is of use.
    for _ in 0..200 {
        pair.command(Command::Verify(question("a.example", "b.example", "k")));
    }
    assert_eq!(pair.ended(), None, "{:?}", pair.in_events.last());
    pair.wait(Duration::from_secs(120));
    assert_eq!(pair.ended(), None);
    // The bound of open questions.
    for n in 0..70 {
        let question = Question { stream_id: n.to_string(), ..question("a.example", "b.example", "k") };
        pair.out.command(pair.now, Command::Verify(question));
    }
    pair.run();
    let full = Dialback::Failed(StanzaCondition::ResourceConstraint);
    let refused = |event: &&Event| matches!(event, Event::Verified { answer, .. } if *answer == full);
    assert_eq!(pair.out_events.iter().filter(refused).count(), 6);
}

#[test]
fn an_idle_stream_is_closed_by_who_receives() {
    let mut pair = Pair::new(Setting::new(Ways::good(), Ways::good(), Port::StartTls));
    // Our spaces keep it.
    for _ in 0..10 {
        pair.wait(Duration::from_secs(300));
        assert_eq!(pair.ended(), None);
    }
    talk(&mut pair);
    // Without them it ends.
    pair.now += Duration::from_secs(15 * 60);
    pair.inn.on_timeout(pair.now);
    pair.run();
    assert_eq!(pair.ended(), Some(&Ended::Stream(Closed::Cleanly)));
}

/// A long conversation, for one way of cutting it.
fn conversation(setting: Setting, piece: usize) -> String {
    let mut pair = Pair::new(Setting { piece, ..setting });
    let _ = pair.send(&hello(1));
    pair.command(Command::AddLocal(domain("a2.example")));
    pair.command(Command::Verify(Question {
        from: domain("a.example"),
        to: domain("b.example"),
        stream_id: "1".to_owned(),
        key: "k".to_owned(),
    }));
    let _ = pair.send(&hello(2));
    pair.command(Command::Close(None));
    assert!(pair.most_held < 64 * 1024, "{}", pair.most_held);
    pair.transcript()
}

#[test]
fn abuse_22_cut_anywhere_it_is_the_same_stream() {
    let settings = [
        Setting::new(Ways::good(), Ways::good(), Port::StartTls),
        Setting::new(Ways::self_signed(), Ways::self_signed(), Port::StartTls),
        Setting::new(Ways::good(), Ways::good(), Port::DirectTls),
        Setting::new(Ways::clear(), Ways::clear(), Port::Clear),
        Setting::new(Ways::good(), Ways::self_signed(), Port::StartTls),
    ];
    for setting in settings {
        let whole = conversation(setting, usize::MAX);
        for piece in [1, 2, 3, 7, 50, 333] {
            assert_eq!(conversation(setting, piece), whole, "pieces of {piece}");
        }
    }
}

#[test]
fn the_trail_tells_what_happened_in_words() {
    let pair = Pair::new(Setting::new(Ways::good(), Ways::self_signed(), Port::StartTls));
    let told = |pair: &Pair| {
        let step = |event: &Event| match event {
            Event::Note(step) => Some(step.to_string()),
            _ => None,
        };
        pair.out_events.iter().filter_map(step).collect::<Vec<_>>()
    };
    assert_eq!(
        told(&pair),
        [
            "the stream of b.example was opened",
            "it offers STARTTLS: required, EXTERNAL: no, dialback: no, acknowledgements: no; takes stanzas of 10000 bytes at most",
            "the TLS handshake begins",
            "TLS is established",
            "its certificate is not good for b.example",
        ]
    );
    assert_eq!(pair.ended().unwrap().to_string(), "its certificate does not hold");

    let pair = Pair::new(Setting::new(Ways::self_signed(), Ways::self_signed(), Port::DirectTls));
    assert_eq!(
        told(&pair),
        [
            "TLS is established",
            "its certificate is not good for b.example",
            "the stream of b.example was opened",
            "it offers STARTTLS: no, EXTERNAL: no, dialback: yes, acknowledgements: yes; takes stanzas of 524288 bytes at most",
            "a dialback key of a.example was sent to b.example",
            "dialback of a.example to b.example: valid",
            "it acknowledges stanzas",
        ]
    );
    let heard = |pair: &Pair| {
        let step = |event: &s2s_in::Event| match event {
            s2s_in::Event::Note(step) => Some(step.to_string()),
            _ => None,
        };
        pair.in_events.iter().filter_map(step).collect::<Vec<_>>()
    };
    assert_eq!(
        heard(&pair),
        [
            "TLS is established",
            "the stream of a.example was opened",
            "its certificate is not good for a.example",
            "a dialback key of a.example came for b.example",
            "dialback of a.example to b.example: valid",
        ]
    );

    let pair = Pair::new(Setting::new(Ways::good(), Ways::good(), Port::StartTls));
    assert_eq!(
        heard(&pair),
        [
            "the stream of a.example was opened",
            "the TLS handshake begins",
            "TLS is established",
            "the stream of a.example was opened",
            "its certificate is good for a.example",
            "a.example is logged in by certificate",
            "the stream of a.example was opened",
        ]
    );

    assert_eq!(
        told(&pair)[7..],
        [
            "log-in as a.example by certificate (SASL EXTERNAL)",
            "a.example is logged in by certificate",
            "the stream of b.example was opened",
            "it offers STARTTLS: no, EXTERNAL: no, dialback: yes, acknowledgements: yes; takes stanzas of 524288 bytes at most",
            "it acknowledges stanzas",
        ]
    );

    let nameless = Ways { certificate: Certificate::Absent, ..Ways::good() };
    let pair = Pair::new(Setting::new(Ways::good(), nameless, Port::DirectTls));
    assert_eq!(told(&pair), ["TLS is established", "it presented no certificate"]);
    let anonymous = Ways { certificate: Certificate::Absent, ..Ways::self_signed() };
    let pair = Pair::new(Setting::new(anonymous, Ways::self_signed(), Port::DirectTls));
    assert_eq!(heard(&pair)[..2], ["TLS is established", "it presented no certificate"]);
}
