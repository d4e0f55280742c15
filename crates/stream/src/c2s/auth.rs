//! One SASL exchange on a client's stream (RFC 6120 §6.4), by a password or by a device's token, and what is offered.
//! The two profiles that carry it, [`super::sasl`] and [`super::sasl2`], offer the same.

use super::fast::TokensOf;
use super::machine::Security;
use crate::Token;
use stonechat_jid::{BareJid, Domain, Level};
use stonechat_sasl::{
    ChannelBindings, Credentials, DecoySecret, Failure, Hash, Lookup, Mechanism, Negotiation, Notice, Offer, Password,
    SEED_LENGTH, Step, TokenLookup, TokenMechanism, TokenNegotiation, TokenSecret, TokenStep, UpgradeTask, Verdict,
    encode,
};
use stonechat_stanza::ns;
use stonechat_xml::Element;

/// How SASL is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// RFC 6120 §6.
    Classic,
    /// XEP-0388.
    Extensible,
}

impl Profile {
    fn namespace(self) -> &'static str {
        match self {
            Profile::Classic => ns::SASL,
            Profile::Extensible => ns::SASL2,
        }
    }
    /// RFC 6120 §6.4.2 writes nothing as `=`; XEP-0388 §2.2 writes it as nothing.
    fn data(self, data: &[u8]) -> String {
        match self {
            Profile::Extensible if data.is_empty() => String::new(),
            Profile::Classic | Profile::Extensible => encode(data),
        }
    }
}

/// The bindings of a connection: none in the clear.
pub(super) fn bindings(security: &Security) -> ChannelBindings {
    match security {
        Security::Clear => ChannelBindings::default(),
        Security::Tls(bindings) => bindings.clone(),
    }
}

/// What a connection is offered, strongest first.
pub(super) fn offer(security: &Security) -> Offer {
    let hashes = [Hash::Sha512, Hash::Sha256, Hash::Sha1];
    match security {
        Security::Clear => {
            // PLAIN never without TLS.
            Offer { mechanisms: hashes.into_iter().map(Mechanism::Scram).collect(), channel_bindings: Vec::new() }
        }
        Security::Tls(bindings) => {
            // Clients bind with tls-exporter whenever they see any -PLUS: it is offered when both types work.
            let both = bindings.tls_exporter.is_some() && bindings.tls_server_end_point.is_some();
            let plus = hashes.into_iter().filter(|_| both).map(Mechanism::ScramPlus);
            let mechanisms = plus.chain(hashes.into_iter().map(Mechanism::Scram)).chain([Mechanism::Plain]).collect();
            Offer { mechanisms, channel_bindings: if both { bindings.types() } else { Vec::new() } }
        }
    }
}

/// The stream features that announce it (RFC 6120 §6.3.3, XEP-0440).
pub(super) fn features(offer: &Offer) -> Vec<Element> {
    let mechanisms = Element::new("mechanisms", ns::SASL).with_children(
        offer.mechanisms.iter().map(|mechanism| Element::new("mechanism", ns::SASL).with_text(mechanism.name())),
    );
    let mut features = vec![mechanisms];
    if !offer.channel_bindings.is_empty() {
        features.push(
            Element::new("sasl-channel-binding", ns::SASL_CB).with_children(
                offer
                    .channel_bindings
                    .iter()
                    .map(|kind| Element::new("channel-binding", ns::SASL_CB).with_attribute("type", kind.name())),
            ),
        );
    }
    features
}

/// A failed authentication: what the client is told, and what the operator may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What the client is told.
    pub failure: Failure,
    /// The account it was about, as far as it got.
    pub account: Option<BareJid>,
    /// What looks like an attack.
    pub notice: Option<Notice>,
}

impl Failed {
    pub(super) fn new(failure: Failure) -> Self {
        Failed { failure, account: None, notice: None }
    }
    pub(super) fn of(account: BareJid, failure: Failure) -> Self {
        Failed { failure, account: Some(account), notice: None }
    }
    pub(super) fn before_tls() -> Self {
        Failed::new(Failure::EncryptionRequired)
    }
    /// Whether it counts against the attempts a stream has.
    pub(super) fn counts(&self) -> bool {
        !matches!(self.failure, Failure::Aborted | Failure::TemporaryAuthFailure | Failure::EncryptionRequired)
    }
}

