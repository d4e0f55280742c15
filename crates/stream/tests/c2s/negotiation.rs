//! Headers, features, binding, and the end of streams.

use crate::harness::{Answers, BIND, HEADER, STARTTLS, Server, account, config};
use stonechat_stanza::{StanzaCondition, StreamCondition};
use stonechat_stream::c2s::{Command, Event, Transport};
use stonechat_stream::{Closed, Registration};

#[test]
fn rfc6120_4_the_whole_way_with_starttls() {
    let mut server = Server::new(Transport::StartTls);
    let features = server.send(HEADER);
    assert!(features.starts_with("<?xml version='1.0'?><stream:stream xmlns='jabber:client'"), "{features}");
    assert!(features.contains(" from='a.example' id='"), "{features}");
    assert!(features.contains(" version='1.0' xml:lang='en'>"), "{features}");
    assert!(!features.contains("xmlns:db"), "dialback is for servers: {features}");
    assert!(features.contains("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"));
    assert!(!features.contains("mechanism"), "abuse 42: nothing to log in with before TLS: {features}");
    assert_eq!(server.send(STARTTLS), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    let features = server.send(HEADER);
    assert!(!features.contains("starttls"), "{features}");
    for part in ["<mechanism>SCRAM-SHA-512-PLUS</mechanism>", "<mechanism>PLAIN</mechanism>", "type='tls-exporter'"] {
        assert!(features.contains(part), "{part} in {features}");
    }
    assert!(features.contains("<max-bytes>10000</max-bytes>"), "{features}");
    server.log_in();
    let features = server.send(HEADER);
    assert!(features.contains("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"), "{features}");
    assert!(features.contains("<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>"));
    assert!(features.contains("<ver xmlns='urn:xmpp:features:rosterver'/>"), "{features}");
    assert!(features.contains("<max-bytes>262144</max-bytes>"), "{features}");
    let bound = server.send(BIND);
    assert_eq!(
        bound,
        "<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <jid>user@a.example/balcony</jid></bind></iq>"
    );
    assert_eq!(server.machine.bound().unwrap().as_str(), "user@a.example/balcony");
    assert!(server.events.iter().any(|event| matches!(event, Event::Authenticated(who) if *who == account())));
    assert_eq!(server.machine.poll_timeout().unwrap() - server.now, std::time::Duration::from_secs(600));
}

fn header(attributes: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
         {attributes}>"
    )
}

#[test]
fn abuse_24_to_28_headers() {
    let version = "version='1.0'";
    let cases = [
        ("<stream:stream xmlns='jabber:client' xmlns:stream='urn:x' to='a.example' version='1.0'>".to_owned(), {
            StreamCondition::InvalidNamespace
        }),
        (
            "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' to='a.example' \
             version='1.0'>"
                .to_owned(),
            StreamCondition::InvalidNamespace,
        ),
        ("<html xmlns='jabber:client'>".to_owned(), StreamCondition::BadFormat),
        (header("to='a.example'"), StreamCondition::UnsupportedVersion),
        (header("to='a.example' version='0.9'"), StreamCondition::UnsupportedVersion),
        (header("to='a.example' version='one'"), StreamCondition::UnsupportedVersion),
        (header("to='a.example' version='1.x'"), StreamCondition::UnsupportedVersion),
        (header(version), StreamCondition::ImproperAddressing),
        (header(&format!("to='a@' {version}")), StreamCondition::ImproperAddressing),
        (header(&format!("to='other.example' {version}")), StreamCondition::HostUnknown),
        (header(&format!("to='gone.example' {version}")), StreamCondition::HostGone),
    ];
    for (header, condition) in cases {
        let mut server = Server::new(Transport::DirectTls);
        let answer = server.send(&header);
        assert_eq!(server.ended_with(), Some(condition), "{header}");
        // RFC 6120 §4.9.1.2: our header, the error, the footer; the header says a name we answer to.
        assert!(answer.starts_with("<?xml version='1.0'?><stream:stream "), "{answer}");
        assert!(answer.contains(" from='a.example' "), "{answer}");
        assert!(answer.contains(&format!("<stream:error><{} xmlns=", condition.name())), "{answer}");
        assert!(answer.ends_with("</stream:error></stream:stream>"), "{answer}");
    }
}

