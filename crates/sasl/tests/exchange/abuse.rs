//! `abuse-cases.md` group D, as far as it is decided in this crate.
//!
//! Not here: 51 beyond base64, 54, 59 and 60 (counting, aborting and limits are the stream's). 62 stands in `tokens.rs`.

use stonechat_sasl::client::{self, Scram};
use stonechat_sasl::{
    ChannelBinding, Credentials, Failure, Hash, Lookup, Mechanism, Negotiation, Notice, ScramKeys, Step, Verdict,
    decode, encode,
};

use crate::desk::{Account, Desk, HASHES, bound_client, client as scram_client, credentials, end, password};

#[test]
fn abuse_50_a_mechanism_that_was_not_offered_is_invalid() {
    let mut desk = Desk::without_binding();
    desk.offer.mechanisms = vec![Mechanism::Scram(Hash::Sha256)];
    for mechanism in Mechanism::ALL {
        let heard = desk.begin(mechanism.name()).map(|negotiation| negotiation.mechanism());
        let expected =
            if mechanism == Mechanism::Scram(Hash::Sha256) { Ok(mechanism) } else { Err(Failure::InvalidMechanism) };
        assert_eq!(heard, expected);
    }
    for name in ["", "scram-sha-256", "SCRAM-SHA-256\0", "ANONYMOUS", "DIGEST-MD5", "SCRAM-SHA-256-PLUS-PLUS"] {
        assert!(matches!(desk.begin(name), Err(Failure::InvalidMechanism)), "{name:?}");
    }
}

#[test]
fn a_nonce_too_short_to_be_safe_is_refused() {
    let desk = Desk::full();
    let heard = Negotiation::begin("SCRAM-SHA-1", &desk.offer, &desk.bindings, &desk.decoy, &[1; 17]);
    assert!(matches!(heard, Err(Failure::TemporaryAuthFailure)));
}

#[test]
fn abuse_52_plain_has_two_nuls_and_three_parts() {
    let table: [&[u8]; 12] = [
        b"",
        b"juliet",
        b"juliet\0pencil",
        b"\0juliet\0pencil\0",
        b"\0\0juliet\0pencil",
        b"a\0b\0c\0d",
        b"\0\0pencil",
        b"juliet\0\0pencil",
        b"\0juliet\0",
        b"\0\0",
        b"\0juliet\0\xff\xfe",
        b"\0\xc3\x28\0pencil",
    ];
    for message in table {
        assert_eq!(Desk::full().verdict("PLAIN", message), Err(Failure::MalformedRequest), "{message:?}");
    }
}

#[test]
fn abuse_53_the_authzid_is_handed_on_to_be_judged() {
    let message = client::plain(Some("romeo@example.org"), "juliet", &password("pencil"));
    let success = Desk::full().verdict("PLAIN", &message).unwrap();
    assert_eq!(success.authzid.as_deref(), Some("romeo@example.org"));
    let client = scram_client(Hash::Sha1, "pencil").with_authzid("romeo@example.org");
    let success = Desk::full().scram(Mechanism::Scram(Hash::Sha1), client).unwrap();
    assert_eq!(success.authzid.as_deref(), Some("romeo@example.org"));
}

#[test]
fn abuse_54_a_wrong_password_is_not_authorised() {
    for hash in HASHES {
        let heard = Desk::full().scram(Mechanism::Scram(hash), scram_client(hash, "pen"));
        assert_eq!(heard, Err(Failure::NotAuthorized));
        let client = bound_client(hash, "pen", ChannelBinding::TlsExporter, &[0xe0; 32]);
        assert_eq!(Desk::full().scram(Mechanism::ScramPlus(hash), client), Err(Failure::NotAuthorized));
    }
    assert_eq!(Desk::full().verdict("PLAIN", b"\0juliet\0pen"), Err(Failure::NotAuthorized));
}

