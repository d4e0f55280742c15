//! HT exchanges (draft-schmaus-kitten-sasl-ht-09, XEP-0484), and abuse case 62 as far as it is decided in this crate.

use proptest::prelude::*;
use stonechat_sasl::client::{HashedToken, ScramError};
use stonechat_sasl::{
    Candidate, ChannelBindings, Failure, Success, TokenLookup, TokenMechanism, TokenNegotiation, TokenOwner,
    TokenSecret, TokenStep, Validity, Verdict, decode,
};

use crate::desk::Desk;

const DEVICE: &str = "d4565fa7-4d72-4749-b3d3-740edbf87770";
const OFFERED: [TokenMechanism; 3] = [TokenMechanism::Exporter, TokenMechanism::EndPoint, TokenMechanism::None];

/// Account 42 with two tokens for this device: the one in use, and one that was issued and not used yet.
struct Counter {
    bindings: ChannelBindings,
    secret: TokenSecret,
    device: String,
    lookup: Lookup,
    candidates: Vec<Candidate>,
    use_of_token: Verdict,
}

#[derive(Clone, Copy)]
enum Lookup {
    Found,
    Locked,
    Unknown,
    Unavailable,
}

fn seed(number: u8) -> [u8; 16] {
    std::array::from_fn(|place| number + place as u8)
}

fn good(number: u8) -> Candidate {
    Candidate { seed: seed(number), validity: Validity::Good }
}

impl Counter {
    fn full() -> Counter {
        Counter {
            bindings: Desk::full().bindings,
            secret: TokenSecret(std::array::from_fn(|place| place as u8)),
            device: DEVICE.to_owned(),
            lookup: Lookup::Found,
            candidates: vec![good(0x10), good(0x40)],
            use_of_token: Verdict::Accepted,
        }
    }

    fn token(&self, mechanism: TokenMechanism, number: u8) -> String {
        let owner = TokenOwner { account: 42, device: DEVICE };
        self.secret.token(owner, mechanism, &seed(number)).expose().to_owned()
    }

    fn data(&self, mechanism: TokenMechanism) -> Vec<u8> {
        match mechanism {
            TokenMechanism::Exporter => self.bindings.tls_exporter.clone().unwrap(),
            TokenMechanism::EndPoint => self.bindings.tls_server_end_point.clone().unwrap(),
            TokenMechanism::Unique | TokenMechanism::None => Vec::new(),
        }
    }

    fn begin(&self, mechanism: &str) -> Result<TokenNegotiation, Failure> {
        TokenNegotiation::begin(mechanism, &OFFERED, &self.bindings, &self.secret, &self.device)
    }

    fn lookup(&self) -> TokenLookup {
        let candidates = self.candidates.clone();
        match self.lookup {
            Lookup::Found => TokenLookup::Found { account: 42, candidates },
            Lookup::Locked => TokenLookup::Locked { account: 42, candidates },
            Lookup::Unknown => TokenLookup::Unknown,
            Lookup::Unavailable => TokenLookup::Unavailable,
        }
    }

    /// The end of an exchange, and the seed whose use was to be noted.
    fn hear(&self, mechanism: &str, message: &[u8]) -> Result<(Success, [u8; 16]), Failure> {
        let mut negotiation = self.begin(mechanism)?;
        let mut used = None;
        let mut step = negotiation.message(message);
        loop {
            step = match step {
                TokenStep::NeedCandidates { .. } => negotiation.candidates(self.lookup()),
                TokenStep::UseToken { seed } => {
                    used = Some(seed);
                    negotiation.used(self.use_of_token)
                }
                TokenStep::Success(success) => return Ok((success, used.unwrap())),
                TokenStep::Failure(failure) => return Err(failure),
            };
        }
    }

    /// The same for a client with this token.
    fn enter(&self, mechanism: TokenMechanism, token: &str) -> Result<[u8; 16], Failure> {
        let client = HashedToken::new(token, &self.data(mechanism));
        let (success, seed) = self.hear(mechanism.name(), &client.initial("juliet"))?;
        assert_eq!((success.username.as_str(), success.authzid), ("juliet", None));
        assert_eq!(client.finish(&success.data.unwrap()), Ok(()));
        Ok(seed)
    }
}

