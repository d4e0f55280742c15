//! Each mechanism, to its good end.

use stonechat_sasl::client::{self, Scram, ScramError};
use stonechat_sasl::{ChannelBinding, Failure, Hash, Mechanism, Offer, Step, Success, TlsVersion};

use crate::desk::{Account, Desk, HASHES, bound_client, client as scram_client, credentials, password};

#[test]
fn rfc5802_scram_succeeds_with_every_hash() {
    for hash in HASHES {
        for mut desk in [Desk::full(), Desk::without_binding()] {
            let success = desk.scram(Mechanism::Scram(hash), scram_client(hash, "pencil")).unwrap();
            assert_eq!((success.username.as_str(), success.authzid), ("juliet", None));
        }
    }
}

#[test]
fn rfc5802_6_scram_plus_succeeds_with_every_hash_and_type() {
    for hash in HASHES {
        for kind in [ChannelBinding::TlsExporter, ChannelBinding::TlsServerEndPoint] {
            let mut desk = Desk::full();
            let data = desk.bindings.get(kind).unwrap().to_vec();
            let client = bound_client(hash, "pencil", kind, &data);
            assert!(desk.scram(Mechanism::ScramPlus(hash), client).is_ok(), "{hash:?} {kind:?}");
        }
    }
}

#[test]
fn rfc5802_6_y_is_taken_where_no_plus_was_offered() {
    let mut desk = Desk::without_binding();
    let step = desk.hear("SCRAM-SHA-1", &[Some(b"y,,n=juliet,r=abc")]).unwrap();
    assert!(matches!(step, Step::Challenge(_)), "{step:?}");
}

#[test]
fn rfc5802_5_1_names_are_unescaped_and_the_authzid_handed_on() {
    for hash in HASHES {
        let client = Scram::new(hash, "a,b=c", &password("pencil"), &[7; 18], None).with_authzid("a,b=c@example.org");
        let success = Desk::full().scram(Mechanism::Scram(hash), client).unwrap();
        assert_eq!(success.username, "a,b=c");
        assert_eq!(success.authzid.as_deref(), Some("a,b=c@example.org"));
    }
}

#[test]
fn rfc4616_plain_succeeds() {
    let message = client::plain(None, "juliet", &password("pencil"));
    let expected = Success { username: "juliet".to_owned(), authzid: None, data: None };
    assert_eq!(Desk::full().verdict("PLAIN", &message), Ok(expected));

    let message = client::plain(Some("juliet@example.org"), "juliet", &password("pencil"));
    let success = Desk::full().verdict("PLAIN", &message).unwrap();
    assert_eq!(success.authzid.as_deref(), Some("juliet@example.org"));
}

#[test]
fn rfc4422_a_external_succeeds() {
    for identity in ["", "example.net", "juliet@example.org"] {
        let message = client::external(Some(identity));
        let expected = Success { username: identity.to_owned(), authzid: None, data: None };
        assert_eq!(Desk::full().verdict("EXTERNAL", &message), Ok(expected));
    }
}

#[test]
fn rfc4422_5_1_without_an_initial_response_an_empty_challenge_asks_for_it() {
    let plain = client::plain(None, "juliet", &password("pencil"));
    for (mechanism, message) in [("PLAIN", plain.as_slice()), ("EXTERNAL", b""), ("SCRAM-SHA-1", b"n,,n=juliet,r=abc")]
    {
        let mut desk = Desk::full();
        let step = desk.hear(mechanism, &[None, Some(message)]).unwrap();
        assert!(matches!(step, Step::Success(_) | Step::Challenge(_)), "{mechanism} {step:?}");
        assert_eq!(desk.challenges[0], b"");
    }
    // Asked once: an empty answer is an empty message, which only EXTERNAL has.
    for (mechanism, good) in [("PLAIN", false), ("EXTERNAL", true), ("SCRAM-SHA-256", false)] {
        let step = Desk::full().hear(mechanism, &[None, None]).unwrap();
        match step {
            Step::Success(_) => assert!(good, "{mechanism}"),
            Step::Failure(failure) => assert_eq!((good, failure), (false, Failure::MalformedRequest), "{mechanism}"),
            step => panic!("{step:?}"),
        }
    }
}

