//! One authentication exchange.
//!
//! The steps of RFC 4422 §3 as the receiving entity takes them. What needs the outside (the account, a slow hash, a
//! certificate) leaves as a [`Step`] and comes back by a method; a call that does not fit the state ends the exchange.
//! Whatever ended it, nothing of it can be used again.
//!
//! Who may act as whom is not decided here: the authorization identity is handed on ([`Success::authzid`]), since the
//! addresses of accounts are known to the stream alone. How often somebody may try is counted there too.

use std::fmt;

use crate::message::{Plain, text};
use crate::scram::{Binding, Challenge, Opening, Refusal, Terms};
use crate::{ChannelBindings, Credentials, DecoySecret, Hash, Mechanism, Offer, Password};

/// The least bytes of randomness in our half of a nonce.
const SHORTEST_NONCE: usize = 18;

/// The failure conditions of RFC 6120 §6.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The initiating entity gave up.
    #[error("aborted")]
    Aborted,
    /// The account is locked.
    #[error("account-disabled")]
    AccountDisabled,
    /// The credentials have expired.
    #[error("credentials-expired")]
    CredentialsExpired,
    /// The mechanism needs TLS.
    #[error("encryption-required")]
    EncryptionRequired,
    /// Not base64.
    #[error("incorrect-encoding")]
    IncorrectEncoding,
    /// The authorization identity is not permitted.
    #[error("invalid-authzid")]
    InvalidAuthzid,
    /// Not offered on this stream.
    #[error("invalid-mechanism")]
    InvalidMechanism,
    /// The message does not follow the mechanism's grammar.
    #[error("malformed-request")]
    MalformedRequest,
    /// The mechanism is too weak for this account.
    #[error("mechanism-too-weak")]
    MechanismTooWeak,
    /// Wrong credentials, unknown account, or a downgrade noticed.
    #[error("not-authorized")]
    NotAuthorized,
    /// Something here is temporarily out of order.
    #[error("temporary-auth-failure")]
    TemporaryAuthFailure,
}

impl Failure {
    /// The element name of the condition.
    pub fn condition(self) -> &'static str {
        match self {
            Failure::Aborted => "aborted",
            Failure::AccountDisabled => "account-disabled",
            Failure::CredentialsExpired => "credentials-expired",
            Failure::EncryptionRequired => "encryption-required",
            Failure::IncorrectEncoding => "incorrect-encoding",
            Failure::InvalidAuthzid => "invalid-authzid",
            Failure::InvalidMechanism => "invalid-mechanism",
            Failure::MalformedRequest => "malformed-request",
            Failure::MechanismTooWeak => "mechanism-too-weak",
            Failure::NotAuthorized => "not-authorized",
            Failure::TemporaryAuthFailure => "temporary-auth-failure",
        }
    }
}

/// What the exchange established.
#[derive(Clone, PartialEq, Eq)]
pub struct Success {
    /// The simple user name (a localpart as the client wrote it, not prepared), or for EXTERNAL the identity asserted
    /// (empty when the client left it out).
    pub username: String,
    /// Whom the client wants to act as, as it wrote it, when it named somebody (RFC 6120 §6.3.8). The stream prepares it
    /// and compares it with the bare address of the account; anything else is [`Failure::InvalidAuthzid`]. Always `None`
    /// for EXTERNAL, whose identity [`Step::CheckExternal`] had judged.
    pub authzid: Option<String>,
    /// Data to send with success (SCRAM's server signature).
    pub data: Option<Vec<u8>>,
}

impl fmt::Debug for Success {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Success")
            .field("username", &self.username)
            .field("authzid", &self.authzid)
            .finish_non_exhaustive()
    }
}

/// What is wanted next.
pub enum Step {
    /// Look up the credentials of this user (not prepared) and call [`Negotiation::credentials`].
    NeedCredentials {
        /// As the client wrote it.
        username: String,
    },
    /// Check this password off the I/O threads ([`Credentials::verify`] with what was looked up, or with the decoy's) and
    /// call [`Negotiation::password_checked`].
    CheckPassword {
        /// What the client sent, prepared.
        password: Password,
        /// What to check it against.
        credentials: Box<Credentials>,
    },
    /// The certificate of the peer must be judged for this identity (empty: whatever the certificate says); call
    /// [`Negotiation::external_checked`].
    CheckExternal {
        /// The authorization identity, possibly empty.
        identity: String,
    },
    /// Send this challenge.
    Challenge(Vec<u8>),
    /// It succeeded.
    Success(Success),
    /// It failed.
    Failure(Failure),
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::NeedCredentials { username } => write!(f, "NeedCredentials({username:?})"),
            Step::CheckPassword { .. } => f.write_str("CheckPassword(..)"),
            Step::CheckExternal { identity } => write!(f, "CheckExternal({identity:?})"),
            Step::Challenge(_) => f.write_str("Challenge(..)"),
            Step::Success(success) => success.fmt(f),
            Step::Failure(failure) => write!(f, "Failure({})", failure.condition()),
        }
    }
}

