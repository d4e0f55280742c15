//! XEP-0484.

use crate::harness::{
    BIND, DEVICE, HEADER, Server, Store, agent, authenticate, authenticate_plain, bindings, config, device_token,
    failure2, inside,
};
use stonechat_sasl::client::HashedToken;
use stonechat_sasl::{Candidate, Failure, TokenMechanism, Validity, decode};
use stonechat_stanza::StanzaCondition;
use stonechat_stream::Registration;
use stonechat_stream::c2s::{Authorized, Event, TokenFate, Transport};

const FAST: &str = "<fast xmlns='urn:xmpp:fast:0' count='1'/>";

fn data(mechanism: TokenMechanism) -> Vec<u8> {
    match mechanism {
        TokenMechanism::Exporter => bindings().tls_exporter.unwrap(),
        TokenMechanism::EndPoint => bindings().tls_server_end_point.unwrap(),
        _ => Vec::new(),
    }
}

fn client(mechanism: TokenMechanism, seed: u8) -> HashedToken {
    HashedToken::new(&device_token(DEVICE, mechanism, [seed; 16]), &data(mechanism))
}

/// A log-in of the device by the token of this seed.
fn by_token(mechanism: TokenMechanism, seed: u8, rest: &str) -> String {
    let initial = client(mechanism, seed).initial("user");
    authenticate(mechanism.name(), &initial, &format!("{}{rest}", agent(DEVICE)))
}

fn authorized(server: &Server) -> Vec<&Authorized> {
    let found = server.events.iter().filter_map(|event| match event {
        Event::Authorized(_, authorized) => Some(authorized),
        _ => None,
    });
    found.collect()
}

fn is_refused(server: &mut Server, said: &str, condition: &str) {
    assert_eq!(server.send(said), failure2(condition), "{said}");
    let inside = server.events.iter().any(|event| matches!(event, Event::Bind2(..) | Event::Resume(..)));
    assert!(!inside && server.machine.bound().is_none(), "{:?}", server.events);
}

#[test]
fn xep0484_3_2_a_token_for_next_time() {
    for mechanism in [TokenMechanism::Exporter, TokenMechanism::EndPoint, TokenMechanism::None] {
        let name = mechanism.name();
        let request = format!("{}<request-token xmlns='urn:xmpp:fast:0' mechanism='{name}'/>", agent(DEVICE));
        let mut server = Server::started();
        let answer = server.send(&authenticate_plain(&format!("{request}<bind xmlns='urn:xmpp:bind:0'/>")));
        let token = format!("<token xmlns='urn:xmpp:fast:0' token='token-for-{name}' expiry='2030-01-01T00:00:00Z'/>");
        assert!(answer.contains("<bound ") && answer.contains(&token), "{answer}");
        let [authorized] = authorized(&server)[..] else { panic!("{:?}", server.events) };
        assert_eq!((authorized.requested_token, authorized.used_token), (Some(mechanism), None));
        assert!(!format!("{:?}", server.events).contains("token-for"));
    }
}

#[test]
fn xep0484_3_2_no_token_where_it_could_not_be_used() {
    let request = |mechanism: &str| format!("<request-token xmlns='urn:xmpp:fast:0' mechanism='{mechanism}'/>");
    let cases = [
        request("HT-SHA-256-NONE"),
        format!("{}{}", agent(DEVICE), request("HT-SHA-256-UNIQ")),
        format!("{}{}", agent(DEVICE), request("PLAIN")),
        format!("{}{}", agent(DEVICE), request("")),
    ];
    for case in cases {
        let mut server = Server::started();
        let answer = server.send(&authenticate_plain(&case));
        assert!(answer.starts_with("<success ") && !answer.contains("<token"), "{case}: {answer}");
        assert_eq!(authorized(&server)[0].requested_token, None, "{case}");
    }
}

