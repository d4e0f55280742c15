//! The HT mechanisms from the server's side (draft-schmaus-kitten-sasl-ht-09, which XEP-0484 names).
//!
//! One message and its answer: `authcid NUL HMAC(token, "Initiator" || cb-data)`, and `HMAC(token, "Responder" ||
//! cb-data)` with success. What is needed of the outside are the seeds of the device's tokens, and that the one in use is
//! noted before anybody is let in.
//!
//! Every attempt is held against two candidates, the token in use and the one issued last, whichever there are: an
//! unknown account, an unknown device and a device without tokens cost the same work and get the same answer.
//!
//! Deliberately absent: the key/value pairs that later drafts put between name and hash, since no deployed client sends
//! them and the two forms exclude each other; authorization identities, which HT has none of; early data of TLS.

use std::fmt;

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use crate::message::HashedTokenFirst;
use crate::negotiation::Standing;
use crate::token::SEED_LENGTH;
use crate::{ChannelBindings, Failure, Success, TokenMechanism, TokenOwner, TokenSecret, Verdict};

/// Tokens of one device that can be valid at a time (XEP-0484 §5.1).
const CANDIDATES: usize = 2;

/// Whether a token is still within its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It is.
    Good,
    /// It is not. Told to whoever proves to have it, with `credentials-expired` (XEP-0484 §4.2).
    Expired,
}

/// A token that may be the one in use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// What names it.
    pub seed: [u8; SEED_LENGTH],
    /// Whether it is in time.
    pub validity: Validity,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate").field("validity", &self.validity).finish_non_exhaustive()
    }
}

/// What was found for a name, a device and a mechanism. More candidates than two are not looked at.
#[derive(Debug)]
pub enum TokenLookup {
    /// The account exists.
    Found {
        /// Its immutable identity.
        account: i64,
        /// The device's tokens for this mechanism; none when there is no such device.
        candidates: Vec<Candidate>,
    },
    /// It is locked. Told to the client only after it has proved a token.
    Locked {
        /// Its immutable identity.
        account: i64,
        /// The device's tokens for this mechanism.
        candidates: Vec<Candidate>,
    },
    /// It does not exist: the exchange goes on and fails at its end.
    Unknown,
    /// The store could not answer.
    Unavailable,
}

/// What is wanted next.
pub enum TokenStep {
    /// Look up the tokens of this user (not prepared), for the device and the mechanism the exchange began with, and call
    /// [`TokenNegotiation::candidates`].
    NeedCandidates {
        /// As the client wrote it.
        username: String,
    },
    /// The client has the token that this seed names. Note its use, with the count it came with (XEP-0484 §3.4), and call
    /// [`TokenNegotiation::used`]; nobody is let in before.
    UseToken {
        /// The candidate that matched.
        seed: [u8; SEED_LENGTH],
    },
    /// It succeeded.
    Success(Success),
    /// It failed.
    Failure(Failure),
}

impl fmt::Debug for TokenStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenStep::NeedCandidates { username } => write!(f, "NeedCandidates({username:?})"),
            TokenStep::UseToken { .. } => f.write_str("UseToken(..)"),
            TokenStep::Success(success) => success.fmt(f),
            TokenStep::Failure(failure) => write!(f, "Failure({})", failure.condition()),
        }
    }
}

/// The state of one exchange on one stream.
pub struct TokenNegotiation {
    mechanism: TokenMechanism,
    secret: TokenSecret,
    device: String,
    /// `cb-data` of this connection.
    data: Vec<u8>,
    state: State,
}

enum State {
    AwaitMessage,
    AwaitCandidates { username: String, proof: Vec<u8> },
    AwaitUse { username: String, response: Vec<u8> },
    Over,
}

impl fmt::Debug for TokenNegotiation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::AwaitMessage => "AwaitMessage",
            State::AwaitCandidates { .. } => "AwaitCandidates",
            State::AwaitUse { .. } => "AwaitUse",
            State::Over => "Over",
        };
        write!(f, "TokenNegotiation({}, {state})", self.mechanism.name())
    }
}

