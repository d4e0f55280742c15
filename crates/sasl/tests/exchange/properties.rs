//! What holds for any bytes.

use proptest::prelude::*;
use stonechat_sasl::client::{self, Scram};
use stonechat_sasl::{Hash, Mechanism, Step, decode, encode, prepare_password};

use crate::desk::{Account, Desk, credentials};

fn mechanisms() -> impl Strategy<Value = Mechanism> {
    proptest::sample::select(Mechanism::ALL.to_vec())
}

/// Garbage, and what is nearly a message.
fn messages() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        3 => proptest::collection::vec(any::<u8>(), 0..200).prop_map(Some),
        3 => any::<String>().prop_map(|text| Some(text.into_bytes())),
        6 => "(n|y|p=tls-exporter|p=[a-z]{0,3})?,(a=[a-z=]{0,3})?,(m=1,)?(n=[a-z=,23CD]{0,6})?,(r=[!-~]{0,9})?(,[a-z]=.)?"
            .prop_map(|text| Some(text.into_bytes())),
        6 => "(c=(biws|[A-Za-z=]{0,6}),)?(r=[!-~]{0,9})?(,[a-z]=.)?(,p=[A-Za-z+/]{0,32}=?)?"
            .prop_map(|text| Some(text.into_bytes())),
        3 => "[a-z]{0,3}\0{0,2}[a-z]{0,3}\0{0,2}[a-z]{0,3}".prop_map(|text| Some(text.into_bytes())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn abuse_160_no_message_panics_and_none_of_chance_gets_in(
        mechanism in mechanisms(),
        messages in proptest::collection::vec(messages(), 1..4),
    ) {
        let mut desk = Desk::full().with(Account::Unknown);
        desk.external = stonechat_sasl::Verdict::Refused;
        let mut negotiation = desk.begin(mechanism.name()).unwrap();
        for message in messages {
            let step = negotiation.message(message.as_deref());
            let step = desk.settle(&mut negotiation, step);
            prop_assert!(!matches!(step, Step::Success(_)));
        }
    }

    #[test]
    fn base64_has_one_spelling_for_a_message(message in proptest::collection::vec(any::<u8>(), 0..100), text in "[A-Za-z+/= ]{0,12}") {
        prop_assert_eq!(decode(&encode(&message)), Some(message));
        if let Some(message) = decode(&text) && !message.is_empty() {
            prop_assert_eq!(encode(&message), text);
        }
    }

    #[test]
    fn no_challenge_makes_a_client_panic(challenge in "(r=[!-~]{0,40})?(,s=[A-Za-z=]{0,8})?(,i=[0-9+-]{0,3})?(,[a-z]=.)?") {
        let password = prepare_password("pencil").unwrap();
        let mut client = Scram::new(Hash::Sha1, "juliet", &password, &[7; 18], None);
        prop_assert!(client.respond(challenge.as_bytes()).is_err());
        prop_assert!(client.finish(challenge.as_bytes()).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whoever_set_a_password_gets_in_with_it(name in "[^\0]{1,12}", text in "\\PC{1,12}", authzid in "[^\0]{0,9}") {
        let Ok(password) = prepare_password(&text) else { return Ok(()) };
        let authzid = (!authzid.is_empty()).then_some(authzid.as_str());
        let mut desk = Desk::full().with(Account::Found(credentials(&text)));

        let success = desk.verdict("PLAIN", &client::plain(authzid, &name, &password)).unwrap();
        prop_assert_eq!((success.username.as_str(), success.authzid.as_deref()), (name.as_str(), authzid));

        let mut client = Scram::new(Hash::Sha256, &name, &password, &[7; 18], None);
        if let Some(authzid) = authzid {
            client = client.with_authzid(authzid);
        }
        let success = desk.scram(Mechanism::Scram(Hash::Sha256), client).unwrap();
        prop_assert_eq!((success.username.as_str(), success.authzid.as_deref()), (name.as_str(), authzid));
    }
}