/// What is wanted next.
pub(super) enum Next {
    Lookup(BareJid),
    LookupTokens(TokensOf),
    /// The name cannot be an account's: it goes the way of names that do not exist.
    LookupImpossible,
    CheckPassword(Password, Box<Credentials>),
    /// The device has this account's token of this seed. That it was used is to be noted before anybody is let in.
    UseToken(BareJid, [u8; SEED_LENGTH]),
    Challenge(Vec<u8>),
    Success(BareJid, Option<Vec<u8>>),
    Failed(Failed),
}

enum Proof {
    Password(Negotiation),
    Token(TokenNegotiation),
}

/// One exchange.
pub(super) struct Exchange {
    proof: Proof,
    domain: Domain,
    account: Option<BareJid>,
    awaited: Option<Token>,
    /// Keys that would do the account good (XEP-0480).
    wanted: Vec<UpgradeTask>,
}

impl Exchange {
    /// By a password.
    pub(super) fn by_password(
        mechanism: &str,
        domain: Domain,
        security: &Security,
        decoy: &DecoySecret,
        nonce: &[u8],
    ) -> Result<Exchange, Failed> {
        let decoy = decoy.for_domain(domain.as_str());
        let negotiation =
            Negotiation::begin(mechanism, &offer(security), &bindings(security), &decoy, nonce).map_err(Failed::new)?;
        Ok(Exchange::new(Proof::Password(negotiation), domain))
    }

    /// By a token of a device (XEP-0484).
    pub(super) fn by_token(
        mechanism: &str,
        device: &str,
        domain: Domain,
        security: &Security,
        secret: &TokenSecret,
    ) -> Result<Exchange, Failed> {
        let bindings = bindings(security);
        let offered = TokenMechanism::available(&bindings);
        let negotiation =
            TokenNegotiation::begin(mechanism, &offered, &bindings, secret, device).map_err(Failed::new)?;
        Ok(Exchange::new(Proof::Token(negotiation), domain))
    }

    fn new(proof: Proof, domain: Domain) -> Exchange {
        Exchange { proof, domain, account: None, awaited: None, wanted: Vec::new() }
    }