/// What the operator should hear about an exchange that failed; the client hears `not-authorized` and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The client believes that no `-PLUS` mechanism was offered, although one was: somebody shortened the list on its
    /// way, or the client is broken (RFC 5802 §6).
    Downgrade,
    /// The password was right, but bound to another TLS connection or under another GS2 header: somebody stands in
    /// between, or the client is broken.
    ForeignChannel,
}

/// Whether the account that was looked up may log in.
#[derive(Debug)]
pub enum Lookup {
    /// It exists.
    Found(Credentials),
    /// It does not exist: the exchange goes on with decoy credentials and fails at its end.
    Unknown,
    /// It is locked. Told to the client only after it has proved the password.
    Locked(Credentials),
    /// The store could not answer.
    Unavailable,
}

/// What an account that was looked up turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Active,
    Locked,
    /// There is none, or it has no keys for this mechanism.
    Decoy,
}

impl Standing {
    /// What those who proved the password are told.
    pub(crate) fn judge(self) -> Result<(), Failure> {
        match self {
            Standing::Active => Ok(()),
            Standing::Locked => Err(Failure::AccountDisabled),
            Standing::Decoy => Err(Failure::NotAuthorized),
        }
    }
}

/// The state of one exchange on one stream.
pub struct Negotiation {
    mechanism: Mechanism,
    decoy: DecoySecret,
    state: State,
    notice: Option<Notice>,
}

/// Where an exchange is. The first message may come with `<auth/>` or after an empty challenge, once.
enum State {
    AwaitFirst(Exchange, Prompt),
    AwaitScramCredentials(Box<Opening>),
    AwaitScramProof(Box<Challenge>),
    AwaitPlainCredentials(Box<Plain>),
    AwaitPasswordCheck { username: String, authzid: Option<String>, standing: Standing },
    AwaitExternalCheck { identity: String },
    Over,
}

/// What the first message begins.
enum Exchange {
    Scram(Box<Terms>),
    Plain,
    External,
}

/// Whether the first message has been asked for.
#[derive(Clone, Copy)]
enum Prompt {
    NotSent,
    Sent,
}

impl fmt::Debug for Negotiation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::AwaitFirst(..) => "AwaitFirst",
            State::AwaitScramCredentials(_) => "AwaitScramCredentials",
            State::AwaitScramProof(_) => "AwaitScramProof",
            State::AwaitPlainCredentials(_) => "AwaitPlainCredentials",
            State::AwaitPasswordCheck { .. } => "AwaitPasswordCheck",
            State::AwaitExternalCheck { .. } => "AwaitExternalCheck",
            State::Over => "Over",
        };
        write!(f, "Negotiation({}, {state})", self.mechanism.name())
    }
}

