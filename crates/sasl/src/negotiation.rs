//! One authentication exchange.

use crate::{ChannelBindings, Credentials, DecoySecret, Mechanism, Offer, Password};

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
        todo!()
    }
}

/// What the exchange established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Success {
    /// The simple user name (a localpart as the client wrote it, not prepared), or for EXTERNAL the identity asserted
    /// (empty when the client left it out).
    pub username: String,
    /// Data to send with success (SCRAM's server signature).
    pub data: Option<Vec<u8>>,
}

/// What is wanted next.
#[derive(Debug)]
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

/// The state of one exchange on one stream.
#[derive(Debug)]
pub struct Negotiation {
    _mechanism: Mechanism,
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

impl Negotiation {
    /// Begins an exchange with the mechanism the client named; `Err(InvalidMechanism)` unless `offer` has it.
    /// `nonce` is 18 or more random bytes; `bindings` are those of this connection's TLS session.
    pub fn begin(
        _mechanism: &str,
        _offer: &Offer,
        _bindings: &ChannelBindings,
        _decoy: &DecoySecret,
        _nonce: &[u8],
    ) -> Result<Negotiation, Failure> {
        todo!()
    }
    /// The mechanism in use.
    pub fn mechanism(&self) -> Mechanism {
        self._mechanism
    }
    /// The client's initial response or next response, decoded; `None` when `<auth/>` carried none.
    pub fn message(&mut self, _message: Option<&[u8]>) -> Step {
        todo!()
    }
    /// The answer to [`Step::NeedCredentials`].
    pub fn credentials(&mut self, _lookup: Lookup) -> Step {
        todo!()
    }
    /// The answer to [`Step::CheckPassword`].
    pub fn password_checked(&mut self, _matches: Verdict) -> Step {
        todo!()
    }
    /// The answer to [`Step::CheckExternal`].
    pub fn external_checked(&mut self, _verdict: Verdict) -> Step {
        todo!()
    }
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
