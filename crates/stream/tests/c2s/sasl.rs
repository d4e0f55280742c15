//! SASL on the stream (RFC 6120 §6). What the mechanisms themselves decide is tested with them.

use crate::harness::{
    Answers, BIND, HEADER, STARTTLS, Server, Store, auth, auth_text, domain, password, payload, response_element, scram,
};
use stonechat_sasl::client::{Scram, plain};
use stonechat_sasl::{ChannelBinding, Failure, Hash, Notice};
use stonechat_stanza::StreamCondition;
use stonechat_stream::c2s::{Event, Failed, Transport};

fn failures(server: &Server) -> Vec<&Failed> {
    server
        .events
        .iter()
        .filter_map(|event| match event {
            Event::AuthenticationFailed(failed) => Some(failed),
            _ => None,
        })
        .collect()
}

fn started() -> Server {
    let mut server = Server::new(Transport::DirectTls);
    server.send(HEADER);
    server
}

fn is_authenticated(server: &Server) -> bool {
    server.events.iter().any(|event| matches!(event, Event::Authenticated(_)))
}

#[test]
fn every_mechanism_logs_in() {
    for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
        for binding in [None, Some(ChannelBinding::TlsExporter), Some(ChannelBinding::TlsServerEndPoint)] {
            let mut server = started();
            let data = binding.map(|kind| (kind, crate::harness::bindings().get(kind).unwrap().to_vec()));
            let plus = if binding.is_some() { "-PLUS" } else { "" };
            let mut scram = Scram::new(hash, "user", &password("pencil"), &[8; 18], data);
            let name = match hash {
                Hash::Sha1 => "SCRAM-SHA-1",
                Hash::Sha256 => "SCRAM-SHA-256",
                Hash::Sha512 => "SCRAM-SHA-512",
            };
            let challenge = server.send(&auth(&format!("{name}{plus}"), &scram.initial()));
            let response = scram.respond(&payload(&challenge)).unwrap();
            let success = server.send(&response_element(&response));
            assert!(success.starts_with("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"), "{success}");
            scram.finish(&payload(&success)).unwrap();
            assert!(is_authenticated(&server));
        }
    }
    let mut server = started();
    let success = server.send(&auth("PLAIN", &plain(None, "user", &password("pencil"))));
    assert_eq!(success, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert!(is_authenticated(&server));
}

#[test]
fn plus_is_offered_when_both_bindings_work() {
    for (exporter, end_point, plus) in [(true, true, true), (true, false, false), (false, true, false)] {
        let mut server = Server::new(Transport::StartTls);
        server.answers = Answers::Never;
        server.send(HEADER);
        server.send(STARTTLS);
        let mut bindings = crate::harness::bindings();
        if !exporter {
            bindings.tls_exporter = None;
        }
        if !end_point {
            bindings.tls_server_end_point = None;
        }
        server.machine.on_tls(server.now, stonechat_stream::TlsFacts { bindings, ..Default::default() });
        let features = server.send(HEADER);
        assert_eq!(features.contains("-PLUS<"), plus, "{features}");
        assert_eq!(features.contains("urn:xmpp:sasl-cb:0"), plus, "{features}");
    }
}

#[test]
fn abuse_50_a_mechanism_that_is_not_offered() {
    for mechanism in ["DIGEST-MD5", "EXTERNAL", "ANONYMOUS", "", "plain"] {
        let mut server = started();
        let answer = server.send(&auth(mechanism, b"x"));
        assert_eq!(
            answer, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><invalid-mechanism/></failure>",
            "{mechanism}"
        );
    }
}

#[test]
fn abuse_51_encodings() {
    for text in ["AA=A", "A", "AHVzZXIAcGVuY2ls!", " AHVzZXIAcGVuY2ls", "AHVz ZXIAcGVuY2ls", "=="] {
        let mut server = started();
        assert!(server.send(&auth_text("PLAIN", text)).contains("<incorrect-encoding/>"), "{text:?}");
    }
    // An empty initial response is a message, none is none.
    let mut server = started();
    assert!(server.send(&auth_text("PLAIN", "=")).contains("<malformed-request/>"));
    let mut server = started();
    let challenge = server.send(&auth_text("PLAIN", ""));
    assert_eq!(challenge, "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>=</challenge>");
    let success = server.send(&response_element(&plain(None, "user", &password("pencil"))));
    assert!(success.contains("<success"), "{success}");
}

