//! XEP-0388 with and without what it carries.

use crate::harness::{
    Answers, BIND, HEADER, Server, Store, account, agent, auth, authenticate, authenticate_plain, bindings, failure2,
    inside, password, response2_element, scram,
};
use stonechat_sasl::{ChannelBinding, ChannelBindings, Failure, Mechanism, Offer, decode};
use stonechat_stanza::StreamCondition;
use stonechat_stream::TlsFacts;
use stonechat_stream::c2s::{Authorized, C2s, Command, Event, Failed, TokenFate, Transport, UserAgent};

fn authorized(server: &Server) -> &Authorized {
    let found = server.events.iter().find_map(|event| match event {
        Event::Authorized(_, authorized) => Some(authorized),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{:?}", server.events))
}

fn nobody_is_in(server: &Server) {
    let inside = server.events.iter().any(|event| {
        matches!(event, Event::Authorized(..) | Event::Authenticated(_) | Event::Bind2(..) | Event::Resume(..))
    });
    assert!(!inside, "{:?}", server.events);
}

/// The names in the elements of that name.
fn all<'a>(features: &'a str, name: &str) -> Vec<&'a str> {
    features.split(&format!("<{name}>")).skip(1).filter_map(|rest| rest.split_once('<')).map(|(text, _)| text).collect()
}

#[test]
fn xep0388_2_1_what_is_announced() {
    let mut server = Server::new(Transport::DirectTls);
    let features = server.send(HEADER);
    let classic = all(inside(&features, "mechanisms"), "mechanism");
    let extensible = inside(&features, "authentication");
    let (own, rest) = extensible.split_once("<inline>").unwrap();
    assert_eq!(all(own, "mechanism"), classic, "the same mechanisms in the same order");
    let (inline, upgrades) = rest.split_once("</inline><upgrade ").unwrap();
    assert_eq!(
        inline,
        "<bind xmlns='urn:xmpp:bind:0'><inline><feature var='urn:xmpp:carbons:2'/><feature var='urn:xmpp:csi:0'/>\
         <feature var='urn:xmpp:sm:3'/></inline></bind><sm xmlns='urn:xmpp:sm:3'/><fast xmlns='urn:xmpp:fast:0'>\
         <mechanism>HT-SHA-256-EXPR</mechanism><mechanism>HT-SHA-256-ENDP</mechanism>\
         <mechanism>HT-SHA-256-NONE</mechanism></fast>"
    );
    assert_eq!(
        upgrades,
        "xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade>\
         <upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-256</upgrade>"
    );
    // XEP-0440 §2: once, beside both.
    assert_eq!(features.matches("<sasl-channel-binding ").count(), 1, "{features}");
    assert!(!extensible.contains("sasl-channel-binding"));
}

#[test]
fn xep0388_3_never_in_the_clear() {
    for transport in [Transport::StartTls, Transport::StartTlsOptional] {
        let mut server = Server::new(transport);
        assert!(!server.send(HEADER).contains("urn:xmpp:sasl:2"));
        assert_eq!(server.send(&authenticate_plain("")), failure2("encryption-required"));
        assert_eq!(server.send(&authenticate("SCRAM-SHA-1", b"n,,n=user,r=abc", "")), failure2("encryption-required"));
        nobody_is_in(&server);
        assert_eq!(server.closed(), None);
    }
}