/// A challenge without what differs between any two accounts.
fn shape(challenge: &[u8]) -> (usize, String) {
    let text = String::from_utf8(challenge.to_vec()).unwrap();
    let (nonce, rest) = text.split_once(",s=").unwrap();
    let (salt, rest) = rest.split_once(',').unwrap();
    (salt.len(), format!("{nonce},{rest}"))
}

#[test]
fn abuse_55_an_unknown_account_hears_what_a_known_one_does() {
    let mut known = credentials("pencil");
    for keys in [&mut known.sha1, &mut known.sha256, &mut known.sha512] {
        keys.as_mut().unwrap().iterations = stonechat_sasl::DEFAULT_ITERATIONS;
    }
    for hash in HASHES {
        for text in ["pencil", "pen"] {
            let mut stranger = Desk::full().with(Account::Unknown);
            let mut resident = Desk::full().with(Account::Found(known.clone()));
            let heard = stranger.scram(Mechanism::Scram(hash), scram_client(hash, text));
            assert_eq!(heard, Err(Failure::NotAuthorized));
            // Its keys are of other iterations than its count says, so this fails with any password.
            let heard = resident.scram(Mechanism::Scram(hash), scram_client(hash, text));
            assert_eq!(heard, Err(Failure::NotAuthorized));
            assert_eq!(shape(&stranger.challenges[0]), shape(&resident.challenges[0]));
            // Stable over time.
            stranger.scram(Mechanism::Scram(hash), scram_client(hash, text)).unwrap_err();
            assert_eq!(stranger.challenges[0], stranger.challenges[1]);
        }
    }
    assert_eq!(Desk::full().with(Account::Unknown).verdict("PLAIN", b"\0juliet\0pencil"), Err(Failure::NotAuthorized));
}

#[test]
fn abuse_55_an_account_without_keys_is_like_none() {
    for hash in HASHES {
        let mut empty = Desk::full().with(Account::Found(Credentials::default()));
        let mut none = Desk::full().with(Account::Unknown);
        for desk in [&mut empty, &mut none] {
            let heard = desk.scram(Mechanism::Scram(hash), scram_client(hash, "pencil"));
            assert_eq!(heard, Err(Failure::NotAuthorized));
        }
        assert_eq!(empty.challenges, none.challenges);
    }
    let mut desk = Desk::full().with(Account::Found(Credentials::default()));
    assert_eq!(desk.verdict("PLAIN", b"\0juliet\0pencil"), Err(Failure::NotAuthorized));
}

#[test]
fn abuse_55_an_account_whose_keys_are_damaged_is_like_none() {
    type Damage = fn(&mut ScramKeys);
    let damages: [Damage; 4] = [
        |keys| keys.salt.clear(),
        |keys| keys.iterations = 0,
        |keys| keys.stored_key.truncate(19),
        |keys| keys.server_key.push(0),
    ];
    for damage in damages {
        let mut damaged = credentials("pencil");
        for keys in [&mut damaged.sha1, &mut damaged.sha256, &mut damaged.sha512] {
            damage(keys.as_mut().unwrap());
        }
        for hash in HASHES {
            let mut broken = Desk::full().with(Account::Found(damaged.clone()));
            let mut none = Desk::full().with(Account::Unknown);
            for desk in [&mut broken, &mut none] {
                let heard = desk.scram(Mechanism::Scram(hash), scram_client(hash, "pencil"));
                assert_eq!(heard, Err(Failure::NotAuthorized));
            }
            assert_eq!(broken.challenges, none.challenges);
        }
    }
}

#[test]
fn abuse_55_nobody_enters_with_a_decoy_even_if_the_check_says_so() {
    for (lookup, expected) in [
        (Lookup::Unknown, Failure::NotAuthorized),
        (Lookup::Found(Credentials::default()), Failure::NotAuthorized),
        (Lookup::Locked(Credentials::default()), Failure::NotAuthorized),
        (Lookup::Locked(credentials("pencil")), Failure::AccountDisabled),
    ] {
        let mut negotiation = Desk::full().begin("PLAIN").unwrap();
        negotiation.message(Some(b"\0juliet\0pencil"));
        let step = negotiation.credentials(lookup);
        assert!(matches!(step, Step::CheckPassword { .. }));
        assert_eq!(end(negotiation.password_checked(Verdict::Accepted)), Err(expected));
    }
}

