//! XEP-0386, and XEP-0198 §9.

use crate::harness::{Archive, BIND, HEADER, Server, Sessions, agent, authenticate_plain, inside};
use stonechat_stanza::{StanzaCondition, StreamCondition};
use stonechat_stream::c2s::{Bind2Request, Carbons, ClientState, Command, Event, Resumption};

const METADATA: &str = "<metadata xmlns='urn:xmpp:mam:2'><start id='a1' timestamp='2008-08-22T21:09:04Z'/>\
     <end id='a9' timestamp='2020-04-20T14:34:21Z'/></metadata>";

fn bind(rest: &str) -> String {
    format!("<bind xmlns='urn:xmpp:bind:0'><tag>Awesome</tag>{rest}</bind>")
}

fn resume(previd: &str, h: &str) -> String {
    format!("<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='{h}'/>")
}

fn asked(server: &Server) -> Option<&Bind2Request> {
    server.events.iter().find_map(|event| match event {
        Event::Bind2(_, request) => Some(request),
        _ => None,
    })
}

fn failed(condition: &str, h: &str) -> String {
    format!("<failed xmlns='urn:xmpp:sm:3'{h}><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
}

#[test]
fn xep0386_3_2_a_resource_with_the_log_in() {
    let mut server = Server::started();
    let answer = server.send(&authenticate_plain(&format!("{}{}", agent("A-1"), bind(""))));
    let (success, features) = answer.split_once("<stream:features>").unwrap();
    assert_eq!(
        success,
        format!(
            "<success xmlns='urn:xmpp:sasl:2'>\
             <authorization-identifier>user@a.example/Awesome/known</authorization-identifier>\
             <bound xmlns='urn:xmpp:bind:0'>{METADATA}</bound></success>"
        )
    );
    // What is left to negotiate follows, and a resource is not among it.
    assert!(features.contains("<sm ") && features.contains("<csi ") && features.contains("<ver "), "{features}");
    assert!(!features.contains("xmpp-bind") && !features.contains("xmpp-session"), "{features}");
    let request = asked(&server).unwrap();
    assert_eq!((request.tag.as_deref(), request.device.as_deref()), (Some("Awesome"), Some("A-1")));
    assert_eq!((request.carbons, request.state, request.enable), (Carbons::Off, ClientState::Active, None));
    assert_eq!(server.machine.bound().unwrap().as_str(), "user@a.example/Awesome/known");
    server.send("<presence/>");
    assert!(server.stanzas()[0].contains("from='user@a.example/Awesome/known'"));
    assert_eq!(server.wait(std::time::Duration::from_secs(31)), "", "log-in is over");
    // A second resource (abuse case 33).
    assert!(server.send(BIND).contains("<not-allowed "));
    // And enabling later, as ever.
    assert_eq!(server.send("<enable xmlns='urn:xmpp:sm:3'/>"), "<enabled xmlns='urn:xmpp:sm:3'/>");
}

#[test]
fn xep0386_3_2_what_the_session_begins_with() {
    let everything = "<enable xmlns='urn:xmpp:carbons:2'/><enable xmlns='urn:xmpp:sm:3' resume='true' max='60'/>\
         <inactive xmlns='urn:xmpp:csi:0'/><unknown xmlns='urn:x'/>";
    let mut server = Server::started();
    server.archive = Archive::Empty;
    let answer = server.send(&authenticate_plain(&bind(everything)));
    assert_eq!(
        inside(&answer, "bound"),
        "<enabled xmlns='urn:xmpp:sm:3' id='new' resume='true' max='60'/>",
        "no archive, and no answer where none is defined"
    );
    let request = asked(&server).unwrap();
    assert_eq!((request.carbons, request.state), (Carbons::On, ClientState::Inactive));
    assert_eq!(request.enable, Some(Resumption::Wanted { seconds: Some(60) }));
    assert_eq!(request.device, None);
    // Counting is on from the first stanza.
    server.events.clear();
    server.send("<presence/><r xmlns='urn:xmpp:sm:3'/>");
    assert!(matches!(server.events[..], [Event::Stanza(_), Event::AcknowledgementRequested]));
    assert_eq!(server.command(Command::Acknowledge(1)), "<a xmlns='urn:xmpp:sm:3' h='1'/>");
    let again = server.send("<enable xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(again, failed("unexpected-request", ""), "abuse case 38");
}

#[test]
fn xep0386_3_2_1_without_a_tag() {
    for bind in ["<bind xmlns='urn:xmpp:bind:0'/>", "<bind xmlns='urn:xmpp:bind:0'><tag/></bind>"] {
        let mut server = Server::started();
        let answer = server.send(&authenticate_plain(bind));
        assert_eq!(inside(&answer, "authorization-identifier"), "user@a.example/none/new");
        assert_eq!(asked(&server).unwrap().tag, None);
    }
}

#[test]
fn abuse_39_what_can_fail_alone_fails_alone() {
    let cases = [
        (Sessions::Refused, "<enable xmlns='urn:xmpp:sm:3'/>", "internal-server-error"),
        (Sessions::Kept, "<enable xmlns='urn:xmpp:sm:3' resume='maybe'/>", "bad-request"),
        (Sessions::Kept, "<enable xmlns='urn:xmpp:sm:3' resume='true' max='x'/>", "bad-request"),
    ];
    for (sessions, enable, condition) in cases {
        let mut server = Server::started();
        server.sessions = sessions;
        let answer = server.send(&authenticate_plain(&bind(enable)));
        assert_eq!(inside(&answer, "bound"), format!("{METADATA}{}", failed(condition, "")), "{enable}");
        assert!(server.machine.bound().is_some());
        // Nothing is counted, and it may be asked for again.
        assert_eq!(server.send("<r xmlns='urn:xmpp:sm:3'/>"), failed("unexpected-request", ""));
        server.sessions = Sessions::Kept;
        assert_eq!(server.send("<enable xmlns='urn:xmpp:sm:3'/>"), "<enabled xmlns='urn:xmpp:sm:3'/>");
    }
}

#[test]
fn abuse_39_no_resource_no_log_in() {
    let mut server = Server::started();
    server.refuse_bind = Some(StanzaCondition::ResourceConstraint);
    let answer = server.send(&authenticate_plain(&bind("")));
    assert_eq!(
        answer,
        "<failure xmlns='urn:xmpp:sasl:2'><temporary-auth-failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>\
         <resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text>No resource could be bound</text></failure>"
    );
    assert_eq!(server.machine.bound(), None);
    // It counts for nothing, and may be tried again.
    for _ in 0..4 {
        server.send(&authenticate_plain(&bind("")));
    }
    assert_eq!(server.closed(), None);
    server.refuse_bind = None;
    assert!(server.send(&authenticate_plain(&bind(""))).contains("<bound "));
    // Nobody was in meanwhile.
    let mut server = Server::started();
    server.refuse_bind = Some(StanzaCondition::ResourceConstraint);
    server.send(&authenticate_plain(&bind("")));
    server.send("<presence/>");
    assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized));
    assert!(server.stanzas().is_empty());
}

