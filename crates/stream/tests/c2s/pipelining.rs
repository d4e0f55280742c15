//! XEP-0509, and clients that do not wait for features.

use crate::harness::{BIND, HEADER, STARTTLS, Server, agent, auth, authenticate_plain, bindings, config, failure2};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use stonechat_jid::Domain;
use stonechat_stanza::StreamCondition;
use stonechat_stream::c2s::{C2s, Config, Event, Transport};
use stonechat_stream::{FeatureSource, Phase, Registration, TlsFacts};
use stonechat_xml::Element;

/// The version that the features have of themselves.
fn version(features: &str) -> String {
    let (_, rest) = features.split_once("<config-version xmlns='urn:xmpp:iap:0' scheme='opaque' value='").unwrap();
    rest.split_once('\'').unwrap().0.to_owned()
}

fn relying_on(version: &str) -> String {
    format!("<bind xmlns='urn:xmpp:bind:0'/><config-version xmlns='urn:xmpp:iap:0' scheme='opaque' value='{version}'/>")
}

const MISMATCH: &str = "<failure xmlns='urn:xmpp:sasl:2'><aborted xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>\
     <config-version-mismatch xmlns='urn:xmpp:iap:0'/><text>The features have changed</text></failure>";

#[test]
fn xep0509_2_3_the_version_follows_the_features() {
    let of = |transport, registration| version(&Server::with(config(transport, registration)).send(HEADER));
    let one = of(Transport::DirectTls, Registration::Closed);
    assert_eq!(of(Transport::DirectTls, Registration::Closed), one, "another stream, the same features");
    assert_ne!(of(Transport::DirectTls, Registration::Offered), one);
    // Over STARTTLS they are the same too, and there is none before, nor after.
    let mut server = Server::new(Transport::StartTls);
    assert!(!server.send(HEADER).contains("config-version"));
    server.send(STARTTLS);
    assert_eq!(version(&server.send(HEADER)), one);
    server.log_in();
    assert!(!server.send(HEADER).contains("config-version"));
}

#[test]
fn xep0509_2_2_all_in_one_flight() {
    let known = version(&Server::new(Transport::DirectTls).send(HEADER));
    let mut server = Server::new(Transport::DirectTls);
    let all = server.send(&format!("{HEADER}{}<presence/>", authenticate_plain(&relying_on(&known))));
    let (features, rest) = all.split_once("</stream:features>").unwrap();
    assert_eq!(version(features), known);
    assert!(rest.starts_with("<success ") && rest.contains("<bound "), "{rest}");
    assert_eq!(server.stanzas().len(), 1);
}

#[test]
fn xep0509_2_2_a_mismatch_counts_for_nothing() {
    let mut server = Server::new(Transport::DirectTls);
    let all = server.send(&format!("{HEADER}{}", authenticate_plain(&relying_on("b2xk"))));
    let (features, rest) = all.split_once("</stream:features>").unwrap();
    assert_eq!(rest, MISMATCH);
    for _ in 0..10 {
        assert_eq!(server.send(&authenticate_plain(&relying_on("b2xk"))), MISMATCH);
    }
    assert!(server.events.is_empty(), "nobody is told, nobody is looked up: {:?}", server.events);
    let answer = server.send(&authenticate_plain(&relying_on(&version(features))));
    assert!(answer.starts_with("<success "), "{answer}");
}

#[test]
fn a_client_that_does_not_wait_for_features() {
    // As one client does: header and log-in, the rest when it is let in.
    let mut server = Server::new(Transport::DirectTls);
    let wish = format!("{}<bind xmlns='urn:xmpp:bind:0'/>", agent("A"));
    let all = server.send(&format!("{HEADER}{}", authenticate_plain(&wish)));
    assert_eq!(all.matches("<stream:features>").count(), 2, "{all}");
    // Everything at once, without Bind 2.
    let mut server = Server::new(Transport::DirectTls);
    let all = server.send(&format!("{HEADER}{}{BIND}<presence/>", authenticate_plain("")));
    assert!(all.ends_with("<jid>user@a.example/balcony</jid></bind></iq>"), "{all}");
    assert_eq!(server.stanzas().len(), 1);
    // And by classic SASL.
    let mut server = Server::new(Transport::DirectTls);
    let all = server.send(&format!("{HEADER}{}{HEADER}{BIND}<presence/>", auth("PLAIN", b"\0user\0pencil")));
    assert!(all.ends_with("<jid>user@a.example/balcony</jid></bind></iq>"), "{all}");
    assert_eq!(server.stanzas().len(), 1);
    // Not before TLS.
    let mut server = Server::new(Transport::StartTls);
    let all = server.send(&format!("{HEADER}{}", authenticate_plain("")));
    assert!(all.ends_with(&failure2("encryption-required")), "{all}");
}