#[test]
fn xep0388_4_log_in_without_anything_else_and_classic_bind() {
    let mut server = Server::started();
    let answer = server.send(&authenticate_plain(&agent("A-1")));
    let (success, features) = answer.split_once("<stream:features>").unwrap();
    assert_eq!(
        success,
        "<success xmlns='urn:xmpp:sasl:2'><authorization-identifier>user@a.example</authorization-identifier></success>"
    );
    for part in
        ["<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>", "<sm xmlns='urn:xmpp:sm:3'/>", "<csi ", "<ver ", "262144"]
    {
        assert!(features.contains(part), "{part} in {features}");
    }
    for never in ["mechanism", "urn:xmpp:sasl:2", "config-version"] {
        assert!(!features.contains(never), "{never} in {features}");
    }
    assert_eq!(
        *authorized(&server),
        Authorized {
            account: account(),
            device: Some(UserAgent { id: "A-1".into(), software: Some("Awesome".into()), name: Some("Phone".into()) }),
            mechanism: "PLAIN",
            requested_token: None,
            invalidate: TokenFate::Kept,
            used_token: None,
            count: 0,
        }
    );
    assert!(!server.events.iter().any(|event| matches!(event, Event::Authenticated(_))), "that is classic SASL");
    // No restart: the stream goes on.
    assert!(server.send(BIND).contains("<jid>user@a.example/balcony</jid>"));
    server.send("<presence/>");
    assert_eq!(server.stanzas().len(), 1);
    // Who is in is held to the larger bounds, in one stanza and in all of them.
    for _ in 0..3 {
        server.send(&format!("<message to='b@a.example'><body>{}</body></message>", "x".repeat(20_000)));
    }
    assert_eq!((server.stanzas().len(), server.closed()), (4, None));
}

#[test]
fn xep0388_2_5_scram_with_its_challenge_and_its_last_words() {
    let mut server = Server::started();
    let offer = Offer {
        mechanisms: Mechanism::ALL.into_iter().filter(|mechanism| *mechanism != Mechanism::External).collect(),
        channel_bindings: bindings().types(),
    };
    // XEP-0474 §5.1: what is signed is the list of this profile.
    let mut scram = scram(Some(ChannelBinding::TlsExporter)).verify_offer(offer);
    let challenge = server.send(&authenticate("SCRAM-SHA-256-PLUS", &scram.initial(), ""));
    assert!(challenge.starts_with("<challenge xmlns='urn:xmpp:sasl:2'>"), "{challenge}");
    let challenge = decode(inside(&challenge, "challenge")).unwrap();
    // XEP-0515 §4.1
    assert!(String::from_utf8(challenge.clone()).unwrap().ends_with(",t=0304"));
    let response = scram.respond(&challenge).unwrap();
    let success = server.send(&response2_element(&response));
    scram.finish(&decode(inside(&success, "additional-data")).unwrap()).unwrap();
    assert_eq!(inside(&success, "authorization-identifier"), "user@a.example");
    assert_eq!(authorized(&server).mechanism, "SCRAM-SHA-256-PLUS");
}

#[test]
fn xep0388_2_2_how_data_is_written() {
    // No initial response: an empty challenge, written as nothing.
    let mut server = Server::started();
    let asked = server.send("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>");
    assert_eq!(asked, "<challenge xmlns='urn:xmpp:sasl:2'></challenge>");
    let answer = server.send("<response xmlns='urn:xmpp:sasl:2'>\n AHVzZXIAcGVuY2ls\n</response>");
    assert!(answer.starts_with("<success "), "{answer}");
    // An empty one is a message, and not one of PLAIN's.
    let mut server = Server::started();
    let empty = "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response/></authenticate>";
    assert_eq!(server.send(empty), failure2("malformed-request"));
    for bad in ["=", "AHVzZXIAcGVuY2l", "AHVz ZXIAcGVuY2ls", "%"] {
        let mut server = Server::started();
        let asked = format!(
            "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>{bad}</initial-response>\
             </authenticate>"
        );
        assert_eq!(server.send(&asked), failure2("incorrect-encoding"), "{bad}");
        nobody_is_in(&server);
    }
}