impl Negotiation {
    /// Begins an exchange with the mechanism the client named; `Err(InvalidMechanism)` unless `offer` has it.
    /// `nonce` is 18 or more random bytes, `Err(TemporaryAuthFailure)` when it is shorter; `bindings` are those of this
    /// connection's TLS session; `decoy` is that of the domain ([`DecoySecret::for_domain`]).
    pub fn begin(
        mechanism: &str,
        offer: &Offer,
        bindings: &ChannelBindings,
        decoy: &DecoySecret,
        nonce: &[u8],
    ) -> Result<Negotiation, Failure> {
        let mechanism = Mechanism::from_name(mechanism)
            .filter(|mechanism| offer.mechanisms.contains(mechanism))
            .ok_or(Failure::InvalidMechanism)?;
        if nonce.len() < SHORTEST_NONCE {
            return Err(Failure::TemporaryAuthFailure);
        }
        let scram =
            |hash: Hash, binding: Binding| Exchange::Scram(Box::new(Terms::new(hash, binding, offer, bindings, nonce)));
        let exchange = match mechanism {
            Mechanism::Scram(hash) => scram(hash, Binding::Absent),
            Mechanism::ScramPlus(hash) => scram(hash, Binding::Required),
            Mechanism::Plain => Exchange::Plain,
            Mechanism::External => Exchange::External,
        };
        Ok(Negotiation {
            mechanism,
            decoy: decoy.clone(),
            state: State::AwaitFirst(exchange, Prompt::NotSent),
            notice: None,
        })
    }
    /// The mechanism in use.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }
    /// Why the exchange failed, where the operator should know: to be logged when a step was [`Step::Failure`].
    pub fn notice(&self) -> Option<Notice> {
        self.notice
    }
    /// The client's initial response or next response, decoded; `None` when `<auth/>` carried none.
    pub fn message(&mut self, message: Option<&[u8]>) -> Step {
        match (self.take(), message) {
            // RFC 4422 §5.1: a mechanism where the client speaks first, and no initial response.
            (State::AwaitFirst(exchange, Prompt::NotSent), None) => {
                self.state = State::AwaitFirst(exchange, Prompt::Sent);
                Step::Challenge(Vec::new())
            }
            (State::AwaitFirst(exchange, _), message) => self.first(exchange, message.unwrap_or_default()),
            (State::AwaitScramProof(challenge), message) => match challenge.prove(message.unwrap_or_default()) {
                Ok(success) => Step::Success(success),
                Err(refusal) => self.refuse(refusal),
            },
            // A client that does not wait for its turn.
            _ => Step::Failure(Failure::MalformedRequest),
        }
    }
    /// The answer to [`Step::NeedCredentials`].
    pub fn credentials(&mut self, lookup: Lookup) -> Step {
        match self.take() {
            State::AwaitScramCredentials(opening) => {
                let hash = opening.hash;
                let usable = |credentials: &Credentials| credentials.usable_keys(hash).is_some();
                let Some((credentials, standing)) = self.admit(&opening.username, lookup, usable) else {
                    return Step::Failure(Failure::TemporaryAuthFailure);
                };
                let Some(keys) = credentials.usable_keys(hash).cloned() else {
                    return Step::Failure(Failure::NotAuthorized);
                };
                let (challenge, message) = opening.challenge(keys, standing);
                self.state = State::AwaitScramProof(Box::new(challenge));
                Step::Challenge(message)
            }
            State::AwaitPlainCredentials(plain) => {
                let usable = |credentials: &Credentials| credentials.strongest().is_some();
                let Some((credentials, standing)) = self.admit(&plain.username, lookup, usable) else {
                    return Step::Failure(Failure::TemporaryAuthFailure);
                };
                let Plain { authzid, username, password } = *plain;
                self.state = State::AwaitPasswordCheck { username, authzid, standing };
                Step::CheckPassword { password, credentials: Box::new(credentials) }
            }
            _ => Step::Failure(Failure::TemporaryAuthFailure),
        }
    }
    /// The answer to [`Step::CheckPassword`].
    pub fn password_checked(&mut self, matches: Verdict) -> Step {
        let State::AwaitPasswordCheck { username, authzid, standing } = self.take() else {
            return Step::Failure(Failure::TemporaryAuthFailure);
        };
        match (matches, standing.judge()) {
            (Verdict::Accepted, Ok(())) => Step::Success(Success { username, authzid, data: None }),
            (Verdict::Accepted, Err(failure)) => Step::Failure(failure),
            (Verdict::Refused, _) => Step::Failure(Failure::NotAuthorized),
            (Verdict::Unavailable, _) => Step::Failure(Failure::TemporaryAuthFailure),
        }
    }
    /// The answer to [`Step::CheckExternal`].
    pub fn external_checked(&mut self, verdict: Verdict) -> Step {
        let State::AwaitExternalCheck { identity } = self.take() else {
            return Step::Failure(Failure::TemporaryAuthFailure);
        };
        match verdict {
            Verdict::Accepted => Step::Success(Success { username: identity, authzid: None, data: None }),
            // XEP-0178 §2: the certificate proves nobody, or somebody else than was asked for.
            Verdict::Refused if identity.is_empty() => Step::Failure(Failure::NotAuthorized),
            Verdict::Refused => Step::Failure(Failure::InvalidAuthzid),
            Verdict::Unavailable => Step::Failure(Failure::TemporaryAuthFailure),
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Step {
        self.notice = refusal.notice;
        Step::Failure(refusal.failure)
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Over)
    }

    fn first(&mut self, exchange: Exchange, message: &[u8]) -> Step {
        let opened = match exchange {
            Exchange::Scram(terms) => terms.open(message).map(|opening| {
                let username = opening.username.clone();
                (State::AwaitScramCredentials(Box::new(opening)), Step::NeedCredentials { username })
            }),
            Exchange::Plain => text(message).and_then(Plain::parse).map_err(Refusal::from).map(|plain| {
                let username = plain.username.clone();
                (State::AwaitPlainCredentials(Box::new(plain)), Step::NeedCredentials { username })
            }),
            Exchange::External => external_identity(message).map_err(Refusal::from).map(|identity| {
                (State::AwaitExternalCheck { identity: identity.clone() }, Step::CheckExternal { identity })
            }),
        };
        match opened {
            Ok((state, step)) => {
                self.state = state;
                step
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// The credentials to go on with; `None` when the store could not answer. Decoys are made for every lookup, needed or
    /// not, so that an account that exists costs as much as one that does not.
    fn admit(
        &self,
        username: &str,
        lookup: Lookup,
        usable: impl Fn(&Credentials) -> bool,
    ) -> Option<(Credentials, Standing)> {
        let decoy = self.decoy.credentials(username);
        match lookup {
            Lookup::Found(credentials) if usable(&credentials) => Some((credentials, Standing::Active)),
            Lookup::Locked(credentials) if usable(&credentials) => Some((credentials, Standing::Locked)),
            Lookup::Found(_) | Lookup::Locked(_) | Lookup::Unknown => Some((decoy, Standing::Decoy)),
            Lookup::Unavailable => None,
        }
    }
}

/// RFC 4422 appendix A: UTF-8 without NUL, possibly empty.
fn external_identity(message: &[u8]) -> Result<String, Failure> {
    let identity = text(message)?;
    if identity.contains('\0') {
        return Err(Failure::MalformedRequest);
    }
    Ok(identity.to_owned())
}

/// The outcome of a check made outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Accepted,
    /// It does not.
    Refused,
    /// It could not be made.
    Unavailable,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::work;
    use crate::{ChannelBinding, DEFAULT_ITERATIONS, prepare_password};

    fn begin(mechanism: Mechanism) -> Negotiation {
        let offer = Offer { mechanisms: Mechanism::ALL.to_vec(), channel_bindings: vec![ChannelBinding::TlsExporter] };
        let bindings = ChannelBindings { tls_exporter: Some(vec![1; 32]), ..ChannelBindings::default() };
        Negotiation::begin(mechanism.name(), &offer, &bindings, &DecoySecret([1; 32]), &[1; 18]).unwrap()
    }

    /// The PBKDF2 runs of a whole exchange that ends in failure.
    fn cost(mechanism: Mechanism, lookup: Lookup) -> Vec<(Hash, u32)> {
        work::take();
        let mut negotiation = begin(mechanism);
        let first: &[u8] = match mechanism {
            Mechanism::Plain => b"\0juliet\0wrong",
            Mechanism::ScramPlus(_) => b"p=tls-exporter,,n=juliet,r=abc",
            _ => b"n,,n=juliet,r=abc",
        };
        assert!(matches!(negotiation.message(Some(first)), Step::NeedCredentials { .. }));
        let last = match negotiation.credentials(lookup) {
            Step::CheckPassword { password, credentials } => {
                assert!(!credentials.verify(&password));
                negotiation.password_checked(Verdict::Refused)
            }
            Step::Challenge(_) => negotiation.message(Some(b"c=biws,r=abc,p=AAAA")),
            step => panic!("{step:?}"),
        };
        assert!(matches!(last, Step::Failure(Failure::NotAuthorized)));
        work::take()
    }

    #[test]
    fn abuse_55_every_kind_of_account_costs_the_same_hashing() {
        let password = prepare_password("pencil").unwrap();
        let real = Credentials::derive(&password, [[1; 16]; 3], DEFAULT_ITERATIONS);
        for mechanism in Mechanism::ALL {
            let expected = match mechanism {
                Mechanism::Plain => vec![(Hash::Sha512, DEFAULT_ITERATIONS)],
                Mechanism::Scram(_) | Mechanism::ScramPlus(_) => Vec::new(),
                Mechanism::External => continue,
            };
            assert_eq!(cost(mechanism, Lookup::Found(real.clone())), expected);
            assert_eq!(cost(mechanism, Lookup::Unknown), expected);
            assert_eq!(cost(mechanism, Lookup::Locked(real.clone())), expected);
            assert_eq!(cost(mechanism, Lookup::Found(Credentials::default())), expected);
        }
    }

    #[test]
    fn rfc6120_6_5_conditions_are_what_the_errors_say() {
        let all = [
            Failure::Aborted,
            Failure::AccountDisabled,
            Failure::CredentialsExpired,
            Failure::EncryptionRequired,
            Failure::IncorrectEncoding,
            Failure::InvalidAuthzid,
            Failure::InvalidMechanism,
            Failure::MalformedRequest,
            Failure::MechanismTooWeak,
            Failure::NotAuthorized,
            Failure::TemporaryAuthFailure,
        ];
        for failure in all {
            assert_eq!(failure.condition(), failure.to_string());
        }
    }
}