#[test]
fn xep0198_9_2_resumed_and_therefore_not_bound() {
    let wish = format!("{}{}{}", agent("A"), bind("<enable xmlns='urn:xmpp:sm:3'/>"), resume("old", "2"));
    let mut server = Server::started();
    let answer = server.send(&format!("{}<presence/>", authenticate_plain(&wish)));
    assert_eq!(
        answer,
        "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>user@a.example/old</authorization-identifier>\
         <resumed xmlns='urn:xmpp:sm:3' previd='old' h='7'/></success>",
        "and no features"
    );
    assert_eq!(asked(&server), None);
    assert!(server.stanzas()[0].contains("from='user@a.example/old'"));
    assert_eq!(server.command(Command::Acknowledge(8)), "<a xmlns='urn:xmpp:sm:3' h='8'/>");
    assert_eq!(server.wait(std::time::Duration::from_secs(31)), "", "log-in is over");
}

#[test]
fn xep0198_9_2_1_not_resumed_and_therefore_bound() {
    let wish = format!("{}{}", bind("<enable xmlns='urn:xmpp:sm:3' resume='true'/>"), resume("gone", "2"));
    for (sessions, expected) in
        [(Sessions::Kept, failed("item-not-found", "")), (Sessions::Counted, failed("item-not-found", " h='5'"))]
    {
        let mut server = Server::started();
        server.sessions = sessions;
        let answer = server.send(&authenticate_plain(&wish));
        let (success, features) = answer.split_once("</success>").unwrap();
        assert!(success.contains(&format!("</authorization-identifier>{expected}<bound ")), "{success}");
        assert!(success.contains("<enabled "), "{success}");
        assert!(!success.contains("resumed") && features.starts_with("<stream:features>"));
        assert_eq!(server.machine.bound().unwrap().as_str(), "user@a.example/Awesome/new");
    }
    // It does not say which session.
    let mut server = Server::started();
    let answer = server.send(&authenticate_plain(&format!("{}<resume xmlns='urn:xmpp:sm:3' previd='old'/>", bind(""))));
    assert!(answer.contains(&format!("{}<bound ", failed("bad-request", ""))), "{answer}");
    assert!(!server.events.iter().any(|event| matches!(event, Event::Resume(..))));
}