#[test]
fn xep0474_the_challenge_signs_the_offer_as_advertised() {
    for hash in HASHES {
        for mut desk in [Desk::full(), Desk::without_binding()] {
            let client = scram_client(hash, "pencil").verify_offer(desk.offer.clone());
            assert!(desk.scram(Mechanism::Scram(hash), client).is_ok());
            let challenge = String::from_utf8(desk.challenges[0].clone()).unwrap();
            assert_eq!(challenge.split(",h=").count(), 2, "{challenge}");
        }
    }
}

#[test]
fn xep0474_a_client_that_saw_another_list_notices() {
    let mut desk = Desk::full();
    let seen: [fn(&mut Offer); 3] = [
        |offer| offer.mechanisms.retain(|mechanism| *mechanism != Mechanism::Scram(Hash::Sha512)),
        |offer| offer.channel_bindings.truncate(1),
        |offer| offer.channel_bindings.clear(),
    ];
    for change in seen {
        let mut offer = desk.offer.clone();
        change(&mut offer);
        let mut client = scram_client(Hash::Sha1, "pencil").verify_offer(offer);
        let step = desk.hear("SCRAM-SHA-1", &[Some(&client.initial())]).unwrap();
        let Step::Challenge(challenge) = step else { panic!("{step:?}") };
        assert_eq!(client.respond(&challenge), Err(ScramError::Downgrade));
    }
}

#[test]
fn xep0474_a_hash_rewritten_on_its_way_spoils_the_proof() {
    let desk = Desk::full();
    let mut client = scram_client(Hash::Sha1, "pencil");
    let mut negotiation = desk.begin("SCRAM-SHA-1").unwrap();
    negotiation.message(Some(&client.initial()));
    let Step::Challenge(challenge) = negotiation.credentials(stonechat_sasl::Lookup::Found(credentials("pencil")))
    else {
        panic!("no challenge")
    };
    let challenge = String::from_utf8(challenge).unwrap();
    let (rest, _) = challenge.split_once(",h=").unwrap();
    for changed in [rest.to_owned(), format!("{rest},h=AAAA")] {
        let desk = Desk::full();
        let mut negotiation = desk.begin("SCRAM-SHA-1").unwrap();
        negotiation.message(Some(&client.initial()));
        negotiation.credentials(stonechat_sasl::Lookup::Found(credentials("pencil")));
        let proof = client.respond(changed.as_bytes()).unwrap();
        let step = negotiation.message(Some(&proof));
        assert!(matches!(step, Step::Failure(Failure::NotAuthorized)), "{step:?}");
    }
}

#[test]
fn xep0515_the_version_of_tls_is_told_where_it_is_known() {
    for hash in HASHES {
        for (version, expected) in
            [(Some(TlsVersion::Tls13), ",t=0304"), (Some(TlsVersion::Tls12), ",t=0303"), (None, "=")]
        {
            let mut desk = Desk::full();
            desk.bindings.tls_version = version;
            let client = scram_client(hash, "pencil").verify_tls_version(version.unwrap_or(TlsVersion::Tls13));
            assert!(desk.scram(Mechanism::Scram(hash), client).is_ok());
            let challenge = String::from_utf8(desk.challenges[0].clone()).unwrap();
            assert!(challenge.ends_with(expected), "{challenge}");
            assert_eq!(challenge.contains(",t="), version.is_some(), "{challenge}");
        }
    }
}

#[test]
fn xep0515_a_client_whose_end_has_another_version_notices() {
    let mut client = scram_client(Hash::Sha256, "pencil").verify_tls_version(TlsVersion::Tls12);
    let step = Desk::full().hear("SCRAM-SHA-256", &[Some(&client.initial())]).unwrap();
    let Step::Challenge(challenge) = step else { panic!("{step:?}") };
    assert_eq!(client.respond(&challenge), Err(ScramError::TlsVersion));
}

