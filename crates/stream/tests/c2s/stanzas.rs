//! What becomes of a bound client's stanzas.

use crate::harness::Server;
use stonechat_stanza::StreamCondition;
use stonechat_stream::c2s::Event;

#[test]
fn abuse_65_the_sender_is_stamped() {
    for from in ["", "from='user@a.example'", "from='user@a.example/balcony'", "from='USER@A.example'"] {
        let mut server = Server::bound();
        server.send(&format!("<message {from} to='x@b.example'><body>hi</body></message>"));
        assert_eq!(server.stanzas().len(), 1, "{from}");
        assert!(server.stanzas()[0].contains("from='user@a.example/balcony'"), "{:?}", server.stanzas());
    }
    for from in ["other@a.example", "a.example", "user@a.example/other", "user@b.example/balcony"] {
        let mut server = Server::bound();
        server.send(&format!("<message from='{from}' to='x@b.example'><body>hi</body></message>"));
        assert_eq!(server.ended_with(), Some(StreamCondition::InvalidFrom), "{from}");
        assert!(server.stanzas().is_empty());
    }
}

#[test]
fn rfc6120_8_1_1_1_an_absent_to_stays_absent() {
    let mut server = Server::bound();
    server.send("<presence/>");
    assert!(!server.stanzas()[0].contains(" to="), "{:?}", server.stanzas());
}

#[test]
fn abuse_66_malformed_stanzas_are_answered_and_the_stream_goes_on() {
    let cases = [
        ("<iq type='get'><q xmlns='urn:x'/></iq>", "bad-request"),
        ("<iq type='ask' id='1'><q xmlns='urn:x'/></iq>", "bad-request"),
        ("<iq type='get' id='1'/>", "bad-request"),
        ("<iq type='get' id='1'><q xmlns='urn:x'/><r xmlns='urn:x'/></iq>", "bad-request"),
        ("<message to='@a.example'/>", "jid-malformed"),
        ("<presence type='strange'/>", "bad-request"),
    ];
    for (stanza, condition) in cases {
        let mut server = Server::bound();
        let answer = server.send(stanza);
        assert!(answer.contains("type='error'") && answer.contains(&format!("<{condition} ")), "{stanza}: {answer}");
        server.send("<message to='x@b.example'/>");
        assert_eq!(server.stanzas().len(), 1, "{stanza}");
        assert_eq!(server.closed(), None);
    }
    let mut server = Server::bound();
    assert_eq!(server.send("<iq type='result' to='@'/><iq type='error'/>"), "", "never answered");
    assert!(server.stanzas().is_empty());
}

#[test]
fn abuse_73_what_only_the_server_may_say_is_cut() {
    let cut = [
        "<delay xmlns='urn:xmpp:delay' from='a.example' stamp='2000-01-01T00:00:00Z'/>",
        "<delay xmlns='urn:xmpp:delay' from='user@a.example' stamp='2000-01-01T00:00:00Z'/>",
        "<delay xmlns='urn:xmpp:delay' from='b.example' stamp='2000-01-01T00:00:00Z'/>",
        "<stanza-id xmlns='urn:xmpp:sid:0' by='user@a.example' id='1'/>",
        "<stanza-id xmlns='urn:xmpp:sid:0' by='A.EXAMPLE' id='1'/>",
        // The recipient's archive, at another domain of ours.
        "<stanza-id xmlns='urn:xmpp:sid:0' by='x@b.example' id='1'/>",
        "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='1'/>",
        "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></received>",
        "<sent xmlns='urn:xmpp:carbons:2'/>",
        "<result xmlns='urn:xmpp:mam:2' id='1'/>",
        "<fin xmlns='urn:xmpp:mam:2'/>",
    ];
    for child in cut {
        let mut server = Server::bound();
        server.send(&format!(
            "<message to='x@b.example'><body>hi</body>{child}<origin-id xmlns='urn:xmpp:sid:0' id='o'/></message>"
        ));
        assert_eq!(
            server.stanzas(),
            ["<message xmlns='jabber:client' from='user@a.example/balcony' to='x@b.example'><body>hi</body>\
              <origin-id xmlns='urn:xmpp:sid:0' id='o'/></message>"],
            "{child}"
        );
    }
    let kept = [
        "<delay xmlns='urn:xmpp:delay' from='room@far.example' stamp='2000-01-01T00:00:00Z'/>",
        "<stanza-id xmlns='urn:xmpp:sid:0' by='room@far.example' id='1'/>",
        "<private xmlns='urn:xmpp:carbons:2'/>",
        "<query xmlns='urn:xmpp:mam:2'/>",
    ];
    for child in kept {
        let mut server = Server::bound();
        server.send(&format!("<message to='x@b.example'>{child}</message>"));
        assert!(server.stanzas()[0].contains(child), "{child}: {:?}", server.stanzas());
    }
}

#[test]
fn rfc6120_8_1_5_the_language_of_the_stream_is_that_of_its_stanzas() {
    let header = crate::harness::HEADER.replace("to=", "xml:lang='de' to=");
    let mut server = Server::new(stonechat_stream::c2s::Transport::DirectTls);
    server.send(&header);
    server.log_in();
    server.send(&header);
    server.send(crate::harness::BIND);
    server.send("<message to='x@b.example'/><message to='x@b.example' xml:lang='fr'/>");
    assert!(server.stanzas()[0].contains("xml:lang='de'"), "{:?}", server.stanzas());
    assert!(server.stanzas()[1].contains("xml:lang='fr'"), "{:?}", server.stanzas());
}

#[test]
fn abuse_33_a_bind_or_session_for_another_domain_is_no_affair_of_the_stream() {
    let mut server = Server::bound();
    server.send("<iq type='set' id='1' to='far.example'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
    server.send("<iq type='set' id='2' to='far.example'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>");
    assert_eq!(server.stanzas().len(), 2);
    // Nor is what only looks like one, or is for somebody here.
    for iq in [
        "<iq type='get' id='3'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
        "<iq type='get' id='4'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
        "<iq type='set' id='5' to='other@a.example'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
        "<iq type='set' id='6' to='a.example'><query xmlns='jabber:iq:private'/></iq>",
        "<iq type='set' id='7'><query xmlns='jabber:iq:roster'/></iq>",
    ] {
        let before = server.stanzas().len();
        assert_eq!(server.send(iq), "", "{iq}");
        assert_eq!(server.stanzas().len(), before + 1, "{iq}");
    }
}

#[test]
fn abuse_15_and_13_limits_of_an_authenticated_client() {
    let mut server = Server::bound();
    let large = format!("<message><body>{}</body></message>", "x".repeat(262_000));
    server.send_cut(large.as_bytes(), 16 * 1024);
    assert_eq!(server.stanzas().len(), 1);
    let too_large = format!("<message><body>{}</body></message>", "x".repeat(262_200));
    server.send_cut(too_large.as_bytes(), 16 * 1024);
    assert_eq!(server.ended_with(), Some(StreamCondition::PolicyViolation));
    assert_eq!(server.stanzas().len(), 1);
    assert!(server.most_held <= 262_144 + 16 * 1024);

    let mut server = Server::bound();
    server.send(&format!("<message>{}{}</message>", "<a xmlns='x'>".repeat(64), "</a>".repeat(64)));
    assert_eq!(server.ended_with(), Some(StreamCondition::PolicyViolation));
}

#[test]
fn abuse_17_text_between_stanzas() {
    let mut server = Server::bound();
    server.send("hello");
    assert_eq!(server.ended_with(), Some(StreamCondition::BadFormat));
    assert!(server.events.iter().all(|event| !matches!(event, Event::Stanza(_))));
}
