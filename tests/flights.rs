//! How many flights a log-in takes, counted inside TLS: the times that a client waits for the server. A count, not a time.
//!
//! The classic log-in is what it always was; SASL2 with Bind 2 needs the two of SCRAM; a device with a token is in, with
//! everything it wants, in the one that carries its stream header, and gets its session back in the one as well.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use stonechat_sasl::{decode, encode};
use stonechat_xml::Element;
use support::line::{HEADER, Line};
use support::server::{Options, Server, Transport};

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const SASL2: &str = "urn:xmpp:sasl:2";
const BIND2: &str = "urn:xmpp:bind:0";
const SM: &str = "urn:xmpp:sm:3";
const FAST: &str = "urn:xmpp:fast:0";

const DEVICE: &str = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>test</software><device>phone</device></user-agent>";

/// All that a session wants from the start.
const SESSION: &str = "<bind xmlns='urn:xmpp:bind:0'><tag>test</tag><enable xmlns='urn:xmpp:carbons:2'/>\
     <enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>";

const REQUEST_TOKEN: &str = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-EXPR'/>";

async fn against_the_binary(steps: impl FnOnce(u16) + Send + 'static) {
    let server = Server::start_with(&Options { transport: Transport::Tls, ..Options::default() }).await;
    let port = server.port.get();
    tokio::task::spawn_blocking(move || steps(port)).await.unwrap();
    server.stop().await;
}

/// `<authenticate/>` with a mechanism, its first message, and whatever else is wanted.
fn authenticate(mechanism: &str, initial: &str, wanted: &str) -> String {
    format!(
        "<authenticate xmlns='{SASL2}' mechanism='{mechanism}'><initial-response>{initial}</initial-response>{DEVICE}{wanted}\
         </authenticate>"
    )
}

fn by_password(line: &mut Line, wanted: &str) -> Element {
    let (scram, initial) = Line::scram("juliet");
    line.write(&authenticate("SCRAM-SHA-256", &initial, wanted));
    line.prove(scram, SASL2)
}

/// Header and `<authenticate/>` in one write, before any feature was seen.
fn by_token(line: &mut Line, token: &str, count: u32, wanted: &str) -> Element {
    let exchange = line.token(token);
    let initial = encode(&exchange.initial("juliet"));
    let wanted = format!("<fast xmlns='{FAST}' count='{count}'/>{wanted}");
    line.write(&format!("{HEADER}{}", authenticate("HT-SHA-256-EXPR", &initial, &wanted)));
    line.expect("features");
    let success = line.expect("success");
    let proof = success.child("additional-data", SASL2).expect("the server proves itself").text();
    exchange.finish(&decode(&proof).unwrap()).expect("the server knows the token");
    success
}

fn new_token(success: &Element) -> String {
    let token = success.child("token", FAST).expect("a token that was asked for");
    token.attribute("token").unwrap().to_owned()
}

fn enabled(success: &Element) -> String {
    let bound = success.child("bound", BIND2).expect("bound");
    bound.child("enabled", SM).expect("counting").attribute("id").expect("resumable").to_owned()
}

/// The session is as it was wanted: it counts, and it is there.
fn works(line: &mut Line) {
    line.write("<presence/><iq type='get' id='there' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq><r xmlns='urn:xmpp:sm:3'/>");
    let (mut came, answer) = line.until_answer("there");
    assert_eq!(answer.attribute("type"), Some("result"));
    while !came.iter().any(|element| element.is("a", SM) && element.attribute("h").is_some()) {
        came.push(line.next());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flights_of_a_classic_log_in() {
    against_the_binary(|port| {
        let mut line = Line::dial(port);
        line.write(HEADER);
        line.expect("features");
        assert_eq!(line.flights(), 1, "header and features");
        let (scram, initial) = Line::scram("juliet");
        line.write(&format!("<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{initial}</auth>"));
        line.prove(scram, SASL);
        assert_eq!(line.flights(), 3, "two of SCRAM");
        line.restart();
        line.expect("features");
        assert_eq!(line.flights(), 4, "the new stream");
        // What follows may go together.
        line.write(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq><enable xmlns='urn:xmpp:sm:3' resume='true'/>\
             <iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>",
        );
        line.until_answer("bind");
        line.expect("enabled");
        line.until_answer("carbons");
        assert_eq!(line.flights(), 5, "a resource, counting and copies");
        works(&mut line);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flights_of_a_log_in_with_sasl2_and_bind_2_by_password() {
    against_the_binary(|port| {
        let mut line = Line::dial(port);
        line.write(HEADER);
        let features = line.expect("features");
        let offered = features.child("authentication", SASL2).expect("SASL2 is offered");
        let inline = offered.child("inline", SASL2).expect("something can be done with the log-in");
        assert!(inline.child("bind", BIND2).is_some() && inline.child("sm", SM).is_some());
        let success = by_password(&mut line, &format!("{SESSION}{REQUEST_TOKEN}"));
        assert_eq!(line.flights(), 1 + 2, "header, and the two of SCRAM");
        assert!(!enabled(&success).is_empty() && !new_token(&success).is_empty());
        line.expect("features");
        assert_eq!(line.flights(), 3, "the features come along");
        works(&mut line);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flights_of_a_log_in_by_token_are_one_with_the_header() {
    against_the_binary(|port| {
        let mut line = Line::dial(port);
        line.write(HEADER);
        line.expect("features");
        let token = new_token(&by_password(&mut line, &format!("{SESSION}{REQUEST_TOKEN}")));
        let mut line = Line::dial(port);
        let success = by_token(&mut line, &token, 1, SESSION);
        assert_eq!(line.flights(), 1);
        assert!(!enabled(&success).is_empty());
        line.expect("features");
        assert_eq!(line.flights(), 1, "the features come along");
        works(&mut line);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flights_of_a_resumption_by_token_are_one_with_the_header() {
    against_the_binary(|port| {
        let mut line = Line::dial(port);
        line.write(HEADER);
        line.expect("features");
        let success = by_password(&mut line, &format!("{SESSION}{REQUEST_TOKEN}"));
        let (token, id) = (new_token(&success), enabled(&success));
        line.expect("features");
        line.write(
            "<iq type='get' id='seen' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>\
             <iq type='get' id='unseen' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>",
        );
        line.until_answer("seen");
        drop(line);

        let mut line = Line::dial(port);
        // What is behind the resumption in case it fails: never both.
        let wanted = format!("{SESSION}<resume xmlns='{SM}' h='1' previd='{id}'/>");
        let success = by_token(&mut line, &token, 1, &wanted);
        assert_eq!(line.flights(), 1);
        let resumed = success.child("resumed", SM).expect("resumed");
        assert_eq!(resumed.attribute("previd"), Some(id.as_str()));
        assert!(success.child("bound", BIND2).is_none(), "resumed, and therefore not bound");
        // What was not acknowledged comes along, in the same flight.
        line.until_answer("unseen");
        assert_eq!(line.flights(), 1);
        works(&mut line);
    })
    .await;
}