#[test]
fn abuse_56_a_final_message_changed_on_its_way_fails() {
    type Change = fn(String) -> String;
    let not_authorized: [Change; 8] = [
        // Nonce changed, cut, or only the client's.
        |message| message.replacen(",r=", ",r=x", 1),
        |message| message.replacen(",p=", "x,p=", 1),
        |message| {
            let (head, rest) = message.split_once(",r=").unwrap();
            let (nonce, proof) = rest.split_once(",p=").unwrap();
            format!("{head},r={},p={proof}", &nonce[..24])
        },
        // Another GS2 header than was sent: "y,,", "n,a=x,", "p=tls-exporter,,".
        |message| message.replacen("c=biws", "c=eSws", 1),
        |message| message.replacen("c=biws", "c=bixhPXgs", 1),
        |message| message.replacen("c=biws", "c=cD10bHMtZXhwb3J0ZXIsLA==", 1),
        // An extension added behind the client's back.
        |message| message.replacen(",p=", ",x=1,p=", 1),
        // A proof of another length.
        |message| format!("{},p=AAAA", message.split_once(",p=").unwrap().0),
    ];
    let longer: Change = |message| {
        // A proof that is right, and goes on.
        let (head, proof) = message.split_once(",p=").unwrap();
        let mut proof = decode(proof).unwrap();
        proof.push(0);
        format!("{head},p={}", encode(&proof))
    };
    let malformed: [Change; 7] = [
        |message| message.replacen(",p=", ",m=1,p=", 1),
        |message| message.replacen("c=biws,", "", 1),
        |message| message.split_once(",p=").unwrap().0.to_owned(),
        |message| message.replacen(",p=", ",p=*", 1),
        |message| format!("{message},x=1"),
        |message| message.replacen("c=biws", "c=", 1),
        |_| String::new(),
    ];
    for hash in HASHES {
        // The same for those who exist and those who do not.
        for account in [Account::Found(credentials("pencil")), Account::Unknown] {
            for change in not_authorized.into_iter().chain([longer]) {
                let mut desk = Desk::full().with(account.clone());
                let heard = desk.scram_with(Mechanism::Scram(hash), scram_client(hash, "pencil"), change);
                assert_eq!(heard, Err(Failure::NotAuthorized));
            }
            for change in malformed {
                let mut desk = Desk::full().with(account.clone());
                let heard = desk.scram_with(Mechanism::Scram(hash), scram_client(hash, "pencil"), change);
                assert_eq!(heard, Err(Failure::MalformedRequest));
            }
        }
    }
}