    pub(super) fn mechanism(&self) -> &'static str {
        match &self.proof {
            Proof::Password(negotiation) => negotiation.mechanism().name(),
            Proof::Token(negotiation) => negotiation.mechanism().name(),
        }
    }

    /// Begins with the initial response, decoded, when there is one.
    pub(super) fn begin(&mut self, initial: Option<&[u8]>) -> Next {
        match (&mut self.proof, initial) {
            (Proof::Password(negotiation), initial) => {
                let step = negotiation.message(initial);
                self.next(step)
            }
            (Proof::Token(negotiation), Some(initial)) => {
                let step = negotiation.message(initial);
                self.next_of_token(step)
            }
            // XEP-0484 §3.1: success or failure within one round trip.
            (Proof::Token(_), None) => Next::Failed(self.failed(Failure::MalformedRequest)),
        }
    }

    /// Goes on with a response; `None` when it was not base64.
    pub(super) fn message(&mut self, message: Option<&[u8]>) -> Next {
        match message {
            Some(message) => self.begin(Some(message)),
            None => Next::Failed(self.failed(Failure::IncorrectEncoding)),
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.awaited.is_some()
    }
    pub(super) fn await_answer(&mut self, token: Token) {
        self.awaited = Some(token);
    }
    fn answered(&mut self, token: Token) -> Option<()> {
        self.awaited.take_if(|awaited| *awaited == token).map(|_| ())
    }

    pub(super) fn credentials(&mut self, token: Token, lookup: Lookup) -> Option<Next> {
        self.answered(token)?;
        if let Lookup::Found(credentials) = &lookup {
            self.wanted = UpgradeTask::wanted(credentials);
        }
        Some(self.found(lookup))
    }
    fn found(&mut self, lookup: Lookup) -> Next {
        match &mut self.proof {
            Proof::Password(negotiation) => {
                let step = negotiation.credentials(lookup);
                self.next(step)
            }
            Proof::Token(_) => Next::Failed(self.failed(Failure::TemporaryAuthFailure)),
        }
    }
    pub(super) fn tokens(&mut self, token: Token, lookup: TokenLookup) -> Option<Next> {
        self.answered(token)?;
        Some(self.found_tokens(lookup))
    }
    fn found_tokens(&mut self, lookup: TokenLookup) -> Next {
        match &mut self.proof {
            Proof::Token(negotiation) => {
                let step = negotiation.candidates(lookup);
                self.next_of_token(step)
            }
            Proof::Password(_) => Next::Failed(self.failed(Failure::TemporaryAuthFailure)),
        }
    }
    pub(super) fn unknown_account(&mut self) -> Next {
        match &self.proof {
            Proof::Password(_) => self.found(Lookup::Unknown),
            Proof::Token(_) => self.found_tokens(TokenLookup::Unknown),
        }
    }
    pub(super) fn password_checked(&mut self, token: Token, verdict: Verdict) -> Option<Next> {
        self.answered(token)?;
        match &mut self.proof {
            Proof::Password(negotiation) => {
                let step = negotiation.password_checked(verdict);
                Some(self.next(step))
            }
            Proof::Token(_) => None,
        }
    }
    /// The use of the token was noted.
    pub(super) fn token_used(&mut self) -> Next {
        match &mut self.proof {
            Proof::Token(negotiation) => {
                let step = negotiation.used(Verdict::Accepted);
                self.next_of_token(step)
            }
            Proof::Password(_) => Next::Failed(self.failed(Failure::TemporaryAuthFailure)),
        }
    }
    /// What would do the account good, once somebody has proved its password.
    pub(super) fn wanted(&self) -> &[UpgradeTask] {
        match self.proof {
            Proof::Password(_) => &self.wanted,
            // XEP-0480 §5: nobody is let in by a token and then brings keys.
            Proof::Token(_) => &[],
        }
    }

    pub(super) fn failed(&self, failure: Failure) -> Failed {
        let notice = match &self.proof {
            Proof::Password(negotiation) => negotiation.notice(),
            Proof::Token(_) => None,
        };
        Failed { failure, account: self.account.clone(), notice }
    }

    fn named(&mut self, username: &str) -> Option<BareJid> {
        self.account = BareJid::from_parts(username, &self.domain, Level::Routing).ok();
        self.account.clone()
    }

    fn next(&mut self, step: Step) -> Next {
        match step {
            Step::NeedCredentials { username } => match self.named(&username) {
                Some(account) => Next::Lookup(account),
                None => Next::LookupImpossible,
            },
            Step::CheckPassword { password, credentials } => Next::CheckPassword(password, credentials),
            Step::Challenge(data) => Next::Challenge(data),
            // EXTERNAL is not offered to clients.
            Step::CheckExternal { .. } => Next::Failed(self.failed(Failure::InvalidMechanism)),
            Step::Success(success) => match self.account.clone() {
                Some(account) if authzid_allowed(success.authzid.as_deref(), &account) => {
                    Next::Success(account, success.data)
                }
                // RFC 6120 §6.3.8: the authorization identity is the account or nothing.
                Some(_) => Next::Failed(self.failed(Failure::InvalidAuthzid)),
                None => Next::Failed(self.failed(Failure::NotAuthorized)),
            },
            Step::Failure(failure) => Next::Failed(self.failed(failure)),
        }
    }

    fn next_of_token(&mut self, step: TokenStep) -> Next {
        let Proof::Token(negotiation) = &self.proof else {
            return Next::Failed(self.failed(Failure::TemporaryAuthFailure));
        };
        let (mechanism, device) = (negotiation.mechanism(), negotiation.device().to_owned());
        match (step, self.account.clone()) {
            (TokenStep::NeedCandidates { username }, _) => match self.named(&username) {
                Some(account) => Next::LookupTokens(TokensOf { account, device, mechanism }),
                None => Next::LookupImpossible,
            },
            (TokenStep::UseToken { seed }, Some(account)) => Next::UseToken(account, seed),
            (TokenStep::Success(success), Some(account)) => Next::Success(account, success.data),
            (TokenStep::UseToken { .. } | TokenStep::Success(_), None) => {
                Next::Failed(self.failed(Failure::NotAuthorized))
            }
            (TokenStep::Failure(failure), _) => Next::Failed(self.failed(failure)),
        }
    }
}

fn authzid_allowed(authzid: Option<&str>, account: &BareJid) -> bool {
    match authzid {
        None | Some("") => true,
        Some(authzid) => BareJid::parse(authzid).is_ok_and(|authzid| authzid == *account),
    }
}

pub(super) fn write_challenge(profile: Profile, data: &[u8], out: &mut Vec<u8>) {
    Element::new("challenge", profile.namespace()).with_text(profile.data(data)).write(out, ns::CLIENT);
}

/// A failure; its condition is that of RFC 6120 §6.5 in both profiles.
pub(super) fn failure(profile: Profile, failure: Failure) -> Element {
    Element::new("failure", profile.namespace()).with_child(Element::new(failure.condition(), ns::SASL))
}