#[test]
fn xep0388_2_6_2_failures_and_another_attempt() {
    let mut server = Server::started();
    assert_eq!(server.send(&authenticate("PLAIN", b"\0user\0wrong", "")), failure2("not-authorized"));
    assert_eq!(server.send(&authenticate("X-OAUTH", b"x", "")), failure2("invalid-mechanism"));
    assert_eq!(
        server.send("<authenticate xmlns='urn:xmpp:sasl:2'/>"),
        format!(
            "{}<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>too many failed log-ins</text></stream:error>\
             </stream:stream>",
            failure2("invalid-mechanism")
        ),
        "three attempts, whatever the profile"
    );
    nobody_is_in(&server);
    // One profile after the other.
    let mut server = Server::started();
    assert_eq!(server.send(&authenticate("PLAIN", b"\0user\0wrong", "")), failure2("not-authorized"));
    assert!(
        server.send(&auth("PLAIN", b"\0user\0pencil")).starts_with("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'")
    );
    let mut server = Server::started();
    server.send(&auth("PLAIN", b"\0user\0wrong"));
    assert!(server.send(&authenticate_plain("")).starts_with("<success xmlns='urn:xmpp:sasl:2'"));
    // Of the account, and of the store.
    for (store, condition) in [(Store::Locked, "account-disabled"), (Store::Down, "temporary-auth-failure")] {
        let mut server = Server::started();
        server.store = store;
        assert_eq!(server.send(&authenticate_plain("")), failure2(condition));
        nobody_is_in(&server);
    }
    // Decided outside.
    let mut server = Server::started();
    server.denied = Some(Failure::AccountDisabled);
    assert_eq!(server.send(&authenticate_plain("")), failure2("account-disabled"));
    let told = server.events.iter().any(|event| {
        matches!(event, Event::AuthenticationFailed(Failed { failure: Failure::AccountDisabled, account: Some(_), .. }))
    });
    assert!(told, "{:?}", server.events);
    assert!(server.send(BIND).contains("<not-authorized "), "and is nobody");
}

#[test]
fn xep0388_4_5_aborting() {
    let mut server = Server::started();
    server.send(&authenticate("SCRAM-SHA-1", b"n,,n=user,r=abcdefghijklmnopqrstuvwx", ""));
    let answer = server.send("<abort xmlns='urn:xmpp:sasl:2'><text>bored</text></abort>");
    assert_eq!(answer, failure2("aborted"));
    assert!(server.send(&authenticate_plain("")).starts_with("<success "));
}

#[test]
fn xep0388_2_4_nothing_else_meanwhile() {
    for (other, condition) in [
        ("<presence/>", StreamCondition::NotAuthorized),
        ("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", StreamCondition::UnsupportedStanzaType),
        ("<enable xmlns='urn:xmpp:sm:3'/>", StreamCondition::UnsupportedStanzaType),
        ("<next xmlns='urn:xmpp:sasl:2' task='UPGR-SCRAM-SHA-256'/>", StreamCondition::NotAuthorized),
        ("<task-data xmlns='urn:xmpp:sasl:2'/>", StreamCondition::NotAuthorized),
        ("<success xmlns='urn:xmpp:sasl:2'/>", StreamCondition::UnsupportedStanzaType),
    ] {
        let mut server = Server::started();
        server.send(&authenticate("SCRAM-SHA-1", b"n,,n=user,r=abcdefghijklmnopqrstuvwx", ""));
        server.send(other);
        assert_eq!(server.ended_with(), Some(condition), "{other}");
    }
    // An answer to nothing, and a profile in the middle of the other.
    for nothing in ["<response xmlns='urn:xmpp:sasl:2'/>", "<abort xmlns='urn:xmpp:sasl:2'/>"] {
        let mut server = Server::started();
        server.send(nothing);
        assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized), "{nothing}");
    }
    let mut server = Server::started();
    server.send(&auth("SCRAM-SHA-1", b"n,,n=user,r=abcdefghijklmnopqrstuvwx"));
    server.send(&authenticate_plain(""));
    assert_eq!(server.ended_with(), Some(StreamCondition::NotAuthorized));
    nobody_is_in(&server);
}

#[test]
fn xep0388_4_7_one_log_in_a_stream() {
    let mut server = Server::started();
    server.send(&authenticate_plain(""));
    server.send(&authenticate_plain(""));
    assert_eq!(server.ended_with(), Some(StreamCondition::UnsupportedStanzaType));
    let mut server = Server::started();
    server.send(&authenticate_plain("<bind xmlns='urn:xmpp:bind:0'/>"));
    server.send(&authenticate_plain(""));
    assert_eq!(server.ended_with(), Some(StreamCondition::UnsupportedStanzaType));
}

