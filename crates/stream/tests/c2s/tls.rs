//! STARTTLS (RFC 6120 §5).

use crate::harness::{Answers, HEADER, STARTTLS, Server, auth};
use std::time::Duration;
use stonechat_stanza::StreamCondition;
use stonechat_stream::Closed;
use stonechat_stream::c2s::{Command, Event, Transport};

#[test]
fn abuse_40_bytes_behind_starttls_close_the_connection() {
    let behind = format!("{STARTTLS}<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHUAcA==</auth>");
    for behind in [behind.as_str(), &format!("{STARTTLS} \n<"), &format!("{STARTTLS}\u{16}")] {
        let mut server = Server::new(Transport::StartTls);
        server.answers = Answers::Never;
        server.send(HEADER);
        let answer = server.send(behind);
        assert_eq!(answer, "", "nothing is executed, nothing is said");
        assert_eq!(server.closed(), Some(&Closed::Lost), "{behind}");
        assert!(!server.events.iter().any(|event| matches!(event, Event::StartTls(_))));
    }
    // In the next packet, before the handshake.
    let mut server = Server::new(Transport::StartTls);
    server.answers = Answers::Never;
    server.send(HEADER);
    assert!(server.send(STARTTLS).contains("proceed"));
    assert!(!server.machine.wants_input());
    server.send("<x/>");
    assert_eq!(server.closed(), Some(&Closed::Lost));
}

#[test]
fn white_space_behind_starttls_does_nothing() {
    for pieces in [1, usize::MAX] {
        let mut server = Server::new(Transport::StartTls);
        server.answers = Answers::Never;
        server.send(HEADER);
        let answer = server.send_cut(format!("{STARTTLS}\n ").as_bytes(), pieces);
        assert_eq!(answer, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        assert_eq!(server.closed(), None);
        assert!(!server.machine.wants_input());
    }
}

#[test]
fn abuse_41_starttls_inside_tls_or_during_sasl() {
    let mut server = Server::new(Transport::StartTls);
    server.send(HEADER);
    server.send(STARTTLS);
    server.send(HEADER);
    let answer = server.send(STARTTLS);
    assert_eq!(answer, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>");
    server.send("</stream:stream>");
    assert_eq!(server.closed(), Some(&Closed::Cleanly));

    let mut server = Server::new(Transport::StartTlsOptional);
    server.send(HEADER);
    server.send(&auth("SCRAM-SHA-256", b"n,,n=user,r=abcdefghijklmnopqrstuvwx"));
    assert!(server.send(STARTTLS).contains("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"));
}

#[test]
fn rfc6120_4_9_3_24_nothing_but_starttls_begins_tls() {
    for other in ["proceed", "failure", "x"] {
        let mut server = Server::new(Transport::StartTls);
        server.send(HEADER);
        let answer = server.send(&format!("<{other} xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"));
        assert!(!answer.contains("<proceed "), "{answer}");
        assert_eq!(server.ended_with(), Some(StreamCondition::UnsupportedStanzaType), "{other}");
    }
}

#[test]
fn nothing_is_said_in_the_middle_of_the_handshake() {
    for which in ["close", "error", "time"] {
        let mut server = Server::new(Transport::StartTls);
        server.answers = Answers::Never;
        server.send(HEADER);
        server.send(STARTTLS);
        let said = match which {
            "close" => server.command(Command::Close(None)),
            "error" => server.command(Command::Close(Some(StreamCondition::SystemShutdown.into()))),
            _ => server.wait(Duration::from_secs(30)),
        };
        assert_eq!(said, "", "{which}");
        assert!(server.closed().is_some(), "{which}");
    }
}

#[test]
fn abuse_42_no_authentication_before_tls() {
    let mut server = Server::new(Transport::StartTls);
    assert!(!server.send(HEADER).contains("mechanism"));
    let answer = server.send(&auth("PLAIN", b"\0user\0pencil"));
    assert!(answer.contains("<encryption-required/>"), "{answer}");
    assert!(!server.events.iter().any(|event| matches!(event, Event::Lookup(..) | Event::CheckPassword(..))));
    assert!(server.send(STARTTLS).contains("proceed"), "TLS is still open to it");
}

#[test]
fn in_the_clear_by_permission_scram_and_never_plain() {
    let mut server = Server::new(Transport::StartTlsOptional);
    let features = server.send(HEADER);
    assert!(features.contains("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), "{features}");
    assert!(features.contains("SCRAM-SHA-1<"), "{features}");
    for never in ["PLAIN", "PLUS", "sasl-channel-binding"] {
        assert!(!features.contains(never), "{never} in {features}");
    }
    assert!(server.send(&auth("PLAIN", b"\0user\0pencil")).contains("<invalid-mechanism/>"));
}