/// Computed with another implementation: token, initiator's message and responder's in base64.
const VECTORS: [(TokenMechanism, &str, &str, &str); 3] = [
    (
        TokenMechanism::Exporter,
        "pUdkD5Utf2SP3hxuRa7-GQiY4Lx9nRcR6e-rlt6jqR4",
        "anVsaWV0AMUMlZ2p/6LJXLyv8tPsFz764zuwHFsXkPIKJgIphUdi",
        "DZoFAH4Gv0Kc8rPeS94gKXxsUXZ9zXGnq9thELzXP7E=",
    ),
    (
        TokenMechanism::EndPoint,
        "BaAe5HmB4p3E6huYnClDPEyTZS7QfpNdbFL6RvJ72L8",
        "anVsaWV0ACYp/33k/EpI4GonjVIj+u2gpgG7BJOKFgyizugKvJZC",
        "hGyumA+XUBLgt1ye3DmsTlUUrEqjXblAJsz8O4Ijs6Q=",
    ),
    (
        TokenMechanism::None,
        "wluyp1ahqj5DBOTPRNWoOTmsq7HTzTITXy1pb-1YPLQ",
        "anVsaWV0AM+HBbnAt/QTrHX/e+Qz4z/ign9vXhd6WyAJyK0Fs+Qn",
        "hEF0GWAH40Kbiw5gGCSidttCkc42LxeJiZkIR58Yqaw=",
    ),
];

#[test]
fn sasl_ht_3_exchanges_by_another_implementation() {
    let counter = Counter::full();
    for (mechanism, token, initiator, responder) in VECTORS {
        assert_eq!(counter.token(mechanism, 0x10), token);
        let client = HashedToken::new(token, &counter.data(mechanism));
        assert_eq!(client.initial("juliet"), decode(initiator).unwrap());
        let (success, used) = counter.hear(mechanism.name(), &decode(initiator).unwrap()).unwrap();
        assert_eq!(success.data, decode(responder));
        assert_eq!(used, seed(0x10));
        assert_eq!(client.finish(&decode(responder).unwrap()), Ok(()));
    }
}

#[test]
fn xep0484_3_5_the_old_token_and_the_new_one_are_good_and_told_apart() {
    let counter = Counter::full();
    for mechanism in OFFERED {
        for number in [0x10, 0x40] {
            assert_eq!(counter.enter(mechanism, &counter.token(mechanism, number)), Ok(seed(number)));
        }
    }
}

#[test]
fn xep0484_3_1_what_was_not_offered_or_cannot_be_bound_is_invalid() {
    let mut counter = Counter::full();
    for name in ["HT-SHA-256-UNIQ", "HT-SHA-512-EXPR", "ht-sha-256-expr", "SCRAM-SHA-1", ""] {
        assert!(matches!(counter.begin(name), Err(Failure::InvalidMechanism)), "{name}");
    }
    counter.bindings.tls_exporter = None;
    assert!(matches!(counter.begin("HT-SHA-256-EXPR"), Err(Failure::InvalidMechanism)));
    let counter = Counter::full();
    let all = TokenNegotiation::begin(
        "HT-SHA-256-UNIQ",
        &TokenMechanism::ALL,
        &counter.bindings,
        &counter.secret,
        &counter.device,
    );
    assert!(matches!(all, Err(Failure::InvalidMechanism)));
    let fewer = TokenNegotiation::begin(
        "HT-SHA-256-NONE",
        &[TokenMechanism::Exporter],
        &counter.bindings,
        &counter.secret,
        &counter.device,
    );
    assert!(matches!(fewer, Err(Failure::InvalidMechanism)));
}

#[test]
fn abuse_62_a_token_is_good_for_the_mechanism_it_was_issued_for_alone() {
    let counter = Counter::full();
    for issued in OFFERED {
        for tried in OFFERED {
            let heard = counter.enter(tried, &counter.token(issued, 0x10));
            let expected = if issued == tried { Ok(seed(0x10)) } else { Err(Failure::NotAuthorized) };
            assert_eq!(heard, expected, "{issued:?} {tried:?}");
        }
    }
}