#[test]
fn xep0198_9_2_1_not_resumed_and_nothing_else_asked_for() {
    let mut server = Server::started();
    let answer = server.send(&authenticate_plain(&resume("gone", "2")));
    assert!(answer.contains(&format!(
        "<authorization-identifier>user@a.example</authorization-identifier>{}",
        failed("item-not-found", "")
    )));
    assert!(answer.contains("<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"), "{answer}");
    // Classic resumption or binding follows, as some clients do.
    assert_eq!(server.send(&resume("old", "3")), "<resumed xmlns='urn:xmpp:sm:3' previd='old' h='7'/>");
    let mut server = Server::started();
    server.send(&authenticate_plain(&resume("gone", "2")));
    assert!(server.send(BIND).contains("<jid>user@a.example/balcony</jid>"));
}

#[test]
fn abuse_38_who_resumes_with_more_than_was_sent_is_not_let_in() {
    let mut server = Server::started();
    let answer = server.send(&authenticate_plain(&format!("{}{}", bind(""), resume("old", "4"))));
    assert!(answer.contains("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='4' send-count='3'/>"), "{answer}");
    assert!(!answer.contains("success") && server.machine.bound().is_none());
    assert_eq!(server.ended_with(), Some(StreamCondition::UndefinedCondition));
}

fn transcript(piece: usize, rest: &str) -> (String, String) {
    let mut server = Server::new(stonechat_stream::c2s::Transport::DirectTls);
    let said = format!(
        "{HEADER}{}<presence id='1'/><r xmlns='urn:xmpp:sm:3'/><active xmlns='urn:xmpp:csi:0'/>\
         <iq type='get' id='2'/><message id='3'/></stream:stream>",
        authenticate_plain(&format!("{}{}{rest}", agent("A"), bind("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")))
    );
    let received = server.send_cut(said.as_bytes(), piece);
    (received, format!("{:?}", server.events))
}

#[test]
fn abuse_22_cut_anywhere_a_log_in_is_the_same() {
    for rest in [String::new(), resume("old", "3"), resume("gone", "3")] {
        let whole = transcript(usize::MAX, &rest);
        assert!(whole.0.contains("<success ") && whole.0.ends_with("</iq></stream:stream>"), "{}", whole.0);
        assert!(whole.1.ends_with("Closed(Cleanly)]"), "{}", whole.1);
        for piece in [1, 2, 3, 7, 31, 64] {
            assert_eq!(transcript(piece, &rest), whole, "pieces of {piece}");
        }
    }
}