#[test]
fn abuse_31_what_was_sent_ahead_of_a_log_in_that_fails() {
    let mut server = Server::new(Transport::DirectTls);
    let wrong = crate::harness::authenticate("PLAIN", b"\0user\0wrong", "<bind xmlns='urn:xmpp:bind:0'/>");
    let all = server.send(&format!("{HEADER}{wrong}<message to='x@b.example'/>"));
    assert!(all.contains(&failure2("not-authorized")), "{all}");
    assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized));
    assert!(!server.events.iter().any(|event| matches!(event, Event::Stanza(_) | Event::Bind2(..))));
}

/// Says something else with each revision, and how often it was asked.
#[derive(Default)]
struct Changing {
    revision: AtomicU64,
    asked: AtomicU64,
}

impl FeatureSource for Changing {
    fn features(&self, phase: Phase, domain: &Domain) -> Vec<Element> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let revision = self.revision.load(Ordering::Relaxed);
        vec![Element::new("changing", "urn:example").with_text(format!("{phase:?} {domain} {revision}"))]
    }
    fn registration(&self) -> Registration {
        Registration::Closed
    }
    fn revision(&self) -> Option<u64> {
        Some(self.revision.load(Ordering::Relaxed))
    }
}

#[test]
fn rfc6120_4_3_2_features_are_made_once_for_each_kind_of_stream_and_anew_when_they_change() {
    let source = Arc::new(Changing::default());
    let config =
        Config { features: Arc::clone(&source) as _, ..config(Transport::StartTlsOptional, Registration::Closed) };
    let config = Arc::new(config);
    let stream = |tls: bool, domain: &str| {
        let mut machine = C2s::new(Arc::clone(&config), Instant::now());
        if tls {
            machine.on_tls(Instant::now(), TlsFacts { bindings: bindings(), ..TlsFacts::default() });
        }
        machine.on_bytes(Instant::now(), HEADER.replace("a.example", domain).as_bytes());
        let mut out = Vec::new();
        machine.poll_transmit(&mut out);
        let out = String::from_utf8(out).unwrap();
        out[out.find("<stream:features>").unwrap()..].to_owned()
    };
    let kinds = [(true, "a.example"), (true, "b.example"), (false, "a.example"), (false, "b.example")];
    let features = || kinds.map(|(tls, domain)| stream(tls, domain));
    let first = features();
    for (features, (tls, domain)) in first.iter().zip(kinds) {
        assert!(features.contains(&format!("BeforeAuthentication {domain} 0")), "{features}");
        assert_eq!(features.contains("<starttls "), !tls, "{features}");
        assert_eq!(features.contains("config-version"), tls, "{features}");
    }
    let asked = source.asked.load(Ordering::Relaxed);
    assert_eq!(features(), first);
    assert_eq!(source.asked.load(Ordering::Relaxed), asked, "they were remembered");
    source.revision.store(1, Ordering::Relaxed);
    let second = features();
    for (one, other) in second.iter().zip(&first) {
        assert!(one.contains(".example 1"), "{one}");
        assert_ne!(one, other);
    }
    // The version that was remembered with them is the one that the stream judges by (XEP-0509).
    let known = version(&second[0]);
    let mut machine = Server::shared(&config);
    let all = machine.send(&format!("{HEADER}{}", authenticate_plain(&relying_on(&known))));
    assert!(all.contains("<success ") && all.contains(&known), "{all}");
}