#[test]
fn abuse_62_another_device_account_or_server_does_not_take_it() {
    for mechanism in OFFERED {
        let token = Counter::full().token(mechanism, 0x10);
        let changes: [fn(&mut Counter); 8] = [
            |counter| counter.device.push('1'),
            |counter| counter.device.clear(),
            |counter| counter.secret = TokenSecret([7; 32]),
            |counter| counter.lookup = Lookup::Unknown,
            // Used up or revoked: its seed is there no more.
            |counter| counter.candidates.clear(),
            |counter| counter.candidates = vec![good(0x40)],
            |counter| counter.candidates = vec![good(0x40), good(0x70), good(0x10)],
            |counter| counter.use_of_token = Verdict::Refused,
        ];
        for change in changes {
            let mut counter = Counter::full();
            change(&mut counter);
            assert_eq!(counter.enter(mechanism, &token), Err(Failure::NotAuthorized));
        }
    }
}

#[test]
fn abuse_62_a_message_replayed_on_another_connection_is_refused_if_bound() {
    let other = || {
        let mut counter = Counter::full();
        counter.bindings.tls_exporter = Some(vec![0xaa; 32]);
        counter.bindings.tls_server_end_point = Some(vec![0xbb; 32]);
        counter
    };
    for (mechanism, _, initiator, _) in VECTORS {
        let heard = other().hear(mechanism.name(), &decode(initiator).unwrap()).map(|(_, seed)| seed);
        match mechanism {
            // Without binding, the count is what a replay is told by.
            TokenMechanism::None => assert_eq!(heard, Ok(seed(0x10))),
            _ => assert_eq!(heard, Err(Failure::NotAuthorized)),
        }
    }
}

#[test]
fn abuse_62_what_is_told_is_told_to_those_who_have_the_token() {
    let expired = |number| Candidate { validity: Validity::Expired, ..good(number) };
    type Change = fn(&mut Counter);
    let table: [(Change, Vec<Candidate>, Failure); 4] = [
        (|_| (), vec![expired(0x10), good(0x40)], Failure::CredentialsExpired),
        (|counter| counter.lookup = Lookup::Locked, vec![good(0x10)], Failure::AccountDisabled),
        (|counter| counter.lookup = Lookup::Locked, vec![expired(0x10)], Failure::AccountDisabled),
        (|counter| counter.use_of_token = Verdict::Unavailable, vec![good(0x10)], Failure::TemporaryAuthFailure),
    ];
    for (change, candidates, expected) in table {
        let mut counter = Counter { candidates, ..Counter::full() };
        change(&mut counter);
        let token = counter.token(TokenMechanism::Exporter, 0x10);
        assert_eq!(counter.enter(TokenMechanism::Exporter, &token), Err(expected));
        assert_eq!(counter.enter(TokenMechanism::Exporter, "guessed"), Err(Failure::NotAuthorized));
    }
    let counter = Counter { lookup: Lookup::Unavailable, ..Counter::full() };
    assert_eq!(counter.enter(TokenMechanism::Exporter, "guessed"), Err(Failure::TemporaryAuthFailure));
}

#[test]
fn sasl_ht_3_1_messages_that_are_none() {
    let long = [b"j".repeat(9000).as_slice(), b"\0hash"].concat();
    for message in [&b""[..], b"juliet", b"juliet\0", b"\0hash", b"\xff\0hash", &long] {
        for lookup in [Lookup::Found, Lookup::Unknown] {
            let counter = Counter { lookup, ..Counter::full() };
            let heard = counter.hear("HT-SHA-256-NONE", message).map(|_| ());
            assert_eq!(heard, Err(Failure::MalformedRequest), "{message:?}");
        }
    }
}

#[test]
fn abuse_62_the_hash_must_be_whole() {
    let counter = Counter::full();
    let whole = decode(VECTORS[0].2).unwrap();
    let hash = whole.len() - 32;
    for length in hash + 1..whole.len() {
        let heard = counter.hear("HT-SHA-256-EXPR", &whole[..length]).map(|_| ());
        assert_eq!(heard, Err(Failure::NotAuthorized), "{length}");
    }
    for place in hash..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        assert_eq!(counter.hear("HT-SHA-256-EXPR", &changed).map(|_| ()), Err(Failure::NotAuthorized), "{place}");
    }
    let longer = [whole.as_slice(), b"\0"].concat();
    assert_eq!(counter.hear("HT-SHA-256-EXPR", &longer).map(|_| ()), Err(Failure::NotAuthorized));
}

