//! Time: log-in, stanzas that do not end, keepalives.

use crate::harness::{Answers, BIND, HEADER, Server};
use std::time::Duration;
use stonechat_stanza::StreamCondition;
use stonechat_stream::c2s::Transport;

#[test]
fn abuse_37_thirty_seconds_to_log_in() {
    let mut server = Server::new(Transport::StartTls);
    assert_eq!(server.machine.poll_timeout().unwrap() - server.now, Duration::from_secs(30));
    server.wait(Duration::from_secs(29));
    assert_eq!(server.closed(), None);
    let answer = server.wait(Duration::from_secs(1));
    assert!(answer.contains("<stream:stream ") && answer.contains("<connection-timeout "), "{answer}");
    assert_eq!(server.ended_with(), Some(StreamCondition::ConnectionTimeout));
}

#[test]
fn abuse_37_activity_does_not_prolong_it() {
    let mut server = Server::new(Transport::DirectTls);
    server.send(HEADER);
    for _ in 0..29 {
        server.wait(Duration::from_secs(1));
        server.send(" ");
    }
    server.log_in();
    server.send(HEADER);
    server.wait(Duration::from_secs(1));
    assert_eq!(server.ended_with(), Some(StreamCondition::ConnectionTimeout));
}

#[test]
fn an_answer_that_does_not_come_holds_nobody_for_longer() {
    let mut server = Server::new(Transport::DirectTls);
    server.send(HEADER);
    server.log_in();
    server.send(HEADER);
    server.answers = Answers::Never;
    server.send(BIND);
    server.wait(Duration::from_secs(30));
    assert_eq!(server.ended_with(), Some(StreamCondition::ConnectionTimeout));
}

#[test]
fn abuse_21_a_stanza_that_does_not_end() {
    let mut server = Server::bound();
    server.send("<message><body>");
    for _ in 0..59 {
        server.wait(Duration::from_secs(1));
        server.send("x");
    }
    assert_eq!(server.closed(), None);
    server.wait(Duration::from_secs(1));
    assert_eq!(server.ended_with(), Some(StreamCondition::ConnectionTimeout));
}

#[test]
fn abuse_21_each_stanza_has_its_own_time() {
    let mut server = Server::bound();
    for _ in 0..5 {
        server.send("<message><body>");
        server.wait(Duration::from_secs(40));
        server.send("x</body></message>");
    }
    assert_eq!(server.closed(), None);
    assert_eq!(server.stanzas().len(), 5);
}

#[test]
fn rfc6120_4_6_1_white_space_keeps_a_quiet_stream() {
    let mut server = Server::bound();
    assert_eq!(server.wait(Duration::from_secs(599)), "");
    assert_eq!(server.wait(Duration::from_secs(1)), " ");
    assert_eq!(server.wait(Duration::from_secs(1)), "");
    assert_eq!(server.wait(Duration::from_secs(599)), " ");
    // One that says something itself is not quiet.
    assert_eq!(server.wait(Duration::from_secs(300)), "");
    server.send(" ");
    assert_eq!(server.wait(Duration::from_secs(599)), "");
    assert_eq!(server.wait(Duration::from_secs(1)), " ");
    assert_eq!(server.closed(), None);
}
