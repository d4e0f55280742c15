//! Stanzas that go where they should not, or come back.

use super::{CLIENT, Person, condition};
use crate::support::server::{Archive, Limits, Options, Server};
use crate::support::{Counting, Peer, memory};
use stonechat_router::Settings;
use stonechat_xml::Element;

#[tokio::test(flavor = "multi_thread")]
async fn abuse_34_whoever_binds_a_resource_again_ends_the_session_that_had_it() {
    let server = Server::start().await;
    let mut first = Person::present(&server, "romeo", "balcony").await;
    let mut second = Person::present(&server, "romeo", "balcony").await;
    assert_eq!(first.ended_with().await.as_deref(), Some("conflict"));
    // The new one is served.
    let mut juliet = Person::present(&server, "juliet", "garden").await;
    juliet.say("<message to='romeo@localhost/balcony' id='m1' type='chat'><body>here</body></message>").await;
    juliet.heard().await;
    let heard = second.heard().await;
    assert!(heard.iter().any(|element| element.attribute("id") == Some("m1")), "{heard:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_67_an_iq_that_nobody_handles_is_answered_so() {
    let server = Server::start().await;
    let mut romeo = Person::present(&server, "romeo", "balcony").await;
    for to in ["", "to='localhost'", "to='romeo@localhost'", "to='juliet@localhost'", "to='nobody@localhost'"] {
        for kind in ["get", "set"] {
            romeo.say(&format!("<iq type='{kind}' id='q' {to}><unheard xmlns='urn:unheard:of'/></iq>")).await;
            let heard = romeo.heard().await;
            assert_eq!(heard.len(), 1, "{kind} {to}: {heard:?}");
            assert_eq!(heard[0].attribute("type"), Some("error"));
            let condition = condition(&heard[0]);
            assert!(
                matches!(condition, Some("service-unavailable" | "feature-not-implemented")),
                "{to}: {condition:?}"
            );
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_68_an_answer_to_nothing_is_dropped() {
    let server = Server::start().await;
    let mut romeo = Person::present(&server, "romeo", "balcony").await;
    for to in ["", "to='localhost'", "to='romeo@localhost'", "to='juliet@localhost'", "to='juliet@localhost/gone'"] {
        for answer in ["<iq type='result' id='no' TO/>", "<iq type='error' id='no' TO><error type='cancel'/></iq>"] {
            romeo.say(&answer.replace("TO", to)).await;
            assert_eq!(romeo.heard().await, Vec::<Element>::new(), "{answer} {to}");
        }
    }
    server.stop().await;
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its sender got an error.
    Answered,
    /// Nobody heard of it again.
    Ignored,
    /// The sessions of these places got it at once.
    Delivered(&'static [usize]),
    /// It came when the recipient was back.
    Kept,
}

const TYPES: [&str; 5] = ["normal", "chat", "groupchat", "headline", "error"];

/// Sends one message of each type and tells what became of each, as `juliet`'s sessions saw it.
async fn fates(server: &Server, to: &str, sessions: &mut [Person]) -> Vec<(&'static str, bool, Vec<usize>)> {
    let mut romeo = Person::present(server, "romeo", "balcony").await;
    let mut fates = Vec::new();
    for kind in TYPES {
        let error = if kind == "error" { "<error type='cancel'/>" } else { "" };
        romeo.say(&format!("<message to='{to}' type='{kind}' id='{kind}'><body>x</body>{error}</message>")).await;
        let answered = romeo.heard().await.iter().any(|came| came.attribute("type") == Some("error"));
        let mut places = Vec::new();
        for (place, session) in sessions.iter_mut().enumerate() {
            let came = session.heard().await;
            if came.iter().any(|came| came.name() == "message" && came.attribute("id") == Some(kind)) {
                places.push(place);
            }
        }
        fates.push((kind, answered, places));
    }
    romeo.wire.close().await;
    fates
}

/// RFC 6121 §8.5.4, the messages: the rows are who is there, the columns the types.
#[tokio::test(flavor = "multi_thread")]
async fn abuse_70_messages_of_every_type_to_whoever_is_or_is_not_there() {
    use Fate::{Answered, Delivered, Ignored, Kept};
    /// The sessions of the recipient, by resource and priority (`None`: not present).
    type Sessions = &'static [(&'static str, Option<i8>)];
    type Row = (&'static str, &'static str, Sessions, [&'static [Fate]; 5]);
    const NOBODY: &[Fate] = &[Answered, Ignored];
    const FIRST: &[Fate] = &[Delivered(&[0])];
    let rows: &[Row] = &[
        ("no account", "nobody@localhost", &[], [NOBODY; 5]),
        ("bare, nobody", "juliet@localhost", &[], [&[Kept], &[Kept], &[Answered], &[Ignored], &[Ignored]]),
        (
            "bare, not present",
            "juliet@localhost",
            &[("a", None)],
            [&[Kept], &[Kept], &[Answered], &[Ignored], &[Ignored]],
        ),
        (
            "bare, negative",
            "juliet@localhost",
            &[("a", Some(-1))],
            [&[Kept], &[Kept], &[Answered], &[Ignored], &[Ignored]],
        ),
        (
            "bare, several",
            "juliet@localhost",
            &[("a", Some(1)), ("b", Some(1)), ("c", Some(-1))],
            [
                &[Delivered(&[0, 1]), Delivered(&[0]), Delivered(&[1])],
                &[Delivered(&[0, 1]), Delivered(&[0]), Delivered(&[1])],
                &[Answered],
                &[Delivered(&[0, 1])],
                &[Ignored],
            ],
        ),
        (
            "full, nobody",
            "juliet@localhost/gone",
            &[],
            [&[Kept, Answered, Ignored], &[Kept], NOBODY, NOBODY, &[Ignored]],
        ),
        (
            "full, others",
            "juliet@localhost/gone",
            &[("a", Some(0))],
            [&[Delivered(&[0]), Answered, Ignored], FIRST, NOBODY, NOBODY, &[Ignored]],
        ),
        ("full, there", "juliet@localhost/a", &[("a", Some(0)), ("b", Some(9))], [FIRST; 5]),
        ("full, negative", "juliet@localhost/a", &[("a", Some(-1)), ("b", Some(9))], [FIRST; 5]),
    ];
    let options = Options { archive: Archive::Off, limits: Limits::Off, ..Options::default() };
    let server = Server::start_with(&options).await;
    for (what, to, sessions, expected) in rows {
        let mut present = Vec::new();
        for (resource, priority) in *sessions {
            let mut session = Person::bound(&server, "juliet", resource).await;
            if let Some(priority) = priority {
                session.say(&format!("<presence><priority>{priority}</priority></presence>")).await;
            }
            session.heard().await;
            present.push(session);
        }
        let seen = fates(&server, to, &mut present).await;
        for session in present {
            session.wire.close().await;
        }
        let mut back = Person::bound(&server, "juliet", "back").await;
        back.say("<presence/>").await;
        let kept = back.heard().await;
        for ((kind, answered, places), allowed) in seen.iter().zip(expected) {
            let was_kept = kept.iter().any(|came| came.name() == "message" && came.attribute("id") == Some(kind));
            let holds = |fate: &Fate| match fate {
                Answered => *answered && places.is_empty() && !was_kept,
                Ignored => !*answered && places.is_empty() && !was_kept,
                Delivered(at) => !*answered && places == at && !was_kept,
                Kept => !*answered && places.is_empty() && was_kept,
            };
            let exactly = allowed.iter().filter(|fate| holds(fate)).count();
            assert_eq!(
                exactly, 1,
                "{what}, {kind}: answered {answered}, at {places:?}, kept {was_kept}, not {allowed:?}"
            );
        }
        back.wire.close().await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_75_foreign_and_large_payloads_arrive_as_they_were_written() {
    let server = Server::start().await;
    let mut romeo = Person::present(&server, "romeo", "balcony").await;
    let mut juliet = Person::present(&server, "juliet", "garden").await;
    let paragraph = "<p style='color:red' class=\"a'b\">Ünïcödé &amp; &lt;tags&gt; <br/><img src='cid:x' alt=''/></p>";
    let payloads = [
        format!(
            "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>{}</body></html>",
            paragraph.repeat(2_000)
        ),
        "<a:b xmlns:a='urn:a' xmlns:c='urn:c' c:d='1' a:d='2' d='3'><c:e xmlns=''><f/></c:e></a:b>".to_owned(),
        "<x xmlns='urn:x'><![CDATA[<not/> & a tag]]> &#x1F600;&#10;\t</x>".to_owned(),
        format!("<deep xmlns='urn:deep'>{}{}</deep>", "<n>".repeat(60), "</n>".repeat(60)),
    ];
    for payload in payloads {
        let element = Element::parse(payload.as_bytes(), CLIENT).unwrap();
        romeo.say(&format!("<message to='juliet@localhost/garden' type='chat' id='m'>{payload}</message>")).await;
        assert_eq!(romeo.heard().await, Vec::<Element>::new());
        let heard = juliet.heard().await;
        let came = heard.iter().find(|came| came.attribute("id") == Some("m")).expect("the message");
        let child = came.children().find(|child| child.name() == element.name()).expect("the payload");
        assert_eq!(child.to_xml(), element.to_xml());
    }
    // Too large is no matter of what it is: the stream ends.
    let large = format!("<message to='juliet@localhost/garden'><x xmlns='urn:x'>{}</x></message>", "x".repeat(300_000));
    // The server may be gone before all of it is written.
    let _ = romeo.wire.write(large.as_bytes()).await;
    assert_eq!(romeo.ended_with().await.as_deref(), Some("policy-violation"));
    assert!(juliet.heard().await.iter().all(|came| came.name() != "message"));
    server.stop().await;
}

#[tokio::test]
async fn abuse_80_a_roster_has_a_bound() {
    const BOUND: usize = 20;
    let settings = Settings { max_roster: BOUND, ..Settings::default() };
    let server = memory::Server::with(settings).await;
    let mut romeo = memory::Client::connect(&server, "romeo", "balcony", Counting::No).await;
    let set = |number: usize, attribute: &str| {
        let set = format!(
            "<iq type='set'><query xmlns='jabber:iq:roster'><item jid='friend{number}@other.example' {attribute}/></query></iq>"
        );
        Element::parse(set.as_bytes(), CLIENT).unwrap()
    };
    for number in 0..BOUND {
        let answer = romeo.ask(set(number, "")).await;
        assert_eq!(answer.attribute("type"), Some("result"), "{number}");
    }
    for number in BOUND..BOUND + 5 {
        let answer = romeo.ask(set(number, "")).await;
        assert_eq!(condition(&answer), Some("resource-constraint"), "{number}");
    }
    // A request for a subscription makes an entry too.
    let request = format!("<presence to='friend{BOUND}@other.example' type='subscribe'/>");
    romeo.send(&Element::parse(request.as_bytes(), CLIENT).unwrap()).await;
    romeo.fence().await;
    let roster = Element::parse(b"<iq type='get'><query xmlns='jabber:iq:roster'/></iq>", CLIENT).unwrap();
    let roster = romeo.ask(roster).await;
    assert_eq!(roster.child("query", "jabber:iq:roster").unwrap().children().count(), BOUND);
    // What is there can still be changed, and what goes makes room.
    for (number, attribute) in [(7, "name='Seven'"), (7, "subscription='remove'"), (BOUND, "")] {
        assert_eq!(romeo.ask(set(number, attribute)).await.attribute("type"), Some("result"), "{number} {attribute}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn abuse_82_a_subscription_to_oneself_or_to_the_server_comes_to_nothing() {
    let server = Server::start().await;
    let mut romeo = Person::present(&server, "romeo", "balcony").await;
    for to in ["romeo@localhost", "romeo@localhost/balcony", "localhost"] {
        for kind in ["subscribe", "subscribed", "unsubscribe", "unsubscribed"] {
            romeo.say(&format!("<presence to='{to}' type='{kind}' id='s'/>")).await;
            for came in romeo.heard().await {
                let told = (came.name(), came.attribute("type"));
                assert!(matches!(told, ("presence", Some("error"))), "{kind} to {to}: {}", came.to_xml());
            }
        }
    }
    romeo.say("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>").await;
    let roster = romeo.heard().await.remove(0);
    for item in roster.child("query", "jabber:iq:roster").unwrap().children() {
        assert_ne!(item.attribute("jid"), Some("romeo@localhost"), "{}", roster.to_xml());
        assert_eq!(
            (item.attribute("subscription"), item.attribute("ask")),
            (Some("none"), None),
            "{}",
            roster.to_xml()
        );
    }
    server.stop().await;
}