#[test]
fn xep0515_a_version_rewritten_on_its_way_spoils_the_proof() {
    for rewritten in [",t=0303", ""] {
        let mut desk = Desk::full();
        let mut client = scram_client(Hash::Sha256, "pencil").verify_tls_version(TlsVersion::Tls12);
        let mut negotiation = desk.begin("SCRAM-SHA-256").unwrap();
        let step = negotiation.message(Some(&client.initial()));
        let Step::Challenge(challenge) = desk.settle(&mut negotiation, step) else { panic!("no challenge") };
        let challenge = String::from_utf8(challenge).unwrap().replace(",t=0304", rewritten);
        let step = negotiation.message(Some(&client.respond(challenge.as_bytes()).unwrap()));
        assert!(matches!(step, Step::Failure(Failure::NotAuthorized)), "{step:?}");
    }
}

#[test]
fn an_account_with_some_of_the_keys_logs_in_with_those() {
    let mut partial = credentials("pencil");
    partial.sha256 = None;
    partial.sha512 = None;
    let mut desk = Desk::full().with(Account::Found(partial));
    assert!(desk.scram(Mechanism::Scram(Hash::Sha1), scram_client(Hash::Sha1, "pencil")).is_ok());
    assert!(desk.verdict("PLAIN", b"\0juliet\0pencil").is_ok());
    for hash in [Hash::Sha256, Hash::Sha512] {
        let heard = desk.scram(Mechanism::Scram(hash), scram_client(hash, "pencil"));
        assert_eq!(heard, Err(Failure::NotAuthorized));
    }
}

#[test]
fn rfc5802_a_client_believes_only_the_server_that_knows_the_account() {
    let mut client = scram_client(Hash::Sha256, "pencil");
    assert_eq!(client.finish(b"v=AAAA"), Err(ScramError::Malformed));
    let step = Desk::full().hear("SCRAM-SHA-256", &[Some(&client.initial())]).unwrap();
    let Step::Challenge(challenge) = step else { panic!("{step:?}") };
    client.respond(&challenge).unwrap();
    assert_eq!(client.finish(b"v=AAAA"), Err(ScramError::Signature));
    for data in [&b""[..], b"v=", b"AAAA", b"v=A", b"e=other-error", b"v=\xff"] {
        assert_eq!(client.finish(data), Err(ScramError::Malformed));
    }
}

#[test]
fn rfc5802_5_1_a_client_answers_no_foreign_nonce_and_no_absurd_count() {
    let mut client = scram_client(Hash::Sha1, "pencil");
    let own = String::from_utf8(client.initial()).unwrap().split_once("r=").unwrap().1.to_owned();
    let table = [
        (format!("r={own},s=AAAA,i=4096"), ScramError::Nonce),
        ("r=other,s=AAAA,i=4096".to_owned(), ScramError::Nonce),
        (format!("r=x{own}y,s=AAAA,i=4096"), ScramError::Nonce),
        (format!("r={own}x,s=AAAA,i=1"), ScramError::Iterations),
        (format!("r={own}x,s=AAAA,i=4095"), ScramError::Iterations),
        (format!("r={own}x,s=AAAA,i=4294967295"), ScramError::Iterations),
        (format!("r={own}x,s=AAAA,i=99999999999"), ScramError::Malformed),
        (format!("m=x,r={own}x,s=AAAA,i=4096"), ScramError::Malformed),
        (String::new(), ScramError::Malformed),
    ];
    for (challenge, expected) in table {
        assert_eq!(client.respond(challenge.as_bytes()), Err(expected), "{challenge}");
    }
}

#[test]
fn abuse_63_every_spelling_of_a_password_logs_in() {
    let table = [
        ("jos\u{e9}", "jose\u{301}"),
        ("two words", "two\u{a0}words"),
        ("IX", "I\u{ad}X"),
        ("\u{d55c}\u{1f435}", "\u{1112}\u{1161}\u{11ab}\u{1f435}"),
    ];
    for (one, other) in table {
        for (set, typed) in [(one, other), (other, one)] {
            let mut desk = Desk::full().with(Account::Found(credentials(set)));
            let client = scram_client(Hash::Sha256, typed);
            assert!(desk.scram(Mechanism::Scram(Hash::Sha256), client).is_ok(), "{set:?} {typed:?}");
            // Over PLAIN the text comes as it was typed.
            assert!(desk.verdict("PLAIN", format!("\0juliet\0{typed}").as_bytes()).is_ok(), "{set:?} {typed:?}");
        }
    }
}