#[test]
fn xep0484_3_4_back_in_one_flight() {
    for mechanism in [TokenMechanism::Exporter, TokenMechanism::EndPoint, TokenMechanism::None] {
        let mut server = Server::new(Transport::DirectTls);
        let wish = format!("{FAST}<bind xmlns='urn:xmpp:bind:0'><tag>Awesome</tag></bind>");
        let header = HEADER.replace("to=", "from='user@a.example' to=");
        let all = server.send(&format!("{header}{}<presence/>", by_token(mechanism, 1, &wish)));
        let (_, success) = all.split_once("</stream:features>").unwrap();
        assert!(success.starts_with("<success xmlns='urn:xmpp:sasl:2'><additional-data>"), "{all}");
        client(mechanism, 1).finish(&decode(inside(success, "additional-data")).unwrap()).unwrap();
        assert_eq!(inside(success, "authorization-identifier"), "user@a.example/Awesome/known");
        let [authorized] = authorized(&server)[..] else { panic!("{:?}", server.events) };
        assert_eq!(authorized.mechanism, mechanism.name());
        assert_eq!((authorized.used_token, authorized.count), (Some([1; 16]), 1));
        assert_eq!(authorized.invalidate, TokenFate::Kept);
        let Some(Event::LookupTokens(_, of)) = server.events.first() else { panic!("{:?}", server.events) };
        assert_eq!((of.device.as_str(), of.mechanism), (DEVICE, mechanism));
        assert_eq!(server.stanzas().len(), 1);
    }
    // Without Bind 2.
    let mut server = Server::started();
    server.send(&by_token(TokenMechanism::Exporter, 1, FAST));
    assert!(server.send(BIND).contains("<jid>user@a.example/balcony</jid>"));
}

#[test]
fn xep0484_3_5_either_of_two_tokens_and_a_new_one() {
    for seed in [1, 2] {
        let mut server = Server::started();
        server.candidates.push(Candidate { seed: [2; 16], validity: Validity::Good });
        let request = format!("{FAST}<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-EXPR'/>");
        let answer = server.send(&by_token(TokenMechanism::Exporter, seed, &request));
        assert!(answer.contains("<token xmlns='urn:xmpp:fast:0' "), "{answer}");
        assert_eq!(authorized(&server)[0].used_token, Some([seed; 16]));
    }
}

#[test]
fn xep0484_3_6_invalidation_and_counts() {
    let cases = [
        ("", TokenFate::Kept, 0),
        ("count='0' invalidate='0'", TokenFate::Kept, 0),
        ("count='123' invalidate='true'", TokenFate::Invalidated, 123),
        ("invalidate='1' count='18446744073709551615'", TokenFate::Invalidated, u64::MAX),
        ("invalidate='false'", TokenFate::Kept, 0),
    ];
    for (attributes, fate, count) in cases {
        let mut server = Server::started();
        let fast = format!("<fast xmlns='urn:xmpp:fast:0' {attributes}/>");
        let answer = server.send(&by_token(TokenMechanism::None, 1, &fast));
        assert!(answer.starts_with("<success ") && !answer.contains("<token"), "{answer}");
        assert_eq!((authorized(&server)[0].invalidate, authorized(&server)[0].count), (fate, count), "{attributes}");
    }
    for attributes in
        ["count='-1'", "count='+1'", "count='x'", "count=''", "count='18446744073709551616'", "invalidate='yes'"]
    {
        let fast = format!("<fast xmlns='urn:xmpp:fast:0' {attributes}/>");
        is_refused(&mut Server::started(), &by_token(TokenMechanism::None, 1, &fast), "malformed-request");
    }
}

#[test]
fn abuse_62_a_token_replayed() {
    let mut server = Server::started();
    server.last_count = 1;
    is_refused(&mut server, &by_token(TokenMechanism::Exporter, 1, FAST), "not-authorized");
    let told = server.events.iter().any(|event| {
        matches!(event, Event::AuthenticationFailed(failed)
            if failed.failure == Failure::NotAuthorized && failed.account.is_some())
    });
    assert!(told, "{:?}", server.events);
    // The next count is another attempt.
    let next = "<fast xmlns='urn:xmpp:fast:0' count='2'/>";
    assert!(server.send(&by_token(TokenMechanism::Exporter, 1, next)).starts_with("<success "));
    // On another connection its proof is good for nothing.
    let elsewhere = HashedToken::new(&device_token(DEVICE, TokenMechanism::Exporter, [1; 16]), &[8; 32]);
    let said = authenticate("HT-SHA-256-EXPR", &elsewhere.initial("user"), &format!("{}{FAST}", agent(DEVICE)));
    is_refused(&mut Server::started(), &said, "not-authorized");
}