#[test]
fn rfc6120_4_7_3_each_stream_has_an_id_that_nobody_foresees() {
    let id = |answer: &str| {
        let (_, rest) = answer.split_once(" id='").expect("an id");
        rest.split_once('\'').expect("its end").0.to_owned()
    };
    let mut server = Server::new(Transport::DirectTls);
    let first = id(&server.send(HEADER));
    server.log_in();
    let second = id(&server.send(HEADER));
    assert!(first != second && first.len() >= 32 && second.len() >= 32, "{first} {second}");
}

#[test]
fn abuse_26_a_later_version_is_answered_with_ours() {
    let mut server = Server::new(Transport::DirectTls);
    let answer = server.send(&header("to='a.example' version='2.0'"));
    assert!(answer.contains(" version='1.0' ") && server.closed().is_none(), "{answer}");
}

#[test]
fn abuse_23_something_else_than_xmpp_ends_at_once() {
    for other in ["GET / HTTP/1.1\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}"] {
        let mut server = Server::new(Transport::StartTls);
        let answer = server.send(other);
        assert!(answer.contains("<stream:error>"), "{answer}");
        assert!(server.closed().is_some());
    }
}

#[test]
fn rfc6120_4_7_2_the_header_names_the_client_when_the_client_did() {
    let mut server = Server::new(Transport::DirectTls);
    let answer = server.send(&header("to='a.example' from='user@a.example' version='1.0'"));
    assert!(answer.contains(" to='user@a.example' "), "{answer}");
}

#[test]
fn abuse_29_who_a_header_claims_to_be_counts_after_authentication() {
    for (from, allowed) in
        [("user@a.example", true), ("USER@a.example/x", true), ("other@a.example", false), ("", false)]
    {
        let mut server = Server::new(Transport::DirectTls);
        let claiming = header(&format!("to='a.example' from='{from}' version='1.0'"));
        server.send(&claiming);
        assert_eq!(server.closed(), None, "before: {from}");
        server.log_in();
        server.send(&claiming);
        assert_eq!(server.ended_with(), (!allowed).then_some(StreamCondition::InvalidFrom), "after: {from}");
    }
}

#[test]
fn abuse_30_to_is_frozen_over_tls_and_authentication() {
    let other = header("to='b.example' version='1.0'");
    let mut server = Server::new(Transport::StartTls);
    server.send(HEADER);
    server.send(STARTTLS);
    server.send(&other);
    assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized));

    let mut server = Server::new(Transport::DirectTls);
    server.send(HEADER);
    server.log_in();
    let answer = server.send(&other);
    assert!(answer.starts_with("<?xml version='1.0'?><stream:stream "), "the new stream is opened first: {answer}");
    assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized));
}

#[test]
fn abuse_31_no_stanza_before_authentication() {
    for stanza in [
        "<message to='b@a.example'><body>x</body></message>",
        "<presence/>",
        "<iq type='get' id='1'><q xmlns='x'/></iq>",
    ] {
        let mut server = Server::new(Transport::DirectTls);
        server.send(HEADER);
        server.send(stanza);
        assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized), "{stanza}");
        assert!(server.stanzas().is_empty());
    }
}

#[test]
fn abuse_32_before_a_resource_is_bound_only_the_server_is_there() {
    let cases = [
        "<message to='b@a.example'><body>x</body></message>",
        "<presence/>",
        "<iq type='get' id='1' to='b@a.example'><q xmlns='x'/></iq>",
        "<iq type='set' id='1' to='b.example'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
        "<iq type='set' id='1' to='b.example'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
        "<iq type='set' id='1' to='other@a.example'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
        "<iq type='get' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
        "<iq type='get' id='1'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
        "<iq type='set' id='1'><q xmlns='x'/></iq>",
    ];
    for stanza in cases {
        let mut server = Server::new(Transport::DirectTls);
        server.send(HEADER);
        server.log_in();
        server.send(HEADER);
        server.send(stanza);
        assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized), "{stanza}");
        assert!(server.stanzas().is_empty());
    }
}

