//! XEP-0480.

use crate::harness::{
    Server, Store, account, agent, authenticate, authenticate_plain, failure2, inside, password, response2_element,
    scram,
};
use stonechat_sasl::{Credentials, DEFAULT_ITERATIONS, Hash, ScramKeys, decode, encode};
use stonechat_stanza::StreamCondition;
use stonechat_stream::c2s::Event;

const BOTH: &str = "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-256</upgrade>\
     <upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade>\
     <upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA3-512</upgrade>";
const NEXT: &str = "<next xmlns='urn:xmpp:sasl:2' task='UPGR-SCRAM-SHA-512'/>";

fn hash(data: &[u8]) -> String {
    format!(
        "<task-data xmlns='urn:xmpp:sasl:2'><hash xmlns='urn:xmpp:scram-upgrade:0'>{}</hash></task-data>",
        encode(data)
    )
}

fn upgraded(server: &Server) -> Option<(Hash, &ScramKeys)> {
    server.events.iter().find_map(|event| match event {
        Event::Upgraded(_, whose, hash, keys) => {
            assert_eq!(*whose, account());
            Some((*hash, keys))
        }
        _ => None,
    })
}

fn lacking() -> Server {
    let mut server = Server::started();
    server.store = Store::Lacking;
    server
}

#[test]
fn xep0480_3_keys_are_brought_before_the_client_is_let_in() {
    let mut server = lacking();
    let wish = format!("{BOTH}{}<bind xmlns='urn:xmpp:bind:0'/>", agent("A"));
    let mut scram = scram(None);
    let challenge = server.send(&authenticate("SCRAM-SHA-256", &scram.initial(), &wish));
    let response = scram.respond(&decode(inside(&challenge, "challenge")).unwrap()).unwrap();
    let asked = server.send(&response2_element(&response));
    // One task, which is what the account lacks of what the client can do; the mechanism's last words come with it.
    let words = inside(&asked, "additional-data");
    scram.finish(&decode(words).unwrap()).unwrap();
    assert_eq!(
        asked,
        format!(
            "<continue xmlns='urn:xmpp:sasl:2'><additional-data>{words}</additional-data>\
             <tasks><task>UPGR-SCRAM-SHA-512</task></tasks></continue>"
        )
    );
    assert!(!server.events.iter().any(|event| matches!(event, Event::Authorized(..) | Event::Bind2(..))), "not yet");
    let salted = server.send(NEXT);
    let salt = inside(&salted, "salt");
    assert_eq!(
        salted,
        format!(
            "<task-data xmlns='urn:xmpp:sasl:2'><salt xmlns='urn:xmpp:scram-upgrade:0' \
             iterations='{DEFAULT_ITERATIONS}'>{salt}</salt></task-data>"
        )
    );
    let salt: [u8; 16] = decode(salt).unwrap().try_into().unwrap();
    assert_ne!(salt, [0; 16], "it is drawn");
    let expected = Credentials::derive(&password("pencil"), [[0; 16], [0; 16], salt], DEFAULT_ITERATIONS);
    let done = server.send(&hash(&salted_password(&salt)));
    assert!(done.starts_with("<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>user@a.example/"), "{done}");
    assert!(!done.contains("additional-data"), "they were said: {done}");
    assert!(done.contains("<bound "), "{done}");
    let (of, keys) = upgraded(&server).unwrap();
    assert!(of == Hash::Sha512 && Some(keys) == expected.sha512.as_ref());
}

/// RFC 5802 §3's Hi with HMAC-SHA-512, as a client computes it.
fn salted_password(salt: &[u8]) -> Vec<u8> {
    use hmac::{Hmac, KeyInit, Mac};
    let mac = |bytes: &[&[u8]]| {
        let mut mac = Hmac::<sha2::Sha512>::new_from_slice(b"pencil").unwrap();
        bytes.iter().for_each(|bytes| mac.update(bytes));
        mac.finalize().into_bytes().to_vec()
    };
    let mut block = mac(&[salt, &1u32.to_be_bytes()]);
    let mut sum = block.clone();
    for _ in 1..DEFAULT_ITERATIONS {
        block = mac(&[&block]);
        sum.iter_mut().zip(&block).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

#[test]
fn xep0480_2_2_only_what_is_asked_for_and_lacking() {
    // Nothing lacks.
    let mut server = Server::started();
    assert!(server.send(&authenticate_plain(BOTH)).starts_with("<success "));
    // Something lacks, and was not asked for.
    let other = "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-256</upgrade>";
    for rest in ["", other] {
        assert!(lacking().send(&authenticate_plain(rest)).starts_with("<success "), "{rest}");
    }
    // By PLAIN, which has no last words.
    let mut server = lacking();
    assert_eq!(
        server.send(&authenticate_plain(BOTH)),
        "<continue xmlns='urn:xmpp:sasl:2'><tasks><task>UPGR-SCRAM-SHA-512</task></tasks></continue>"
    );
    // Nobody brings keys without a password.
    let mut server = lacking();
    assert_eq!(server.send(&authenticate("PLAIN", b"\0user\0wrong", BOTH)), failure2("not-authorized"));
    assert_eq!(server.send(&authenticate("PLAIN", b"\0nobody\0pencil", BOTH)), failure2("not-authorized"));
}

#[test]
fn abuse_39_a_task_that_is_not_done_lets_nobody_in() {
    let good = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
    let raw = |text: &str| {
        format!("<task-data xmlns='urn:xmpp:sasl:2'><hash xmlns='urn:xmpp:scram-upgrade:0'>{text}</hash></task-data>")
    };
    let cases = [
        vec!["<next xmlns='urn:xmpp:sasl:2' task='UPGR-SCRAM-SHA-256'/>".to_owned()],
        vec!["<next xmlns='urn:xmpp:sasl:2'/>".to_owned()],
        vec![raw(good)],
        vec![NEXT.to_owned(), NEXT.to_owned()],
        vec![NEXT.to_owned(), "<task-data xmlns='urn:xmpp:sasl:2'/>".to_owned()],
        vec![NEXT.to_owned(), raw("")],
        vec![NEXT.to_owned(), raw("!")],
        vec![NEXT.to_owned(), hash(&[1; 32])],
        vec![NEXT.to_owned(), hash(&[1; 65])],
    ];
    for case in cases {
        let mut server = lacking();
        server.send(&authenticate_plain(&format!("{BOTH}<bind xmlns='urn:xmpp:bind:0'/>")));
        let answer = case.iter().map(|said| server.send(said)).last().unwrap();
        assert_eq!(answer, failure2("malformed-request"), "{case:?}");
        assert!(upgraded(&server).is_none(), "{case:?}");
        assert!(!server.events.iter().any(|event| matches!(event, Event::Authorized(..) | Event::Bind2(..))));
        // It may try again, without.
        assert!(server.send(&authenticate_plain("")).starts_with("<success "), "{case:?}");
    }
    let mut server = lacking();
    server.send(&authenticate_plain(BOTH));
    assert_eq!(server.send("<abort xmlns='urn:xmpp:sasl:2'/>"), failure2("aborted"));
    for other in ["<presence/>", "<response xmlns='urn:xmpp:sasl:2'/>", "<authenticate xmlns='urn:xmpp:sasl:2'/>"] {
        let mut server = lacking();
        server.send(&authenticate_plain(BOTH));
        server.send(other);
        assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized), "{other}");
    }
}