#[test]
fn abuse_62_a_token_that_is_gone_stale_or_of_somebody_else() {
    let good = by_token(TokenMechanism::Exporter, 1, FAST);
    // After the password was changed, nothing is left.
    let mut server = Server::started();
    server.candidates.clear();
    is_refused(&mut server, &good, "not-authorized");
    // XEP-0484 §4.2: its time is over.
    let mut server = Server::started();
    server.candidates = vec![Candidate { seed: [1; 16], validity: Validity::Expired }];
    is_refused(&mut server, &good, "credentials-expired");
    // One that was never issued.
    is_refused(&mut Server::started(), &by_token(TokenMechanism::Exporter, 9, FAST), "not-authorized");
    // Another device, with the token of this one and with one of its own.
    for of in [DEVICE, "other"] {
        let token = HashedToken::new(&device_token(of, TokenMechanism::None, [1; 16]), &[]);
        let said = authenticate("HT-SHA-256-NONE", &token.initial("user"), &format!("{}{FAST}", agent("other")));
        is_refused(&mut Server::started(), &said, "not-authorized");
    }
    // Another account, one that cannot be, and one that is locked.
    for name in ["other", "@"] {
        let said = authenticate(
            "HT-SHA-256-EXPR",
            &client(TokenMechanism::Exporter, 1).initial(name),
            &format!("{}{FAST}", agent(DEVICE)),
        );
        is_refused(&mut Server::started(), &said, "not-authorized");
    }
    for (store, condition) in [(Store::Locked, "account-disabled"), (Store::Down, "temporary-auth-failure")] {
        let mut server = Server::started();
        server.store = store;
        is_refused(&mut server, &good, condition);
    }
    // Whom the header named.
    let mut server = Server::new(Transport::DirectTls);
    server.send(&HEADER.replace("to=", "from='other@a.example' to="));
    is_refused(&mut server, &good, "invalid-authzid");
    assert!(authorized(&server).is_empty(), "and no use of it is noted");
}

#[test]
fn abuse_62_a_token_with_another_mechanism_than_it_was_issued_for() {
    // Its text is another under every mechanism, so that one for -EXPR proves nothing without a binding.
    let token = device_token(DEVICE, TokenMechanism::Exporter, [1; 16]);
    for mechanism in [TokenMechanism::EndPoint, TokenMechanism::None] {
        let initial = HashedToken::new(&token, &data(mechanism)).initial("user");
        let said = authenticate(mechanism.name(), &initial, &format!("{}{FAST}", agent(DEVICE)));
        is_refused(&mut Server::started(), &said, "not-authorized");
    }
    is_refused(&mut Server::started(), &by_token(TokenMechanism::Unique, 1, FAST), "invalid-mechanism");
}

#[test]
fn abuse_39_a_token_without_what_belongs_to_it() {
    let initial = client(TokenMechanism::None, 1).initial("user");
    let name = "HT-SHA-256-NONE";
    let cases = [
        // No `<fast/>`; no device; a device without an id; no initial response.
        authenticate(name, &initial, &agent(DEVICE)),
        authenticate(name, &initial, FAST),
        authenticate(name, &initial, &format!("<user-agent/>{FAST}")),
        format!("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{name}'>{}{FAST}</authenticate>", agent(DEVICE)),
        authenticate(name, b"user", &format!("{}{FAST}", agent(DEVICE))),
    ];
    for said in cases {
        let mut server = Server::started();
        is_refused(&mut server, &said, "malformed-request");
        assert!(!server.events.iter().any(|event| matches!(event, Event::LookupTokens(..))));
    }
    // By classic SASL there are no tokens.
    let mut server = Server::started();
    let answer = server.send(&crate::harness::auth(name, &initial));
    assert!(answer.contains("<invalid-mechanism/>"), "{answer}");
}

#[test]
fn abuse_39_a_token_whose_log_in_fails_at_its_end() {
    let mut server = Server::started();
    server.refuse_bind = Some(StanzaCondition::ResourceConstraint);
    let said = by_token(TokenMechanism::Exporter, 1, &format!("{FAST}<bind xmlns='urn:xmpp:bind:0'/>"));
    let answer = server.send(&said);
    assert!(answer.contains("<temporary-auth-failure ") && !answer.contains("success"), "{answer}");
    assert_eq!(server.machine.bound(), None);
}

#[test]
fn without_a_secret_there_are_no_tokens() {
    let mut config = config(Transport::DirectTls, Registration::Closed);
    config.tokens = None;
    let mut server = Server::with(config);
    let features = server.send(HEADER);
    assert!(features.contains("urn:xmpp:sasl:2") && !features.contains("urn:xmpp:fast:0"), "{features}");
    is_refused(&mut server, &by_token(TokenMechanism::None, 1, FAST), "invalid-mechanism");
    let request = format!("{}<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>", agent(DEVICE));
    assert!(!server.send(&authenticate_plain(&request)).contains("<token"));
}