#[test]
fn abuse_33_binding() {
    let mut server = Server::bound();
    let again = server.send(BIND);
    assert!(again.contains("type='error'") && again.contains("<not-allowed "), "{again}");
    assert_eq!(server.machine.bound().unwrap().as_str(), "user@a.example/balcony");

    for condition in [StanzaCondition::BadRequest, StanzaCondition::ResourceConstraint] {
        let mut server = Server::new(Transport::DirectTls);
        server.send(HEADER);
        server.log_in();
        server.send(HEADER);
        server.refuse_bind = Some(condition);
        let answer = server.send(BIND);
        assert!(answer.contains(condition.name()) && answer.contains("id='b'"), "{answer}");
        server.refuse_bind = None;
        assert!(server.send(BIND).contains("type='result'"), "a client may try another resource");
    }
}

/// Authenticated, and not bound.
fn binding() -> Server {
    let mut server = Server::new(Transport::DirectTls);
    server.send(HEADER);
    server.log_in();
    server.send(HEADER);
    server
}

#[test]
fn rfc6120_7_1_who_binds_addresses_nobody_the_server_or_the_own_account() {
    for to in ["", "to='a.example'", "to='user@a.example'"] {
        let bind = format!("<iq type='set' id='b' {to}><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
        assert_eq!(
            binding().send(&bind),
            "<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <jid>user@a.example/made</jid></bind></iq>",
            "an answer of the stream has no sender: {to}"
        );
    }
}

#[test]
fn rfc6120_8_3_1_a_malformed_request_before_a_resource_is_bound_is_answered_and_the_stream_goes_on() {
    let mut server = binding();
    let answer = server.send("<iq type='bad' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
    assert!(answer.contains("type='error'") && answer.contains("<bad-request "), "{answer}");
    assert!(server.send(BIND).contains("type='result'"));
}

#[test]
fn rfc6120_7_7_an_empty_resource_is_no_wish() {
    for bind in [
        "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>",
        "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource/></bind>",
    ] {
        let mut server = Server::new(Transport::DirectTls);
        server.send(HEADER);
        server.log_in();
        server.send(HEADER);
        server.send(&format!("<iq type='set' id='b' to='a.example'>{bind}</iq>"));
        assert_eq!(server.machine.bound().unwrap().resource(), "made");
    }
}

#[test]
fn rfc3921_3_a_session_is_established_by_saying_so() {
    let session = "<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>";
    let mut server = Server::bound();
    assert_eq!(server.send(session), "<iq to='user@a.example/balcony' type='result' id='s'/>");
    assert!(server.stanzas().is_empty());
    // Some do so before they have bound a resource.
    let mut early = binding();
    assert_eq!(early.send(session), "<iq type='result' id='s'/>");
    assert!(early.send(BIND).contains("type='result'"));
}

#[test]
fn abuse_35_what_is_no_stanza_ends_the_stream() {
    let mut server = Server::bound();
    server.send("<weather xmlns='jabber:client'/>");
    assert_eq!(server.ended_with(), Some(StreamCondition::UnsupportedStanzaType));
    let mut server = Server::bound();
    server.send("<message xmlns='jabber:server'/>");
    assert_eq!(server.ended_with(), Some(StreamCondition::UnsupportedStanzaType));
    let mut server = Server::new(Transport::DirectTls);
    server.send(HEADER);
    server.send("<weather xmlns='urn:x'/>");
    assert_eq!(server.ended_with(), Some(StreamCondition::UnsupportedStanzaType));
}

#[test]
fn abuse_36_a_stream_is_opened_once() {
    let mut server = Server::bound();
    server.send(HEADER);
    assert!(matches!(server.closed(), Some(Closed::ByUs(_))), "{:?}", server.closed());
}

#[test]
fn abuse_16_no_more_than_10_000_bytes_before_authentication() {
    let space = " ".repeat(5_000);
    let large =
        format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{}</auth>", "A".repeat(20_000));
    let many = "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
    for piece in [1, 100, usize::MAX] {
        let mut server = Server::new(Transport::DirectTls);
        server.send(HEADER);
        server.send_cut(space.as_bytes(), piece);
        assert_eq!(server.closed(), None);
        server.send_cut(space.as_bytes(), piece);
        assert_eq!(server.ended_with(), Some(StreamCondition::PolicyViolation));

        let mut server = Server::new(Transport::DirectTls);
        server.send(HEADER);
        server.send_cut(large.as_bytes(), piece);
        assert_eq!(server.ended_with(), Some(StreamCondition::PolicyViolation));
        assert!(server.most_held <= 64 * 1024, "P4: {}", server.most_held);

        // A log-in that is begun and given up again and again.
        let mut server = Server::new(Transport::DirectTls);
        server.send(HEADER);
        let begin = crate::harness::auth_text("SCRAM-SHA-256", "");
        for _ in 0..200 {
            server.send_cut(begin.as_bytes(), piece);
            server.send_cut(many.as_bytes(), piece);
        }
        assert_eq!(server.ended_with(), Some(StreamCondition::PolicyViolation));
    }
}

#[test]
fn what_comes_while_an_answer_is_awaited_stays_in_order_and_bounded() {
    let mut server = Server::new(Transport::DirectTls);
    server.send(HEADER);
    server.log_in();
    server.send(HEADER);
    server.answers = Answers::Never;
    server.send(&format!("{BIND}<message id='1'/><message id='2'/>"));
    assert!(!server.machine.wants_input());
    server.send("<message id='3'/>");
    assert!(server.stanzas().is_empty());
    let Some(Event::Bind(token, ..)) = server.events.last() else { panic!("{:?}", server.events) };
    let token = *token;
    let jid = stonechat_jid::FullJid::parse("user@a.example/x").unwrap();
    let received = server.command(Command::Bound(token, jid.clone()));
    assert!(received.contains("type='result'"));
    assert_eq!(server.stanzas().len(), 3);
    for (stanza, id) in server.stanzas().iter().zip(["1", "2", "3"]) {
        assert!(stanza.contains(&format!("id='{id}'")), "{stanza}");
    }
    // An answer to a question that is not open.
    assert_eq!(server.command(Command::Bound(token, jid)), "");

    let mut server = Server::new(Transport::DirectTls);
    server.send(HEADER);
    server.log_in();
    server.send(HEADER);
    server.answers = Answers::Never;
    server.send(BIND);
    for _ in 0..100 {
        server.send(&" ".repeat(1_000));
    }
    assert_eq!(server.ended_with(), Some(StreamCondition::PolicyViolation));
    assert!(server.most_held <= 70 * 1024);
}

#[test]
fn rfc6120_4_4_closing_in_both_directions() {
    // The client closes.
    let mut server = Server::bound();
    assert_eq!(server.send("</stream:stream>"), "</stream:stream>");
    assert_eq!(server.closed(), Some(&Closed::Cleanly));
    // Its end is answered when what it sent is safe, and not before; whatever else happens until then.
    let leaving = || {
        let mut server = Server::bound();
        server.answers = Answers::Never;
        assert_eq!(server.send("<message/></stream:stream><message/>"), "");
        assert!(matches!(server.events.last(), Some(Event::Leaving)), "{:?}", server.events.last());
        assert_eq!((server.stanzas().len(), server.closed()), (1, None));
        server.wait(std::time::Duration::from_secs(3600));
        assert_eq!((server.take(), server.closed()), (String::new(), None));
        server
    };
    for command in [Command::Leave, Command::Close(None)] {
        let mut server = leaving();
        assert_eq!(server.command(command), "</stream:stream>");
        assert_eq!(server.closed(), Some(&Closed::Cleanly));
    }
    let mut server = leaving();
    server.machine.on_eof();
    assert!(matches!(server.machine.poll_event(), Some(Event::Closed(Closed::Cleanly))));
    // We close; stanzas on their way do not matter any more.
    let mut server = Server::bound();
    assert_eq!(server.command(Command::Close(None)), "</stream:stream>");
    assert_eq!(server.closed(), None);
    assert_eq!(server.send("<message/></stream:stream>"), "");
    assert_eq!(server.closed(), Some(&Closed::Cleanly));
    assert!(server.stanzas().is_empty());
    // We close, and the client says nothing.
    let mut server = Server::bound();
    server.command(Command::Close(None));
    assert_eq!(server.machine.poll_timeout().unwrap() - server.now, std::time::Duration::from_secs(5));
    server.wait(std::time::Duration::from_secs(4));
    assert_eq!(server.closed(), None);
    server.wait(std::time::Duration::from_secs(1));
    assert_eq!(server.closed(), Some(&Closed::Unanswered));
    // What it says then need not be XML any more.
    let mut server = Server::bound();
    server.command(Command::Close(None));
    assert_eq!(server.send("<x></y>"), "");
    assert_eq!(server.closed(), Some(&Closed::Unanswered));
    // A stream is opened before it is closed (§4.9.1.2).
    let mut server = Server::new(Transport::DirectTls);
    let answer = server.command(Command::Close(None));
    assert!(answer.starts_with("<?xml version='1.0'?><stream:stream ") && answer.ends_with("></stream:stream>"));
    // We end it with an error.
    let mut server = Server::bound();
    let answer = server.command(Command::Close(Some(StreamCondition::Conflict.into())));
    assert_eq!(
        answer,
        "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
    );
    // The client ends it with an error.
    let mut server = Server::bound();
    let error = "<stream:error><xml-not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
    assert_eq!(server.send(error), "</stream:stream>");
    assert!(matches!(server.closed(), Some(Closed::ByPeer(_))));
    // The connection breaks in the middle of a stanza (abuse 49).
    let mut server = Server::bound();
    server.send("<message><body>half");
    server.machine.on_eof();
    assert!(matches!(server.machine.poll_event(), Some(Event::Closed(Closed::Lost))));
    assert!(server.machine.poll_event().is_none());
}

#[test]
fn nothing_follows_the_end() {
    let mut server = Server::bound();
    server.command(Command::Close(Some(StreamCondition::Reset.into())));
    server.events.clear();
    assert_eq!(server.send("<message/>"), "");
    assert_eq!(server.command(Command::Close(None)), "");
    server.machine.on_eof();
    assert!(server.events.is_empty() && server.machine.poll_event().is_none());
    assert_eq!(server.machine.poll_timeout(), None);
    assert!(!server.machine.wants_input());
}

#[test]
fn xep0077_registration_before_authentication_when_it_is_offered() {
    let get = "<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>";
    let mut server = Server::with(config(Transport::DirectTls, Registration::Offered));
    assert!(server.send(HEADER).contains("<register xmlns='http://jabber.org/features/iq-register'/>"));
    server.send(get);
    let Some(Event::Register(domain, stanza)) = server.events.last() else { panic!("{:?}", server.events) };
    assert_eq!(domain.as_str(), "a.example");
    let reply = stanza.iq_result(None);
    assert_eq!(server.command(Command::Send(reply)), "<iq type='result' id='r'/>");
    let refused = server.send("<iq type='bad' id='r'><query xmlns='jabber:iq:register'/></iq>");
    assert!(refused.contains("type='error'") && refused.contains("<bad-request "), "{refused}");
    assert_eq!(server.closed(), None);
    server.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
    assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized));
    for other in [
        "<iq type='result' id='r'><query xmlns='jabber:iq:register'/></iq>",
        "<message><query xmlns='jabber:iq:register'/></message>",
    ] {
        let mut server = Server::with(config(Transport::DirectTls, Registration::Offered));
        server.send(HEADER);
        server.send(other);
        assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized), "{other}");
        assert!(!server.events.iter().any(|event| matches!(event, Event::Register(..))), "{other}");
    }
    // In the middle of a log-in nothing else is done.
    let mut server = Server::with(config(Transport::DirectTls, Registration::Offered));
    server.send(HEADER);
    server.send(&crate::harness::auth("SCRAM-SHA-256", b"n,,n=user,r=abc"));
    server.send(get);
    assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized));

    // Not before TLS, and not where it is closed.
    let mut server = Server::with(config(Transport::StartTls, Registration::Offered));
    assert!(!server.send(HEADER).contains("register"));
    server.send(get);
    assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized));
    let mut server = Server::new(Transport::DirectTls);
    server.send(HEADER);
    server.send(get);
    assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized));
}
