//! Acknowledgements between servers (XEP-0198), at both ends.

use crate::initiating::{Client, HEADER};
use crate::pair::{Pair, Port, Setting, Ways, domain, stanza};
use crate::receiving::Server;
use std::time::Duration;
use stonechat_stanza::{Stanza, StreamCondition};
use stonechat_stream::s2s_in;
use stonechat_stream::s2s_out::{Delivered, Ended, Event, Purpose, Unsent};
use stonechat_stream::{Closed, Step};

const OFFER: &str = "<stream:features><sm xmlns='urn:xmpp:sm:3'/></stream:features>";
const VALID: &str = "<db:result from='b.example' to='a.example' type='valid'/>";
const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3'/>";
const ENABLED: &str = "<enabled xmlns='urn:xmpp:sm:3'/>";
const REQUEST: &str = "<r xmlns='urn:xmpp:sm:3'/>";

fn acknowledge(h: u32) -> String {
    format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>")
}

fn refused(condition: &str) -> String {
    format!("<failed xmlns='urn:xmpp:sm:3'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
}

fn message() -> Stanza {
    stanza("<message xmlns='jabber:client' from='r@a.example' to='j@b.example'/>")
}

/// A.example is proved; the peer offered acknowledgements and was asked for them.
fn asked() -> Client {
    let mut client = Client::over_tls(Ways::good(), Purpose::Stanzas);
    client.hear(HEADER);
    client.hear(OFFER);
    assert_eq!(client.hear(VALID), ENABLE);
    client
}

/// The peer acknowledges.
fn counting() -> Client {
    let mut client = asked();
    assert_eq!(client.hear(ENABLED), "");
    client
}

impl Client {
    fn say(&mut self, count: usize) {
        for _ in 0..count {
            self.machine.send(self.now, &message()).unwrap();
        }
        self.settle();
    }

    fn request(&mut self) -> String {
        self.machine.request_acknowledgement(self.now);
        self.settle()
    }

    fn acknowledged(&self) -> u32 {
        self.events.iter().map(|event| if let Event::Acknowledged(count) = event { *count } else { 0 }).sum()
    }

    fn is_ready(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Ready(_)))
    }
}

#[test]
fn xep0198_3_a_domain_is_ready_when_the_peer_has_said_whether_it_acknowledges() {
    let mut client = asked();
    assert!(!client.is_ready());
    assert_eq!(client.machine.send(client.now, &message()), Err(Unsent::NotReady));
    client.hear(ENABLED);
    assert!(client.is_ready() && client.machine.is_ready(&domain("a.example")));
    assert_eq!(client.machine.delivered(), Delivered::WhenAcknowledged);
    assert!(client.events.iter().any(|event| matches!(event, Event::Note(Step::Acknowledges))));
    // A peer that refuses, and one that says nothing, are served as before.
    let mut refusing = asked();
    refusing.hear(&refused("service-unavailable"));
    let mut silent = asked();
    silent.wait(Duration::from_secs(30));
    for client in [refusing, silent] {
        assert!(client.is_ready());
        assert_eq!(client.machine.delivered(), Delivered::WhenWritten);
    }
    // Who does not offer it is not asked.
    let client = Client::ready();
    assert_eq!(client.machine.delivered(), Delivered::WhenWritten);
}

#[test]
fn xep0198_4_what_the_peer_has_is_told_once() {
    let mut client = counting();
    assert_eq!(client.request(), "", "there is nothing to ask about");
    client.say(3);
    assert_eq!(client.request(), REQUEST);
    assert_eq!(client.request(), "", "it was asked already");
    client.hear(&acknowledge(2));
    assert_eq!(client.acknowledged(), 2);
    assert_eq!(client.request(), REQUEST, "one is outstanding");
    client.hear(&acknowledge(2));
    assert_eq!(client.acknowledged(), 2);
    client.hear(&acknowledge(3));
    assert_eq!(client.acknowledged(), 3);
    assert_eq!(client.request(), "");
}

#[test]
fn xep0198_6_more_than_was_sent_ends_the_stream() {
    let mut client = counting();
    client.say(1);
    let said = client.hear(&acknowledge(2));
    assert!(said.contains("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='2' send-count='1'/>"), "{said}");
    assert!(said.starts_with("<stream:error><undefined-condition "), "{said}");
    assert_eq!(client.acknowledged(), 0);
    // So does less than before, which is more modulo 2³².
    let mut client = counting();
    client.say(2);
    client.hear(&acknowledge(2));
    assert!(client.hear(&acknowledge(1)).contains("handled-count-too-high"));
    let mut client = counting();
    client.hear("<a xmlns='urn:xmpp:sm:3' h='-1'/>");
    assert!(
        matches!(client.ended(), Some(Ended::Stream(Closed::ByUs(error))) if error.condition == StreamCondition::BadFormat)
    );
}