impl TokenNegotiation {
    /// Begins an exchange with the mechanism the client named; `Err(InvalidMechanism)` unless it was offered and this
    /// connection can be bound that way. `device` is the id of the client's user agent.
    pub fn begin(
        mechanism: &str,
        offered: &[TokenMechanism],
        bindings: &ChannelBindings,
        secret: &TokenSecret,
        device: &str,
    ) -> Result<TokenNegotiation, Failure> {
        let mechanism = TokenMechanism::from_name(mechanism)
            .filter(|mechanism| offered.contains(mechanism))
            .ok_or(Failure::InvalidMechanism)?;
        let data = mechanism.data(bindings).ok_or(Failure::InvalidMechanism)?.to_vec();
        Ok(TokenNegotiation {
            mechanism,
            secret: secret.clone(),
            device: device.to_owned(),
            data,
            state: State::AwaitMessage,
        })
    }

    /// The mechanism in use.
    pub fn mechanism(&self) -> TokenMechanism {
        self.mechanism
    }

    /// The id of the device, as it was given.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The client's initial response, decoded. There has to be one: XEP-0484 §3.1 has success or failure come within a
    /// single round trip.
    pub fn message(&mut self, message: &[u8]) -> TokenStep {
        let State::AwaitMessage = self.take() else {
            return TokenStep::Failure(Failure::MalformedRequest);
        };
        match HashedTokenFirst::parse(message) {
            Ok(HashedTokenFirst { username, proof }) => {
                let (username, proof) = (username.to_owned(), proof.to_vec());
                self.state = State::AwaitCandidates { username: username.clone(), proof };
                TokenStep::NeedCandidates { username }
            }
            Err(failure) => TokenStep::Failure(failure),
        }
    }

    /// The answer to [`TokenStep::NeedCandidates`].
    pub fn candidates(&mut self, lookup: TokenLookup) -> TokenStep {
        let State::AwaitCandidates { username, proof } = self.take() else {
            return TokenStep::Failure(Failure::TemporaryAuthFailure);
        };
        let (account, candidates, standing) = match lookup {
            TokenLookup::Found { account, candidates } => (account, candidates, Standing::Active),
            TokenLookup::Locked { account, candidates } => (account, candidates, Standing::Locked),
            TokenLookup::Unknown => (0, Vec::new(), Standing::Decoy),
            TokenLookup::Unavailable => return TokenStep::Failure(Failure::TemporaryAuthFailure),
        };
        let Some((candidate, response)) = self.matching(account, &candidates, &proof) else {
            return TokenStep::Failure(Failure::NotAuthorized);
        };
        if let Err(failure) = standing.judge() {
            return TokenStep::Failure(failure);
        }
        if candidate.validity == Validity::Expired {
            return TokenStep::Failure(Failure::CredentialsExpired);
        }
        self.state = State::AwaitUse { username, response };
        TokenStep::UseToken { seed: candidate.seed }
    }

    /// The answer to [`TokenStep::UseToken`]: refused when the token is gone, or was used with this count before.
    pub fn used(&mut self, verdict: Verdict) -> TokenStep {
        let State::AwaitUse { username, response } = self.take() else {
            return TokenStep::Failure(Failure::TemporaryAuthFailure);
        };
        match verdict {
            Verdict::Accepted => TokenStep::Success(Success { username, authzid: None, data: Some(response) }),
            Verdict::Refused => TokenStep::Failure(Failure::NotAuthorized),
            Verdict::Unavailable => TokenStep::Failure(Failure::TemporaryAuthFailure),
        }
    }