#[test]
fn abuse_56_first_messages_with_a_wrong_flag_or_an_extension_fail() {
    let table: [(&str, &[u8], Failure); 13] = [
        // RFC 5802 §5.1: "m" fails the authentication.
        ("SCRAM-SHA-1", b"n,,m=x,n=juliet,r=abc", Failure::MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=juliet,r=abc,m=x", Failure::MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=juliet,r=abc,z=a\0b", Failure::MalformedRequest),
        ("SCRAM-SHA-1", b"q,,n=juliet,r=abc", Failure::MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=jul=iet,r=abc", Failure::MalformedRequest),
        ("SCRAM-SHA-1", b"n,,n=juli\xfft,r=abc", Failure::MalformedRequest),
        ("SCRAM-SHA-1", b"", Failure::MalformedRequest),
        // RFC 5802 §6: binding without -PLUS, -PLUS without binding.
        ("SCRAM-SHA-1", b"p=tls-exporter,,n=juliet,r=abc", Failure::NotAuthorized),
        ("SCRAM-SHA-1-PLUS", b"n,,n=juliet,r=abc", Failure::NotAuthorized),
        ("SCRAM-SHA-1-PLUS", b"y,,n=juliet,r=abc", Failure::NotAuthorized),
        // Types we do not know or have.
        ("SCRAM-SHA-1-PLUS", b"p=tls-unique,,n=juliet,r=abc", Failure::NotAuthorized),
        ("SCRAM-SHA-1-PLUS", b"p=TLS-EXPORTER,,n=juliet,r=abc", Failure::NotAuthorized),
        ("SCRAM-SHA-1-PLUS", b"p=,,n=juliet,r=abc", Failure::MalformedRequest),
    ];
    for (mechanism, message, expected) in table {
        assert_eq!(Desk::full().verdict(mechanism, message), Err(expected), "{mechanism} {message:?}");
    }
}

#[test]
fn abuse_56_a_type_must_be_both_offered_and_at_hand() {
    let message = b"p=tls-exporter,,n=juliet,r=abc";
    let mut not_offered = Desk::full();
    not_offered.offer.channel_bindings = vec![ChannelBinding::TlsServerEndPoint];
    assert_eq!(not_offered.verdict("SCRAM-SHA-256-PLUS", message), Err(Failure::NotAuthorized));
    let mut not_at_hand = Desk::full();
    not_at_hand.bindings.tls_exporter = None;
    assert_eq!(not_at_hand.verdict("SCRAM-SHA-256-PLUS", message), Err(Failure::NotAuthorized));
}

#[test]
fn abuse_57_a_proof_bound_to_another_tls_session_fails() {
    for hash in HASHES {
        for kind in [ChannelBinding::TlsExporter, ChannelBinding::TlsServerEndPoint] {
            for data in [&[][..], &[0xaa; 32], &[0xe0; 31], &[0xce; 33]] {
                let client = bound_client(hash, "pencil", kind, data);
                assert_eq!(Desk::full().scram(Mechanism::ScramPlus(hash), client), Err(Failure::NotAuthorized));
            }
        }
        // Its operator hears of it, if the password was right.
        for (text, expected) in [("pencil", Some(Notice::ForeignChannel)), ("pen", None)] {
            let mut client = bound_client(hash, text, ChannelBinding::TlsExporter, &[0xaa; 32]);
            let mut desk = Desk::full();
            let mut negotiation = desk.begin(Mechanism::ScramPlus(hash).name()).unwrap();
            let step = negotiation.message(Some(&client.initial()));
            let Step::Challenge(challenge) = desk.settle(&mut negotiation, step) else { panic!("no challenge") };
            let step = negotiation.message(Some(&client.respond(&challenge).unwrap()));
            assert_eq!((end(step), negotiation.notice()), (Err(Failure::NotAuthorized), expected));
        }
        // The data of one type is not that of the other.
        let client = bound_client(hash, "pencil", ChannelBinding::TlsExporter, &[0xce; 32]);
        assert_eq!(Desk::full().scram(Mechanism::ScramPlus(hash), client), Err(Failure::NotAuthorized));
    }
}

#[test]
fn abuse_58_y_while_any_plus_was_offered_is_a_downgrade() {
    for hash in HASHES {
        let mechanism = Mechanism::Scram(hash).name();
        assert_eq!(Desk::full().verdict(mechanism, b"y,,n=juliet,r=abc"), Err(Failure::NotAuthorized));
        let mut negotiation = Desk::full().begin(mechanism).unwrap();
        negotiation.message(Some(b"y,,n=juliet,r=abc"));
        assert_eq!(negotiation.notice(), Some(Notice::Downgrade));
        // One of another hash is enough.
        let mut desk = Desk::full();
        desk.offer.mechanisms = vec![Mechanism::Scram(hash), Mechanism::ScramPlus(Hash::Sha1)];
        assert_eq!(desk.verdict(mechanism, b"y,,n=juliet,r=abc"), Err(Failure::NotAuthorized));
    }
}

#[test]
fn abuse_60_a_message_without_end_is_malformed() {
    let mut long = b"n,,n=juliet,r=".to_vec();
    long.resize(1_000_000, b'x');
    assert_eq!(Desk::full().verdict("SCRAM-SHA-1", &long), Err(Failure::MalformedRequest));
    let mut long = b"\0juliet\0".to_vec();
    long.resize(1_000_000, b'x');
    assert_eq!(Desk::full().verdict("PLAIN", &long), Err(Failure::MalformedRequest));
    assert_eq!(Desk::full().verdict("EXTERNAL", &vec![b'x'; 1_000_000]), Err(Failure::MalformedRequest));
}

#[test]
fn abuse_61_a_lock_is_told_to_those_who_know_the_password() {
    let locked = || Desk::full().with(Account::Locked(credentials("pencil")));
    for hash in HASHES {
        let mechanism = Mechanism::Scram(hash);
        assert_eq!(locked().scram(mechanism, scram_client(hash, "pencil")), Err(Failure::AccountDisabled));
        assert_eq!(locked().scram(mechanism, scram_client(hash, "pen")), Err(Failure::NotAuthorized));
    }
    assert_eq!(locked().verdict("PLAIN", b"\0juliet\0pencil"), Err(Failure::AccountDisabled));
    assert_eq!(locked().verdict("PLAIN", b"\0juliet\0pen"), Err(Failure::NotAuthorized));
}

#[test]
fn abuse_61_a_store_that_cannot_answer_is_a_temporary_failure() {
    let mut desk = Desk::full().with(Account::Unavailable);
    desk.external = Verdict::Unavailable;
    let table: [(&str, &[u8]); 4] = [
        ("SCRAM-SHA-1", b"n,,n=juliet,r=abc"),
        ("SCRAM-SHA-512-PLUS", b"p=tls-exporter,,n=juliet,r=abc"),
        ("PLAIN", b"\0juliet\0pencil"),
        ("EXTERNAL", b""),
    ];
    for (mechanism, message) in table {
        assert_eq!(desk.verdict(mechanism, message), Err(Failure::TemporaryAuthFailure), "{mechanism}");
    }
    let mut negotiation = Desk::full().begin("PLAIN").unwrap();
    negotiation.message(Some(b"\0juliet\0pencil"));
    negotiation.credentials(Lookup::Found(credentials("pencil")));
    assert_eq!(end(negotiation.password_checked(Verdict::Unavailable)), Err(Failure::TemporaryAuthFailure));
}

#[test]
fn abuse_63_a_password_that_nobody_can_have_is_just_wrong() {
    for account in [Account::Found(credentials("pencil")), Account::Unknown] {
        let mut desk = Desk::full().with(account);
        assert_eq!(desk.verdict("PLAIN", b"\0juliet\0pen\x07cil"), Err(Failure::NotAuthorized));
        assert_eq!(desk.verdict("PLAIN", "\0juliet\0\u{ad}".as_bytes()), Err(Failure::NotAuthorized));
    }
}

#[test]
fn abuse_64_external_goes_by_the_certificate() {
    let mut desk = Desk::full();
    desk.external = Verdict::Refused;
    assert_eq!(desk.verdict("EXTERNAL", b""), Err(Failure::NotAuthorized));
    assert_eq!(desk.verdict("EXTERNAL", b"other.example"), Err(Failure::InvalidAuthzid));
    assert_eq!(desk.verdict("EXTERNAL", b"a\0b"), Err(Failure::MalformedRequest));
    assert_eq!(desk.verdict("EXTERNAL", b"\xff"), Err(Failure::MalformedRequest));
}

#[test]
fn an_exchange_that_ended_does_not_go_on() {
    // A proof is good once.
    let mut client = scram_client(Hash::Sha1, "pencil");
    let mut desk = Desk::full();
    let mut negotiation = desk.begin("SCRAM-SHA-1").unwrap();
    let step = negotiation.message(Some(&client.initial()));
    let Step::Challenge(challenge) = desk.settle(&mut negotiation, step) else { panic!("no challenge") };
    let proof = client.respond(&challenge).unwrap();
    assert!(matches!(negotiation.message(Some(&proof)), Step::Success(_)));
    assert_eq!(end(negotiation.message(Some(&proof))), Err(Failure::MalformedRequest));

    // And no second guess is had after a wrong one.
    let step = {
        let mut desk = Desk::full();
        let mut wrong = scram_client(Hash::Sha1, "pen");
        let mut negotiation = desk.begin("SCRAM-SHA-1").unwrap();
        let step = negotiation.message(Some(&wrong.initial()));
        let Step::Challenge(challenge) = desk.settle(&mut negotiation, step) else { panic!("no challenge") };
        negotiation.message(Some(&wrong.respond(&challenge).unwrap()));
        negotiation.message(Some(&proof))
    };
    assert_eq!(end(step), Err(Failure::MalformedRequest));
}

#[test]
fn answers_that_nobody_asked_for_let_nobody_in() {
    for mechanism in Mechanism::ALL {
        let begin = || Desk::full().begin(mechanism.name()).unwrap();
        let steps = [
            begin().credentials(Lookup::Found(credentials("pencil"))),
            begin().password_checked(Verdict::Accepted),
            begin().external_checked(Verdict::Accepted),
        ];
        for step in steps {
            assert_eq!(end(step), Err(Failure::TemporaryAuthFailure));
        }
    }
    // A client that speaks while its account is looked up.
    for (mechanism, message) in
        [("PLAIN", &b"\0juliet\0pencil"[..]), ("SCRAM-SHA-1", b"n,,n=juliet,r=abc"), ("EXTERNAL", b"")]
    {
        let mut negotiation = Desk::full().begin(mechanism).unwrap();
        negotiation.message(Some(message));
        assert_eq!(end(negotiation.message(Some(message))), Err(Failure::MalformedRequest));
        assert_eq!(
            end(negotiation.credentials(Lookup::Found(credentials("pencil")))),
            Err(Failure::TemporaryAuthFailure)
        );
    }
}

#[test]
fn abuse_158_no_message_or_password_is_printed() {
    let secret = "pencil";
    let mut printed = String::new();
    let mut desk = Desk::full();

    let mut negotiation = desk.begin("PLAIN").unwrap();
    let step = negotiation.message(Some(b"\0juliet\0pencil"));
    printed += &format!("{negotiation:?} {step:?}");
    let step = negotiation.credentials(Lookup::Found(credentials(secret)));
    printed += &format!("{negotiation:?} {step:?}");
    assert!(!printed.contains(secret), "{printed}");

    let mut client = Scram::new(Hash::Sha1, "juliet", &password(secret), &[7; 18], None);
    let mut negotiation = desk.begin("SCRAM-SHA-1").unwrap();
    let step = negotiation.message(Some(&client.initial()));
    printed += &format!("{negotiation:?} {step:?}");
    let step = desk.settle(&mut negotiation, step);
    printed += &format!("{negotiation:?} {step:?}");
    let Step::Challenge(challenge) = step else { panic!("no challenge") };
    let step = negotiation.message(Some(&client.respond(&challenge).unwrap()));
    printed += &format!("{negotiation:?} {step:?} {client:?}");
    let Step::Success(success) = step else { panic!("no success") };
    let data = success.data.unwrap();
    for message in [&challenge, &data] {
        assert!(!printed.contains(std::str::from_utf8(message).unwrap()), "{printed}");
        assert!(!printed.contains(&format!("{message:?}")), "{printed}");
    }
    assert!(!printed.contains(secret), "{printed}");
}
