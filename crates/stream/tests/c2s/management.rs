//! XEP-0198, as far as it is the stream's.

use crate::harness::{Answers, BIND, HEADER, Server, Sessions, account, inside};
use stonechat_stanza::{StanzaCondition, StreamCondition};
use stonechat_stream::Closed;
use stonechat_stream::c2s::{Command, Enabled, Event, Resumption, Transport};

const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3'/>";
const ENABLE_RESUME: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
const REQUEST: &str = "<r xmlns='urn:xmpp:sm:3'/>";

fn resume(previd: &str, h: &str) -> String {
    format!("<resume xmlns='urn:xmpp:sm:3' previd='{previd}' h='{h}'/>")
}

fn failed(condition: &str) -> String {
    format!("<failed xmlns='urn:xmpp:sm:3'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
}

/// One word for each event.
fn told(server: &Server) -> Vec<String> {
    let word = |event: &Event| match event {
        Event::Stanza(stanza) => format!("stanza {}", stanza.head().id.as_ref().map_or("", |id| id)),
        Event::Reply(Some(_)) => "reply".to_owned(),
        Event::Reply(None) => "dropped".to_owned(),
        Event::Enable(_, resumption) => format!("{resumption:?}"),
        Event::Resume(_, request) => format!("resume {} {}", request.previd, request.h),
        Event::Acknowledged(h) => format!("a {h}"),
        Event::AcknowledgementRequested => "r".to_owned(),
        Event::Bind(..) => "bind".to_owned(),
        Event::Leaving => "leaving".to_owned(),
        Event::Closed(closed) => format!("{closed:?}"),
        other => panic!("{other:?}"),
    };
    server.events.iter().map(word).collect()
}

#[test]
fn xep0198_2_it_is_announced_after_authentication() {
    let mut server = Server::new(Transport::DirectTls);
    let features = server.send(HEADER);
    let inline = inside(&features, "authentication");
    assert_eq!(features.matches("<sm ").count(), inline.matches("<sm ").count(), "inline alone: {features}");
    server.log_in();
    assert!(server.send(HEADER).contains("<sm xmlns='urn:xmpp:sm:3'/>"));
}

#[test]
fn xep0198_3_enabling() {
    let mut server = Server::bound();
    assert_eq!(server.send(ENABLE), "<enabled xmlns='urn:xmpp:sm:3'/>");
    let mut server = Server::bound();
    assert_eq!(server.send(ENABLE_RESUME), "<enabled xmlns='urn:xmpp:sm:3' id='new' resume='true' max='600'/>");
    let mut server = Server::bound();
    let answer = server.send("<enable xmlns='urn:xmpp:sm:3' resume='1' max='60'/>");
    assert_eq!(answer, "<enabled xmlns='urn:xmpp:sm:3' id='new' resume='true' max='60'/>");
    let mut server = Server::bound();
    server.sessions = Sessions::Counted;
    assert_eq!(server.send(ENABLE_RESUME), "<enabled xmlns='urn:xmpp:sm:3'/>", "and cannot be resumed");
    // Refused, it may be asked for again.
    let mut server = Server::bound();
    server.sessions = Sessions::Refused;
    assert_eq!(server.send(ENABLE), failed("resource-constraint"));
    server.sessions = Sessions::Kept;
    assert_eq!(server.send(ENABLE), "<enabled xmlns='urn:xmpp:sm:3'/>");
}

#[test]
fn xep0198_3_attributes_of_enable() {
    let wanted = |seconds| Some(Resumption::Wanted { seconds });
    let cases = [
        ("", Some(Resumption::NotWanted)),
        ("resume='false'", Some(Resumption::NotWanted)),
        ("resume='0' max='60'", Some(Resumption::NotWanted)),
        ("resume='true'", wanted(None)),
        ("resume='1' max='4294967295'", wanted(Some(u32::MAX))),
        ("resume='true' max=' 60&#9;'", wanted(Some(60))),
        // An `xs:positiveInteger` has no bound.
        ("resume='true' max='99999999999999999999999'", wanted(Some(u32::MAX))),
        ("resume='true' max='0'", None),
        ("resume='true' max=''", None),
        ("resume='true' max='-1'", None),
        ("resume='true' max='+1'", None),
        ("resume='true' max='1.5'", None),
        ("resume='TRUE'", None),
        ("resume='yes'", None),
        ("resume=''", None),
    ];
    for (attributes, expected) in cases {
        let mut server = Server::bound();
        let answer = server.send(&format!("<enable xmlns='urn:xmpp:sm:3' {attributes}/>"));
        let asked = server.events.iter().find_map(|event| match event {
            Event::Enable(_, resumption) => Some(*resumption),
            _ => None,
        });
        assert_eq!(asked, expected, "{attributes}");
        match expected {
            Some(_) => assert!(answer.starts_with("<enabled "), "{attributes}: {answer}"),
            None => assert_eq!(answer, failed("bad-request"), "{attributes}"),
        }
        assert_eq!(server.closed(), None);
    }
}

#[test]
fn abuse_38_enabling_too_early_or_twice() {
    // Before authentication, and in the middle of it.
    let mut server = Server::new(Transport::DirectTls);
    server.send(HEADER);
    assert_eq!(server.send(ENABLE), failed("unexpected-request"));
    server.send(&crate::harness::auth("SCRAM-SHA-256", b"n,,n=user,r=abcdefghijklmnopqrstuvwx"));
    assert_eq!(server.send(&resume("old", "0")), failed("unexpected-request"));
    assert_eq!(server.closed(), None);
    // Before a resource is bound.
    let mut server = Server::binding();
    assert_eq!(server.send(ENABLE), failed("unexpected-request"));
    assert!(server.send(BIND).contains("<jid>user@a.example/balcony</jid>"), "the stream goes on");
    // Twice.
    server.events.clear();
    assert_eq!(server.send(ENABLE), "<enabled xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(server.send(ENABLE_RESUME), failed("unexpected-request"));
    assert_eq!(told(&server), ["NotWanted"], "and was asked once");
    // Counting goes on as it was.
    server.send(REQUEST);
    assert_eq!(server.command(Command::Acknowledge(0)), "<a xmlns='urn:xmpp:sm:3' h='0'/>");
    // Twice without waiting, and on a session that was resumed.
    let mut server = Server::bound();
    let both = server.send(&format!("{ENABLE}{ENABLE}"));
    assert_eq!(both, format!("<enabled xmlns='urn:xmpp:sm:3'/>{}", failed("unexpected-request")));
    let mut server = Server::binding();
    server.send(&resume("old", "3"));
    assert_eq!(server.send(ENABLE), failed("unexpected-request"));
}

#[test]
fn xep0198_4_acknowledgements_in_both_directions() {
    let mut server = Server::bound();
    server.send(ENABLE);
    server.events.clear();
    let sent = format!(
        "<presence id='1'/>{REQUEST}<a xmlns='urn:xmpp:sm:3' h='4294967295'/><presence id='2'/>{REQUEST}{REQUEST}"
    );
    assert_eq!(server.send(&sent), "");
    assert_eq!(told(&server), ["stanza 1", "r", "a 4294967295", "stanza 2", "r", "r"]);
    // Several requests may have one answer, and an answer needs no request.
    assert_eq!(server.command(Command::Acknowledge(2)), "<a xmlns='urn:xmpp:sm:3' h='2'/>");
    assert_eq!(server.command(Command::Acknowledge(u32::MAX)), "<a xmlns='urn:xmpp:sm:3' h='4294967295'/>");
}

#[test]
fn xep0198_6_acknowledgements_that_say_nothing() {
    for bad in ["", "h=''", "h='-1'", "h='4294967296'", "h='one'", "h='+1'"] {
        let mut server = Server::bound();
        server.send(ENABLE);
        server.events.clear();
        assert_eq!(server.send(&format!("<a xmlns='urn:xmpp:sm:3' {bad}/>")), failed("bad-request"), "{bad}");
        assert!(server.events.is_empty(), "{bad}");
    }
    // Nothing is counted yet.
    let mut server = Server::bound();
    assert_eq!(server.send(REQUEST), failed("unexpected-request"));
    assert_eq!(server.send("<a xmlns='urn:xmpp:sm:3' h='0'/>"), failed("unexpected-request"));
    assert_eq!(server.command(Command::Acknowledge(0)), "");
    assert!(server.events.is_empty());
    // What only we may say.
    for element in ["enabled", "resumed", "failed", "sm", "ack"] {
        let mut server = Server::bound();
        server.send(&format!("<{element} xmlns='urn:xmpp:sm:3'/>"));
        assert_eq!(server.ended_with(), Some(StreamCondition::UnsupportedStanzaType), "{element}");
    }
}

#[test]
fn abuse_38_who_acknowledges_more_than_was_sent() {
    let mut server = Server::bound();
    server.send(ENABLE);
    server.send("<a xmlns='urn:xmpp:sm:3' h='10'/>");
    assert_eq!(
        server.command(Command::AcknowledgedTooMuch { h: 10, sent: 8 }),
        "<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>\
         You acknowledged 10 stanzas, but were sent 8.</text>\
         <handled-count-too-high xmlns='urn:xmpp:sm:3' h='10' send-count='8'/></stream:error></stream:stream>"
    );
    assert_eq!(server.ended_with(), Some(StreamCondition::UndefinedCondition));
    // When it resumes, too.
    let mut server = Server::binding();
    let answer = server.send(&resume("old", "4"));
    assert!(answer.contains("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='4' send-count='3'/>"), "{answer}");
    assert!(!answer.contains("resumed"), "{answer}");
    assert_eq!(server.ended_with(), Some(StreamCondition::UndefinedCondition));
}

#[test]
fn every_stanza_of_a_bound_client_makes_one_event() {
    let mut server = Server::bound();
    let answer = server.send(
        "<message id='1' to='x@b.example'/>\
         <iq id='2' type='get'/>\
         <iq type='result' to='@'/>\
         <presence type='odd'/>\
         <iq id='3' type='set'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>\
         <iq id='4' type='set'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>\
         <iq id='5' type='get'><q xmlns='urn:x'/></iq>",
    );
    assert_eq!(told(&server), ["stanza 1", "reply", "dropped", "reply", "reply", "reply", "stanza 5"]);
    assert!(answer.contains("<iq to='user@a.example/balcony' type='result' id='3'/>"), "{answer}");
    assert_eq!(server.machine.poll_transmit(&mut Vec::new()), stonechat_stream::Transmit::Nothing);
    // What is not counted is not sent.
    let Some(Event::Reply(Some(reply))) = server.events.iter().find(|event| matches!(event, Event::Reply(Some(_))))
    else {
        panic!("{:?}", server.events)
    };
    let reply = reply.clone();
    assert_eq!(server.command(Command::Send(reply)), "");
}

#[test]
fn xep0198_5_a_session_is_resumed() {
    let mut server = Server::binding();
    let answer = server.send(&format!("{}<presence id='8'/>{REQUEST}", resume("old", "3")));
    assert_eq!(answer, "<resumed xmlns='urn:xmpp:sm:3' previd='old' h='7'/>");
    assert_eq!(server.machine.bound().unwrap().as_str(), "user@a.example/old");
    assert_eq!(told(&server), ["resume old 3", "stanza 8", "r"]);
    assert!(server.stanzas()[0].contains("from='user@a.example/old'"));
    let Some(Event::Resume(_, request)) = server.events.first() else { panic!("{:?}", server.events) };
    assert_eq!(request.account, account());
    assert_eq!(server.command(Command::Acknowledge(8)), "<a xmlns='urn:xmpp:sm:3' h='8'/>");
    assert_eq!(server.wait(std::time::Duration::from_secs(31)), "", "log-in is over");
    assert_eq!(server.closed(), None);
}

#[test]
fn abuse_38_a_session_that_is_not_there() {
    let mut server = Server::binding();
    assert_eq!(server.send(&resume("other", "0")), failed("item-not-found"));
    // Again, with a count that is still known; and then a resource.
    server.sessions = Sessions::Counted;
    assert_eq!(
        server.send(&resume("gone", "0")),
        "<failed xmlns='urn:xmpp:sm:3' h='5'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
    );
    assert_eq!(server.machine.bound(), None);
    let rest = server.send(&format!("{BIND}{ENABLE}"));
    assert!(rest.ends_with("</bind></iq><enabled xmlns='urn:xmpp:sm:3'/>"), "{rest}");
}

#[test]
fn abuse_38_resuming_what_is_bound_or_says_nothing() {
    let mut server = Server::bound();
    assert_eq!(server.send(&resume("old", "0")), failed("unexpected-request"));
    assert!(server.events.is_empty());
    for bad in ["", "previd='old'", "h='0'", "previd='old' h='x'", "previd='old' h='4294967296'"] {
        let mut server = Server::binding();
        assert_eq!(server.send(&format!("<resume xmlns='urn:xmpp:sm:3' {bad}/>")), failed("bad-request"), "{bad}");
        assert!(server.events.is_empty(), "{bad}");
        assert!(server.send(BIND).contains("<jid>"));
    }
}

#[test]
fn what_follows_waits_until_enabling_and_resuming_are_answered() {
    let mut server = Server::bound();
    server.answers = Answers::Never;
    assert_eq!(server.send(&format!("{ENABLE}<presence id='1'/>")), "");
    assert!(!server.machine.wants_input());
    assert_eq!(told(&server), ["NotWanted"]);
    let Some(Event::Enable(token, _)) = server.events.first() else { panic!("{:?}", server.events) };
    let token = *token;
    // Answers to other questions change nothing.
    server.command(Command::ResumeRefused(token, None));
    assert_eq!(server.command(Command::BindRefused(token, StanzaCondition::Conflict.into())), "");
    assert_eq!(told(&server), ["NotWanted"]);
    assert_eq!(server.command(Command::Enabled(token, Enabled::default())), "<enabled xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(told(&server), ["NotWanted", "stanza 1"]);
    assert!(server.machine.wants_input());
    assert_eq!(server.command(Command::EnableRefused(token, StanzaCondition::Conflict)), "", "answered once");
    // Secrets of sessions are in no log.
    let mut server = Server::binding();
    server.answers = Answers::Never;
    server.send(&format!("{}<presence id='1'/>", resume("old", "0")));
    assert!(!server.machine.wants_input());
    assert_eq!(told(&server), ["resume old 0"]);
    assert!(!format!("{:?}", server.events).contains("old"));
}

#[test]
fn xep0198_7_only_the_client_s_own_end_of_its_stream_is_a_clean_one() {
    type End = fn(&mut Server);
    let cases: [(&str, End); 6] = [
        ("Cleanly", |server| drop(server.send("<presence/></stream:stream>"))),
        ("ByUs", |server| drop(server.send("<oops>"))),
        ("ByUs", |server| drop(server.command(Command::Close(Some(StreamCondition::SystemShutdown.into()))))),
        ("ByPeer", |server| {
            drop(server.send(
                "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
            ));
        }),
        ("Unanswered", |server| {
            server.command(Command::Close(None));
            server.wait(std::time::Duration::from_secs(5));
        }),
        ("Cleanly", |server| {
            server.command(Command::Close(None));
            server.send("</stream:stream>");
        }),
    ];
    for (expected, end) in cases {
        let mut server = Server::bound();
        server.send(ENABLE_RESUME);
        end(&mut server);
        if expected == "ByUs" && server.closed().is_none() {
            server.send("</wrong>");
        }
        let closed = server.closed().map(|closed| format!("{closed:?}")).unwrap_or_default();
        assert!(closed.starts_with(expected), "{expected}: {closed}");
    }
    for closing in [false, true] {
        let mut server = Server::bound();
        if closing {
            server.command(Command::Close(None));
        }
        server.machine.on_eof();
        let expected = if closing { Closed::Unanswered } else { Closed::Lost };
        assert!(matches!(server.machine.poll_event(), Some(Event::Closed(closed)) if closed == expected));
    }
}

fn transcript(piece: usize, resumes: &str) -> (String, Vec<String>) {
    let mut server = Server::binding();
    let said = format!(
        "{resumes}{BIND}{ENABLE_RESUME}<presence id='1'/>{REQUEST}<iq id='2' type='get'/>\
         <a xmlns='urn:xmpp:sm:3' h='0'/> {ENABLE}<message id='é'/>{REQUEST}</stream:stream>"
    );
    let received = server.send_cut(said.as_bytes(), piece);
    (received, told(&server))
}

#[test]
fn abuse_22_cut_anywhere_stream_management_is_the_same() {
    for resumes in [String::new(), resume("unknown", "0")] {
        let whole = transcript(usize::MAX, &resumes);
        assert_eq!(
            whole.1[whole.1.len() - 10..],
            [
                "bind",
                "Wanted { seconds: None }",
                "stanza 1",
                "r",
                "reply",
                "a 0",
                "stanza é",
                "r",
                "leaving",
                "Cleanly"
            ]
        );
        for piece in [1, 2, 3, 5, 7, 11, 13, 29, 64, 200] {
            assert_eq!(transcript(piece, &resumes), whole, "pieces of {piece}");
        }
    }
}