#[test]
fn abuse_52_and_53_plain_messages() {
    let cases: [(&[u8], &str); 7] = [
        (b"user", "malformed-request"),
        (b"user\0pencil", "malformed-request"),
        (b"\0user\0pencil\0", "malformed-request"),
        (b"\0\0pencil", "malformed-request"),
        (b"other@a.example\0user\0pencil", "invalid-authzid"),
        (b"user@b.example\0user\0pencil", "invalid-authzid"),
        (b"user\0user\0pencil", "invalid-authzid"),
    ];
    for (message, condition) in cases {
        let mut server = started();
        let answer = server.send(&auth("PLAIN", message));
        assert!(answer.contains(&format!("<{condition}/>")), "{message:?}: {answer}");
        assert!(!is_authenticated(&server));
    }
    let mut server = started();
    assert!(server.send(&auth("PLAIN", b"user@a.example\0user\0pencil")).contains("<success"));
}

#[test]
fn abuse_54_the_third_failure_ends_the_stream() {
    let wrong = auth("PLAIN", &plain(None, "user", &password("wrong")));
    let mut server = started();
    for _ in 0..2 {
        assert_eq!(
            server.send(&wrong),
            "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"
        );
        assert_eq!(server.closed(), None);
    }
    let answer = server.send(&wrong);
    assert!(answer.contains("<not-authorized/>") && answer.contains("<policy-violation "), "{answer}");
    assert_eq!(server.ended_with(), Some(StreamCondition::PolicyViolation));
    let failures = failures(&server);
    assert_eq!(failures.len(), 3);
    assert!(failures.iter().all(|failed| failed.account.as_ref().unwrap().as_str() == "user@a.example"));
}

#[test]
fn abuse_54_two_failures_leave_one_try() {
    let mut server = started();
    for _ in 0..2 {
        server.send(&auth("PLAIN", &plain(None, "user", &password("wrong"))));
    }
    server.log_in();
    assert!(is_authenticated(&server));
}

/// What a client can see of an exchange with a wrong password.
fn refused(user: &str, store: Store) -> Vec<String> {
    let mut server = started();
    server.store = store;
    let mut scram = Scram::new(Hash::Sha256, user, &password("wrong"), &[4; 18], None);
    let challenge = server.send(&auth("SCRAM-SHA-256", &scram.initial()));
    let first = payload(&challenge);
    let mut seen = vec![format!("{}", first.len())];
    let response = scram.respond(&first).unwrap();
    seen.push(server.send(&response_element(&response)));
    seen
}

#[test]
fn abuse_55_an_unknown_user_looks_like_a_wrong_password() {
    let known = refused("user", Store::Working);
    assert_eq!(refused("nobody", Store::Working), known);
    assert_eq!(refused("user", Store::Locked), known, "abuse 61: locked is told to who knows the password");
    // A name that no account can have, and that no question is asked about.
    assert_eq!(refused("no body", Store::Working), known);
    let mut server = started();
    server.send(&auth("SCRAM-SHA-256", b"n,,n=a@b,r=abcdefghijklmnopqrstuvwx"));
    assert!(!server.events.iter().any(|event| matches!(event, Event::Lookup(..))));
}

#[test]
fn abuse_55_an_unknown_user_has_the_same_salt_each_time() {
    let salt = || {
        let mut server = started();
        let challenge = server.send(&auth("SCRAM-SHA-256", b"n,,n=nobody,r=abcdefghijklmnopqrstuvwx"));
        let first = String::from_utf8(payload(&challenge)).unwrap();
        first.split(',').find(|part| part.starts_with("s=")).unwrap().to_owned()
    };
    assert_eq!(salt(), salt());
}

#[test]
fn abuse_57_plus_bound_to_another_connection() {
    let mut server = started();
    let mut scram = Scram::new(
        Hash::Sha256,
        "user",
        &password("pencil"),
        &[4; 18],
        Some((ChannelBinding::TlsExporter, vec![0; 32])),
    );
    let challenge = server.send(&auth("SCRAM-SHA-256-PLUS", &scram.initial()));
    let response = scram.respond(&payload(&challenge)).unwrap();
    assert!(server.send(&response_element(&response)).contains("<not-authorized/>"));
    assert_eq!(failures(&server)[0].notice, Some(Notice::ForeignChannel));
}

#[test]
fn abuse_58_a_downgrade_is_noticed() {
    let mut server = started();
    let answer = server.send(&auth("SCRAM-SHA-256", b"y,,n=user,r=abcdefghijklmnopqrstuvwx"));
    assert!(answer.contains("<not-authorized/>"), "{answer}");
    assert_eq!(failures(&server)[0].notice, Some(Notice::Downgrade));
}

#[test]
fn rfc5802_5_1_the_servers_half_of_a_nonce_is_another_each_time() {
    let mut server = started();
    let mut nonces = Vec::new();
    for _ in 0..2 {
        let challenge = server.send(&auth("SCRAM-SHA-256", b"n,,n=user,r=abc"));
        let challenge = String::from_utf8(payload(&challenge)).unwrap();
        let nonce = challenge.strip_prefix("r=abc").and_then(|rest| rest.split_once(','));
        nonces.push(nonce.expect("the client's half, and ours").0.to_owned());
        server.send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    }
    assert!(nonces[0] != nonces[1] && nonces[0].len() >= 24, "{nonces:?}");
}