    /// The candidate that the proof was made with, and our answer with it. As much work for none as for two.
    fn matching(&self, account: i64, candidates: &[Candidate], proof: &[u8]) -> Option<(Candidate, Vec<u8>)> {
        let owner = TokenOwner { account, device: &self.device };
        let mut matching = None;
        for place in 0..CANDIDATES {
            let candidate = candidates.get(place);
            // Where there is none, a token is made of a seed that was never drawn, and no proof is believed.
            let there = Choice::from(u8::from(candidate.is_some()));
            let seed = candidate.map_or([0; SEED_LENGTH], |candidate| candidate.seed);
            let token = self.secret.token(owner, self.mechanism, &seed);
            let (initiator, responder) = token.messages(&self.data);
            let equal = Choice::conditional_select(&Choice::from(0), &initiator.ct_eq(proof), there);
            if bool::from(equal) {
                matching = candidate.map(|candidate| (*candidate, responder));
            }
        }
        matching
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::HashedToken;
    use crate::hash::work;

    const DEVICE: &str = "d4565fa7-4d72-4749-b3d3-740edbf87770";

    /// The HMACs of an attempt that ends with this failure.
    fn cost(proof: &[u8], lookup: TokenLookup, expected: Failure) -> Vec<usize> {
        let bindings = ChannelBindings { tls_exporter: Some(vec![1; 32]), ..ChannelBindings::default() };
        let offered = TokenMechanism::available(&bindings);
        let mut negotiation =
            TokenNegotiation::begin("HT-SHA-256-EXPR", &offered, &bindings, &TokenSecret([1; 32]), DEVICE).unwrap();
        work::take_hmacs();
        assert!(matches!(negotiation.message(proof), TokenStep::NeedCandidates { .. }));
        match negotiation.candidates(lookup) {
            TokenStep::Failure(failure) => assert_eq!(failure, expected),
            step => panic!("{step:?}"),
        }
        work::take_hmacs()
    }

    #[test]
    fn abuse_62_whatever_is_not_there_costs_the_same_work_and_gets_the_same_answer() {
        let candidate = |seed| Candidate { seed: [seed; SEED_LENGTH], validity: Validity::Good };
        let wrong = HashedToken::new("guessed", &[1; 32]).initial("juliet");
        let refused = |lookup| cost(&wrong, lookup, Failure::NotAuthorized);
        let full = refused(TokenLookup::Found { account: 7, candidates: vec![candidate(1), candidate(2)] });
        // A token is derived, and both messages are made with it, twice.
        assert_eq!(full.len(), 6);
        assert_eq!(refused(TokenLookup::Found { account: 7, candidates: vec![candidate(1)] }), full);
        assert_eq!(refused(TokenLookup::Found { account: 7, candidates: Vec::new() }), full);
        assert_eq!(refused(TokenLookup::Locked { account: 7, candidates: vec![candidate(1)] }), full);
        assert_eq!(refused(TokenLookup::Unknown), full);
        let many = (1..9).map(candidate).collect();
        assert_eq!(refused(TokenLookup::Found { account: 7, candidates: many }), full);
        // And a proof of another length.
        assert_eq!(cost(b"juliet\0x", TokenLookup::Unknown, Failure::NotAuthorized), full);
    }

    #[test]
    fn abuse_62_the_token_of_an_empty_place_is_nobodys() {
        // Even whoever could make it is not let in with it.
        for (account, lookup) in
            [(0, TokenLookup::Unknown), (7, TokenLookup::Found { account: 7, candidates: Vec::new() })]
        {
            let owner = TokenOwner { account, device: DEVICE };
            let token = TokenSecret([1; 32]).token(owner, TokenMechanism::Exporter, &[0; SEED_LENGTH]);
            let proof = HashedToken::new(token.expose(), &[1; 32]).initial("juliet");
            cost(&proof, lookup, Failure::NotAuthorized);
        }
    }

    #[test]
    fn abuse_158_no_seed_and_no_proof_is_printed() {
        let candidate = Candidate { seed: [0xaa; SEED_LENGTH], validity: Validity::Good };
        let step = TokenStep::UseToken { seed: candidate.seed };
        assert_eq!(format!("{candidate:?} {step:?}"), "Candidate { validity: Good, .. } UseToken(..)");
    }
}