#[test]
fn xep0388_2_3_whom_the_header_named_is_who_logs_in() {
    let cases = [
        ("from='user@a.example'", true),
        ("from='USER@A.example/phone'", true),
        ("from='other@a.example'", false),
        ("from='user@b.example'", false),
        ("from='a.example'", false),
        ("from='@'", false),
        ("from=''", false),
        ("", true),
    ];
    for (from, allowed) in cases {
        let mut server = Server::new(Transport::DirectTls);
        server.send(&HEADER.replace("to=", &format!("{from} to=")));
        let answer = server.send(&authenticate_plain(""));
        match allowed {
            true => assert!(answer.starts_with("<success "), "{from}: {answer}"),
            false => {
                assert_eq!(answer, failure2("invalid-authzid"), "{from}");
                nobody_is_in(&server);
            }
        }
    }
    let mut server = Server::started();
    let initial = b"other@a.example\0user\0pencil";
    assert_eq!(server.send(&authenticate("PLAIN", initial, "")), failure2("invalid-authzid"));
    let mut server = Server::started();
    assert!(server.send(&authenticate("PLAIN", b"user@a.example\0user\0pencil", "")).starts_with("<success "));
}

#[test]
fn xep0388_2_3_user_agents() {
    let device = |rest: &str| {
        let mut server = Server::started();
        let answer = server.send(&authenticate_plain(rest));
        assert!(answer.starts_with("<success "), "{rest}: {answer}");
        authorized(&server).device.clone()
    };
    assert_eq!(device(""), None);
    assert_eq!(device("<user-agent><software>x</software></user-agent>"), None, "nothing to be known by");
    let only = device("<user-agent id='A'/>").unwrap();
    assert_eq!((only.id.as_str(), only.software, only.name), ("A", None, None));
    let long = "x".repeat(500);
    let printed =
        device(&format!("<user-agent id='A'><software> a\u{9b}31m\tb{long}</software><device/></user-agent>"));
    let printed = printed.unwrap();
    let software = printed.software.unwrap();
    assert!(software.starts_with("a 31m b") && software.chars().count() == 200, "{software}");
    assert_eq!(printed.name, None);
    for bad in [format!("<user-agent id='{}'/>", "x".repeat(65)), "<user-agent id='a b'/>".to_owned()] {
        let mut server = Server::started();
        assert_eq!(server.send(&authenticate_plain(&bad)), failure2("malformed-request"), "{bad}");
        nobody_is_in(&server);
    }
}

#[test]
fn abuse_39_what_contradicts_itself_is_refused_as_a_whole() {
    let resume = "<resume xmlns='urn:xmpp:sm:3' previd='old' h='0'/>";
    let bind = |rest: &str| format!("<bind xmlns='urn:xmpp:bind:0'>{rest}</bind>");
    let cases = [
        format!("{resume}{resume}"),
        format!("{}{}", bind(""), bind("")),
        bind("<tag>a</tag><tag>b</tag>"),
        bind("<active xmlns='urn:xmpp:csi:0'/><inactive xmlns='urn:xmpp:csi:0'/>"),
        bind("<enable xmlns='urn:xmpp:carbons:2'/><disable xmlns='urn:xmpp:carbons:2'/>"),
        bind("<enable xmlns='urn:xmpp:sm:3'/><enable xmlns='urn:xmpp:sm:3' resume='true'/>"),
        format!("{}{}", agent("A"), agent("B")),
        "<initial-response>AHVzZXIAcGVuY2ls</initial-response>".to_owned(),
        // A password, and a token.
        format!("{}<fast xmlns='urn:xmpp:fast:0'/>", agent("A")),
        "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-EXPR'/>\
         <request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>"
            .to_owned(),
        "<request-token xmlns='urn:xmpp:fast:0'/>".to_owned(),
        "<config-version xmlns='urn:xmpp:iap:0'/>".to_owned(),
    ];
    for case in cases {
        let mut server = Server::started();
        assert_eq!(server.send(&authenticate_plain(&case)), failure2("malformed-request"), "{case}");
        nobody_is_in(&server);
        assert!(!server.events.iter().any(|event| matches!(event, Event::Lookup(..))), "{case}");
        assert_eq!(server.machine.bound(), None);
        // Nothing of it is left.
        let answer = server.send(&authenticate_plain(""));
        assert!(answer.contains("<authorization-identifier>user@a.example</authorization-identifier>"), "{answer}");
    }
}