#[test]
fn a_peer_that_does_not_acknowledge_is_given_up() {
    let mut client = counting();
    client.say(1);
    client.request();
    client.wait(Duration::from_secs(119));
    assert_eq!(client.ended(), None);
    let said = client.wait(Duration::from_secs(1));
    assert!(said.contains("<connection-timeout "), "{said}");
    assert_eq!(client.ended(), Some(&Ended::Unacknowledged));
}

#[test]
fn what_the_initiating_server_does_not_expect() {
    // Answers to nothing.
    for word in [ENABLED, REQUEST, &acknowledge(0)] {
        let mut client = Client::ready();
        client.hear(word);
        assert!(client.ended().is_some(), "{word}");
    }
    let mut client = counting();
    client.hear(ENABLED);
    assert!(client.ended().is_some(), "enabled twice");
    // The peer may ask what we have of it: nothing.
    let mut client = counting();
    assert_eq!(client.hear(REQUEST), acknowledge(0));
    assert_eq!(client.hear(&refused("unexpected-request")), "");
    assert_eq!(client.ended(), None);
}

impl Server {
    fn requests(&self) -> Vec<u32> {
        let counts = self.events.iter().filter_map(|event| match event {
            s2s_in::Event::AcknowledgementRequested(count) => Some(*count),
            _ => None,
        });
        counts.collect()
    }
}

const STANZA: &str = "<message from='r@a.example' to='j@b.example'><body>x</body></message>";

#[test]
fn xep0198_4_the_receiving_server_answers_when_it_is_told_that_stanzas_are_safe() {
    let mut server = Server::proved();
    assert_eq!(server.machine.taken(), None);
    server.send(STANZA);
    assert_eq!(server.send(ENABLE), ENABLED);
    assert_eq!(server.machine.taken(), Some(0), "what came before does not count");
    server.send(STANZA);
    assert_eq!(server.send(REQUEST), "");
    // Malformed ones count as well: they are not sent again.
    server.send("<iq from='r@a.example' to='j@b.example' type='get' id='1'/>");
    server.send("<iq from='r@a.example' to='j@b.example' type='nonsense' id='1'/>");
    server.send(&format!("{STANZA}{REQUEST}"));
    assert_eq!(server.requests(), [1, 4]);
    assert_eq!(server.command(s2s_in::Command::Acknowledge(1)), acknowledge(1));
    assert_eq!(server.command(s2s_in::Command::Acknowledge(4)), acknowledge(4));
}

#[test]
fn xep0198_3_the_receiving_server_refuses_what_is_out_of_place() {
    let mut server = Server::new(Ways::good(), stonechat_stream::Validity::Valid);
    assert!(
        server
            .send(HEADER.replace("from='b.example' id='i1'", "from='a.example' to='b.example'").as_str())
            .contains("<sm ")
    );
    for word in [ENABLE, REQUEST, "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>"] {
        assert_eq!(server.send(word), refused("unexpected-request"), "{word}");
    }
    let mut server = Server::proved();
    assert_eq!(server.send(REQUEST), refused("unexpected-request"), "it was not asked for");
    assert_eq!(server.send("<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>"), refused("item-not-found"));
    server.send(ENABLE);
    assert_eq!(server.send(ENABLE), refused("unexpected-request"), "twice");
    assert_eq!(server.send(&acknowledge(0)), "");
    assert!(server.is_open());
    assert!(server.send(&acknowledge(1)).contains("handled-count-too-high"), "nothing was sent to it");
    assert_eq!(server.ended_with(), Some(StreamCondition::UndefinedCondition));
}

#[test]
fn two_servers_agree_on_acknowledgements() {
    for ways in [Ways::good(), Ways::self_signed()] {
        let mut pair = Pair::new(Setting::new(ways, ways, Port::StartTls));
        assert_eq!(pair.out.delivered(), Delivered::WhenAcknowledged, "{}", pair.transcript());
        for _ in 0..3 {
            pair.send(&message()).unwrap();
        }
        pair.out.request_acknowledgement(pair.now);
        pair.run();
        assert!(matches!(pair.in_events.last(), Some(s2s_in::Event::AcknowledgementRequested(3))));
        pair.inn.command(pair.now, s2s_in::Command::Acknowledge(3));
        pair.run();
        assert!(matches!(pair.out_events.last(), Some(Event::Acknowledged(3))), "{}", pair.transcript());
    }
}