#[test]
fn sasl_ht_3_3_a_client_believes_only_the_server_that_has_the_token() {
    let (_, token, initiator, responder) = VECTORS[0];
    let client = HashedToken::new(token, &[0xe0; 32]);
    let responder = decode(responder).unwrap();
    let initiator = decode(initiator).unwrap();
    for data in [&b""[..], &responder[..31], &initiator[7..], &[0; 32]] {
        assert_eq!(client.finish(data), Err(ScramError::Signature));
    }
}

#[test]
fn an_exchange_that_ended_or_was_not_asked_does_not_go_on() {
    let counter = Counter::full();
    let message = decode(VECTORS[0].2).unwrap();
    let failure = |step: TokenStep| match step {
        TokenStep::Failure(failure) => failure,
        step => panic!("{step:?}"),
    };
    let begin = || counter.begin("HT-SHA-256-EXPR").unwrap();
    assert_eq!(failure(begin().candidates(counter.lookup())), Failure::TemporaryAuthFailure);
    assert_eq!(failure(begin().used(Verdict::Accepted)), Failure::TemporaryAuthFailure);

    let mut negotiation = begin();
    negotiation.message(&message);
    assert_eq!(failure(negotiation.used(Verdict::Accepted)), Failure::TemporaryAuthFailure);
    assert_eq!(failure(negotiation.candidates(counter.lookup())), Failure::TemporaryAuthFailure);

    let mut negotiation = begin();
    negotiation.message(&message);
    assert_eq!(failure(negotiation.message(&message)), Failure::MalformedRequest);

    let mut negotiation = begin();
    negotiation.message(&message);
    assert!(matches!(negotiation.candidates(counter.lookup()), TokenStep::UseToken { .. }));
    assert!(matches!(negotiation.used(Verdict::Accepted), TokenStep::Success(_)));
    assert_eq!(failure(negotiation.used(Verdict::Accepted)), Failure::TemporaryAuthFailure);
    assert_eq!(failure(negotiation.message(&message)), Failure::MalformedRequest);
}

#[test]
fn abuse_158_no_token_hash_or_seed_is_printed() {
    let counter = Counter::full();
    let (_, token, initiator, _) = VECTORS[0];
    let mut negotiation = counter.begin("HT-SHA-256-EXPR").unwrap();
    let mut printed = format!("{negotiation:?} {:?}", HashedToken::new(token, &[0xe0; 32]));
    let step = negotiation.message(&decode(initiator).unwrap());
    printed += &format!("{negotiation:?} {step:?} {:?}", counter.lookup());
    let step = negotiation.candidates(counter.lookup());
    printed += &format!("{negotiation:?} {step:?}");
    let step = negotiation.used(Verdict::Accepted);
    printed += &format!("{negotiation:?} {step:?}");
    // Neither as text nor as a list of numbers: the seed begins 16, 17; the hash 197, 12; the binding 224, 224.
    for secret in [token, "16, 17", "197, 12", "224, 224"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

proptest! {
    #[test]
    fn abuse_160_no_message_panics_and_none_of_chance_gets_in(
        message in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..80),
            "[a-z]{0,6}\0?[ -~]{0,40}".prop_map(String::into_bytes),
        ],
        mechanism in proptest::sample::select(OFFERED.to_vec()),
    ) {
        prop_assert!(Counter::full().hear(mechanism.name(), &message).is_err());
    }

    #[test]
    fn whoever_was_given_a_token_gets_in_with_it(name in "[^\0]{1,30}", device in "\\PC{0,60}", number in 0_u8..200, account in any::<i64>()) {
        let counter = Counter { device: device.clone(), ..Counter::full() };
        for mechanism in OFFERED {
            let token = counter.secret.token(TokenOwner { account, device: &device }, mechanism, &seed(number));
            let client = HashedToken::new(token.expose(), &counter.data(mechanism));
            let mut negotiation = counter.begin(mechanism.name()).unwrap();
            let step = negotiation.message(&client.initial(&name));
            let TokenStep::NeedCandidates { username } = step else { panic!("refused") };
            prop_assert_eq!(&username, &name);
            let candidates = vec![good(number.wrapping_add(7) % 200), good(number)];
            let step = negotiation.candidates(TokenLookup::Found { account, candidates });
            let TokenStep::UseToken { seed: used } = step else { panic!("refused") };
            prop_assert_eq!(used, seed(number));
            let TokenStep::Success(success) = negotiation.used(Verdict::Accepted) else { panic!("refused") };
            prop_assert_eq!(client.finish(&success.data.unwrap()), Ok(()));
        }
    }
}