#[test]
fn abuse_39_an_answer_that_does_not_come_lets_nobody_in() {
    let everything = format!(
        "{}<bind xmlns='urn:xmpp:bind:0'/><resume xmlns='urn:xmpp:sm:3' previd='old' h='0'/><presence/>",
        agent("A")
    );
    let mut server = Server::started();
    server.answers = Answers::Never;
    assert_eq!(server.send(&format!("{}<presence/>", authenticate_plain(&everything))), "");
    assert!(!server.machine.wants_input());
    server.wait(std::time::Duration::from_secs(30));
    assert_eq!(server.ended_with(), Some(StreamCondition::ConnectionTimeout));
    assert!(server.stanzas().is_empty() && server.machine.bound().is_none());
}

/// Asks every question of a log-in with everything, and answers each with something that belongs to another.
#[test]
fn answers_to_other_questions_change_nothing() {
    let mut server = Server::started();
    server.answers = Answers::Never;
    let mut tokens = Vec::new();
    server
        .send(&authenticate_plain("<resume xmlns='urn:xmpp:sm:3' previd='old' h='0'/><bind xmlns='urn:xmpp:bind:0'/>"));
    for round in 0..5 {
        let Some(event) = server.events.pop() else { panic!("nothing is asked in round {round}") };
        let (token, right) = match event {
            Event::Lookup(token, _) => {
                let lookup = stonechat_sasl::Lookup::Found(stonechat_sasl::Credentials::derive(
                    &password("pencil"),
                    [[1; 16]; 3],
                    1,
                ));
                (token, Command::Credentials(token, lookup))
            }
            Event::CheckPassword(token, ..) => {
                (token, Command::PasswordChecked(token, stonechat_sasl::Verdict::Accepted))
            }
            Event::Authorized(token, _) => (token, Command::Granted(token, Default::default())),
            Event::Resume(token, _) => (token, Command::ResumeRefused(token, None)),
            Event::Bind2(token, _) => {
                let jid = stonechat_jid::FullJid::parse("user@a.example/x").unwrap();
                let bound = stonechat_stream::c2s::Bound2 { jid, archive: None, enabled: None };
                (token, Command::Bound2(token, bound))
            }
            other => panic!("{other:?}"),
        };
        // What was answered is not asked any more.
        for old in &tokens {
            assert_eq!(server.command(Command::Granted(*old, Default::default())), "", "round {round}");
            assert_eq!(server.command(Command::Denied(*old, Failure::NotAuthorized)), "", "round {round}");
            assert_eq!(server.command(Command::ResumeRefused(*old, None)), "", "round {round}");
            assert_eq!(server.command(Command::Upgraded(*old)), "", "round {round}");
            let error = stonechat_stanza::StanzaCondition::Conflict.into();
            assert_eq!(server.command(Command::BindRefused(*old, error)), "", "round {round}");
        }
        tokens.push(token);
        let answer = server.command(right);
        assert_eq!(answer.is_empty(), round < 4, "round {round}: {answer}");
    }
    assert_eq!(server.machine.bound().unwrap().as_str(), "user@a.example/x");
}

#[test]
fn xep0388_2_1_without_bindings_there_is_less_to_offer() {
    let config = crate::harness::config(Transport::DirectTls, stonechat_stream::Registration::Closed);
    let now = std::time::Instant::now();
    let mut machine = C2s::new(std::sync::Arc::new(config), now);
    let bindings = ChannelBindings { tls_server_end_point: Some(vec![1; 32]), ..ChannelBindings::default() };
    machine.on_tls(now, TlsFacts { bindings, ..TlsFacts::default() });
    machine.on_bytes(now, HEADER.as_bytes());
    let mut out = Vec::new();
    machine.poll_transmit(&mut out);
    let features = String::from_utf8(out).unwrap();
    assert!(!features.contains("PLUS") && !features.contains("HT-SHA-256-EXPR"), "{features}");
    assert!(features.contains("<mechanism>HT-SHA-256-ENDP</mechanism><mechanism>HT-SHA-256-NONE</mechanism>"));
}
