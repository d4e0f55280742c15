//! One SASL exchange on a client's stream (RFC 6120 §6.4), and what is offered.

use super::machine::Security;
use crate::Token;
use stonechat_jid::{BareJid, Domain, Level};
use stonechat_sasl::{
    ChannelBindings, Credentials, DecoySecret, Failure, Hash, Lookup, Mechanism, Negotiation, Notice, Offer, Password,
    Step, Verdict, decode, encode,
};
use stonechat_stanza::ns;
use stonechat_xml::{Element, Frame};

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
    fn new(failure: Failure) -> Self {
        Failed { failure, account: None, notice: None }
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
    /// The name cannot be an account's: it goes the way of names that do not exist.
    LookupImpossible,
    CheckPassword(Password, Box<Credentials>),
    Challenge(Vec<u8>),
    Success(BareJid, Option<Vec<u8>>),
    Failed(Failed),
}

/// One exchange.
pub(super) struct Exchange {
    negotiation: Negotiation,
    domain: Domain,
    account: Option<BareJid>,
    awaited: Option<Token>,
}

impl Exchange {
    /// Takes `<auth/>`.
    pub(super) fn begin(
        frame: &Frame,
        domain: Domain,
        security: &Security,
        decoy: &DecoySecret,
        nonce: &[u8],
    ) -> Result<(Exchange, Next), Failed> {
        let none = ChannelBindings::default();
        let bindings = match security {
            Security::Clear => &none,
            Security::Tls(bindings) => bindings,
        };
        let mechanism = frame.attribute("mechanism").map_or("", |name| &**name);
        let decoy = decoy.for_domain(domain.as_str());
        let negotiation =
            Negotiation::begin(mechanism, &offer(security), bindings, &decoy, nonce).map_err(Failed::new)?;
        let mut exchange = Exchange { negotiation, domain, account: None, awaited: None };
        let text = text_of(frame);
        let next = match text.as_str() {
            // RFC 6120 §6.4.2: nothing is no initial response; a lone `=` is an empty one.
            "" => {
                let step = exchange.negotiation.message(None);
                exchange.next(step)
            }
            text => exchange.message(text),
        };
        Ok((exchange, next))
    }

    /// Takes `<response/>`.
    pub(super) fn response(&mut self, frame: &Frame) -> Next {
        let text = text_of(frame);
        self.message(&text)
    }

    fn message(&mut self, text: &str) -> Next {
        match decode(text) {
            Some(message) => {
                let step = self.negotiation.message(Some(&message));
                self.next(step)
            }
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
        let step = self.negotiation.credentials(lookup);
        Some(self.next(step))
    }
    pub(super) fn unknown_account(&mut self) -> Next {
        let step = self.negotiation.credentials(Lookup::Unknown);
        self.next(step)
    }
    pub(super) fn password_checked(&mut self, token: Token, verdict: Verdict) -> Option<Next> {
        self.answered(token)?;
        let step = self.negotiation.password_checked(verdict);
        Some(self.next(step))
    }
    pub(super) fn aborted(&self) -> Failed {
        self.failed(Failure::Aborted)
    }

    fn failed(&self, failure: Failure) -> Failed {
        Failed { failure, account: self.account.clone(), notice: self.negotiation.notice() }
    }

    fn next(&mut self, step: Step) -> Next {
        match step {
            Step::NeedCredentials { username } => match BareJid::from_parts(&username, &self.domain, Level::Routing) {
                Ok(account) => {
                    self.account = Some(account.clone());
                    Next::Lookup(account)
                }
                Err(_) => Next::LookupImpossible,
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
}

fn authzid_allowed(authzid: Option<&str>, account: &BareJid) -> bool {
    match authzid {
        None | Some("") => true,
        Some(authzid) => BareJid::parse(authzid).is_ok_and(|authzid| authzid == *account),
    }
}

fn text_of(frame: &Frame) -> String {
    frame.to_element().map(|element| element.text()).unwrap_or_default()
}

pub(super) fn write_challenge(data: &[u8], out: &mut Vec<u8>) {
    Element::new("challenge", ns::SASL).with_text(encode(data)).write(out, ns::CLIENT);
}

pub(super) fn write_success(data: Option<&[u8]>, out: &mut Vec<u8>) {
    let success = Element::new("success", ns::SASL);
    match data {
        Some(data) => success.with_text(encode(data)).write(out, ns::CLIENT),
        None => success.write(out, ns::CLIENT),
    }
}

pub(super) fn write_failure(failure: Failure, out: &mut Vec<u8>) {
    Element::new("failure", ns::SASL).with_child(Element::new(failure.condition(), ns::SASL)).write(out, ns::CLIENT);
}