#[test]
fn abuse_59_abort_and_interleaving() {
    let begin = auth("SCRAM-SHA-256", &scram(None).initial());
    let mut server = started();
    server.send(&begin);
    let answer = server.send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert_eq!(answer, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><aborted/></failure>");
    assert_eq!(failures(&server)[0].failure, Failure::Aborted);
    server.log_in();
    assert!(is_authenticated(&server), "an abort is no attempt");

    let cases = [
        ("<message/>", StreamCondition::NotAuthorized),
        (begin.as_str(), StreamCondition::NotAuthorized),
        ("<x xmlns='urn:x'/>", StreamCondition::UnsupportedStanzaType),
    ];
    for (interleaved, condition) in cases {
        let mut server = started();
        server.send(&begin);
        server.send(interleaved);
        assert_eq!(server.ended_with(), Some(condition), "{interleaved}");
    }
    for alone in
        ["<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"]
    {
        let mut server = started();
        server.send(alone);
        assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized), "{alone}");
    }
}

#[test]
fn abuse_60_a_megabyte_of_sasl_data() {
    let mut server = started();
    let megabyte = auth_text("SCRAM-SHA-256", &"A".repeat(1 << 20));
    server.send_cut(megabyte.as_bytes(), 16 * 1024);
    assert_eq!(server.ended_with(), Some(StreamCondition::PolicyViolation));
    assert!(server.most_held <= 64 * 1024, "P4: {}", server.most_held);
}

#[test]
fn abuse_61_locked_and_out_of_order() {
    let right = auth("PLAIN", &plain(None, "user", &password("pencil")));
    let mut server = started();
    server.store = Store::Locked;
    assert!(server.send(&right).contains("<account-disabled/>"));
    let mut server = started();
    server.store = Store::Down;
    for _ in 0..5 {
        assert!(server.send(&right).contains("<temporary-auth-failure/>"));
    }
    assert_eq!(server.closed(), None, "what is our fault is no attempt");
    server.store = Store::Working;
    assert!(server.send(&right).contains("<success"));
}

#[test]
fn abuse_63_one_name_in_whatever_form() {
    for user in ["USER", "\u{ff55}ser"] {
        let mut server = started();
        let success = server.send(&auth("PLAIN", &plain(None, user, &password("pencil"))));
        assert!(success.contains("<success"), "{user}: {success}");
    }
}

#[test]
fn secrets_are_in_no_debug_output() {
    let mut server = started();
    server.send(&auth("PLAIN", &plain(None, "user", &password("pencil"))));
    let printed = format!("{:?}", server.events);
    assert!(printed.contains("CheckPassword") && !printed.contains("pencil"), "{printed}");
}

/// Everything a client sees and the server does, for one way of cutting what the client sends.
fn transcript(piece: usize) -> (String, String) {
    let mut server = Server::new(Transport::StartTls);
    let mut received = String::new();
    received += &server.send_cut(HEADER.as_bytes(), piece);
    received += &server.send_cut(STARTTLS.as_bytes(), piece);
    received += &server.send_cut(HEADER.as_bytes(), piece);
    received += &server.send_cut(auth("PLAIN", b"\0user\0wrong").as_bytes(), piece);
    let mut scram = scram(Some(ChannelBinding::TlsServerEndPoint));
    let challenge = server.send_cut(auth("SCRAM-SHA-256-PLUS", &scram.initial()).as_bytes(), piece);
    received += &challenge;
    let response = scram.respond(&payload(&challenge)).unwrap();
    // What follows comes without waiting for answers.
    let rest = format!(
        "{}{HEADER}{BIND}<presence/> \n<message to='x@{}' id='é'><body>a&amp;b<![CDATA[<c>]]></body></message>\
         <iq type='get'><q xmlns='urn:x'/></iq><iq type='set' id='4' to='x@far.example'><q xmlns='urn:x'/></iq></stream:stream>",
        response_element(&response),
        domain("b.example"),
    );
    received += &server.send_cut(rest.as_bytes(), piece);
    (received, format!("{:?}\n{:?}", server.events, server.stanzas()))
}

#[test]
fn abuse_22_cut_anywhere_it_is_the_same_stream() {
    let whole = transcript(usize::MAX);
    assert!(
        whole.0.ends_with("</stream:stream>") && whole.0.contains("<jid>user@a.example/balcony</jid>"),
        "{whole:?}"
    );
    assert!(whole.1.contains("Closed(Cleanly)"), "{}", whole.1);
    for piece in [1, 2, 3, 5, 7, 11, 64, 1000] {
        assert_eq!(transcript(piece), whole, "pieces of {piece}");
    }
}
