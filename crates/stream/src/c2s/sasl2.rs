//! The extensible SASL profile (XEP-0388), beside the classic one and with the same mechanisms: log-in, and what the stream
//! becomes with it, in one exchange.
//!
//! A [`Login`] goes through its stages in the order that the specifications give: the proof; upgrade tasks (XEP-0480,
//! [`super::upgrade`]); leave to go on, which issues and notes tokens (XEP-0484); the session to be resumed (XEP-0198
//! §9.2); the resource to be bound (XEP-0386), unless one is. All of it is told with one `<success/>`, so that whatever fails
//! before leaves nobody authenticated, and what can fail alone is told inside.
//!
//! Deliberately absent: security layers, which TLS is.

use super::auth::{self, Exchange, Failed, Next, Profile};
use super::authenticate::{Authenticate, Resume, UserAgent};
use super::bind2::{self, Bound2};
use super::fast::{self, IssuedToken, TokenFate};
use super::machine::{C2s, Security, State};
use super::management::{self, Counting, ResumeRequest, Resumed};
use super::negotiation::{self, Row};
use super::pipelining::{self, Knowledge};
use super::upgrade::{self, Upgrading};
use super::{Event, sasl};
use crate::{Phase, Token, acknowledge};
use std::time::Instant;
use stonechat_jid::BareJid;
use stonechat_sasl::{Failure, SEED_LENGTH, TokenMechanism, encode};
use stonechat_stanza::{StanzaCondition, StreamCondition, ns};
use stonechat_xml::{Element, Frame};

pub(super) const ROW: Row = Row { phase: Phase::BeforeAuthentication, advertise, take: Some((ns::SASL2, take)) };

/// A client that has proved itself, and is let in or not.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorized {
    /// Who it is.
    pub account: BareJid,
    /// Which device, when it said.
    pub device: Option<UserAgent>,
    /// By what it proved itself.
    pub mechanism: &'static str,
    /// The mechanism that the client wants a token for. It is one that this connection has, and there is a device.
    pub requested_token: Option<TokenMechanism>,
    /// What is to become of the token that was used.
    pub invalidate: TokenFate,
    /// The seed of the token by which it proved itself. Its use is to be noted, and refused when it cannot be.
    pub used_token: Option<[u8; SEED_LENGTH]>,
    /// The count that the token came with; 0 when it came without (XEP-0484 §3.4).
    pub count: u64,
}

impl std::fmt::Debug for Authorized {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorized")
            .field("account", &self.account)
            .field("device", &self.device)
            .field("mechanism", &self.mechanism)
            .field("requested_token", &self.requested_token)
            .field("invalidate", &self.invalidate)
            .field("used_token", &self.used_token.map(|_| ".."))
            .field("count", &self.count)
            .finish()
    }
}

/// A client is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// A token, asked for or due.
    pub token: Option<IssuedToken>,
}

/// One log-in.
pub(super) struct Login {
    pub(super) request: Authenticate,
    pub(super) stage: Stage,
}

/// How far it is.
pub(super) enum Stage {
    /// Who is it?
    Proving(Exchange),
    /// It proved a password, and brings keys.
    Upgrading(Upgrading),
    /// May it come in?
    Granting(Token, Claimant),
    /// Is the session there that it wants back?
    Resuming(Token, Proved, String),
    /// Which resource does it get?
    Binding(Token, Proved),
}

/// Who waits to be let in.
pub(super) enum Claimant {
    Proved(Proved),
    /// By a token, whose use has to be noted first.
    Holder(Exchange),
}

/// A client that is who it says, and what it is still to be told.
pub(super) struct Proved {
    pub(super) account: BareJid,
    pub(super) mechanism: &'static str,
    /// The mechanism's last words.
    pub(super) additional: Option<Vec<u8>>,
    token: Option<IssuedToken>,
    /// Why no session was resumed.
    not_resumed: Option<Element>,
}

impl Login {
    pub(super) fn is_waiting(&self) -> bool {
        match &self.stage {
            Stage::Proving(exchange) => exchange.is_waiting(),
            Stage::Upgrading(upgrading) => upgrading.is_waiting(),
            Stage::Granting(..) | Stage::Resuming(..) | Stage::Binding(..) => true,
        }
    }
}

fn advertise(stream: &C2s, features: &mut Vec<Element>) {
    // XEP-0388 §3: over TLS alone.
    if !matches!(stream.security, Security::Tls(_)) {
        return;
    }
    let mechanisms = auth::offer(&stream.security).mechanisms;
    let mechanisms =
        mechanisms.iter().map(|mechanism| Element::new("mechanism", ns::SASL2).with_text(mechanism.name()));
    let inline = Element::new("inline", ns::SASL2)
        .with_child(bind2::feature())
        .with_child(Element::new("sm", ns::SM))
        .with_children(fast::feature(stream));
    features.push(
        Element::new("authentication", ns::SASL2)
            .with_children(mechanisms)
            .with_child(inline)
            .with_children(upgrade::features()),
    );
}

fn take(stream: &mut C2s, now: Instant, frame: Frame) {
    let Ok(element) = frame.to_element() else { return stream.end_with(now, StreamCondition::NotWellFormed) };
    match (element.name(), &mut stream.state) {
        ("authenticate", State::Negotiating) => begin(stream, now, &element),
        ("response", State::LoggingIn(login)) if matches!(login.stage, Stage::Proving(_)) => {
            let Stage::Proving(exchange) = &mut login.stage else { return };
            let step = exchange.message(decode(&element.text()).as_deref());
            follow(stream, now, step);
        }
        ("abort", State::LoggingIn(login)) => {
            let aborted = match &login.stage {
                Stage::Proving(exchange) => exchange.failed(Failure::Aborted),
                Stage::Upgrading(upgrading) => Failed::of(upgrading.proved.account.clone(), Failure::Aborted),
                _ => Failed::new(Failure::Aborted),
            };
            fail(stream, now, aborted);
        }
        ("next" | "task-data", State::LoggingIn(login)) if matches!(login.stage, Stage::Upgrading(_)) => {
            upgrade::take(stream, now, &element);
        }
        // An answer to nothing, or a second log-in in the middle of one (XEP-0388 §4.7).
        ("authenticate" | "response" | "abort" | "next" | "task-data", _) => {
            stream.end_with(now, StreamCondition::NotAuthorized);
        }
        _ => stream.end_with(now, StreamCondition::UnsupportedStanzaType),
    }
}

/// XEP-0388 §2.2: white space around the data is borne, an empty message is written as nothing.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    match text.trim_matches([' ', '\t', '\r', '\n']) {
        "=" => None,
        text => stonechat_sasl::decode(text),
    }
}

fn begin(stream: &mut C2s, now: Instant, element: &Element) {
    if !matches!(stream.security, Security::Tls(_)) {
        return fail(stream, now, Failed::before_tls());
    }
    let request = match Authenticate::read(element) {
        Ok(request) => request,
        Err(failure) => return fail(stream, now, Failed::new(failure)),
    };
    if request.config_version.as_ref().is_some_and(|version| pipelining::judge(stream, version) == Knowledge::Outdated)
    {
        return pipelining::mismatch().write(&mut stream.wire.out, ns::CLIENT);
    }
    let mut exchange = match exchange(stream, &request) {
        Ok(exchange) => exchange,
        Err(refused) => return fail(stream, now, refused),
    };
    let step = match &request.initial {
        None => exchange.begin(None),
        Some(text) => exchange.message(decode(text).as_deref()),
    };
    stream.state = State::LoggingIn(Box::new(Login { request, stage: Stage::Proving(exchange) }));
    follow(stream, now, step);
}

fn exchange(stream: &C2s, request: &Authenticate) -> Result<Exchange, Failed> {
    let domain = stream.domain.clone().ok_or_else(|| Failed::new(Failure::TemporaryAuthFailure))?;
    let config = &stream.config;
    match (TokenMechanism::from_name(&request.mechanism), request.token) {
        (None, None) => {
            let nonce = sasl::nonce(stream);
            Exchange::by_password(&request.mechanism, domain, &stream.security, &config.decoy, &nonce)
        }
        // XEP-0484 §3.4, §4.1: a token comes with `<fast/>`, and of a device.
        (Some(_), Some(_)) => match (&config.tokens, &request.agent) {
            (Some(secret), Some(agent)) => {
                Exchange::by_token(&request.mechanism, &agent.id, domain, &stream.security, secret)
            }
            (None, _) => Err(Failed::new(Failure::InvalidMechanism)),
            (Some(_), None) => Err(Failed::new(Failure::MalformedRequest)),
        },
        (Some(_), None) | (None, Some(_)) => Err(Failed::new(Failure::MalformedRequest)),
    }
}

/// Does what SASL says next.
pub(super) fn follow(stream: &mut C2s, now: Instant, step: Next) {
    let mut step = step;
    loop {
        let token = stream.tokens.next();
        let State::LoggingIn(login) = &mut stream.state else { return };
        let Stage::Proving(exchange) = &mut login.stage else { return };
        match step {
            Next::Lookup(account) => {
                exchange.await_answer(token);
                return stream.tell(Event::Lookup(token, account));
            }
            Next::LookupTokens(of) => {
                exchange.await_answer(token);
                return stream.tell(Event::LookupTokens(token, of));
            }
            Next::LookupImpossible => step = exchange.unknown_account(),
            Next::CheckPassword(password, credentials) => {
                exchange.await_answer(token);
                return stream.tell(Event::CheckPassword(token, password, credentials));
            }
            Next::Challenge(data) => {
                return auth::write_challenge(Profile::Extensible, &data, &mut stream.wire.out);
            }
            Next::UseToken(account, seed) => return hold(stream, now, account, seed),
            Next::Success(account, data) => return proved(stream, now, account, data),
            Next::Failed(refused) => return fail(stream, now, refused),
        }
    }
}

/// Takes the log-in out of the stream, which is nobody's meanwhile.
pub(super) fn take_login(stream: &mut C2s) -> Option<Box<Login>> {
    match std::mem::replace(&mut stream.state, State::Negotiating) {
        State::LoggingIn(login) => Some(login),
        other => {
            stream.state = other;
            None
        }
    }
}

pub(super) fn fail(stream: &mut C2s, now: Instant, refused: Failed) {
    sasl::failed(stream, now, Profile::Extensible, refused);
}

/// XEP-0388 §2.3: whoever the stream's header named, it is not somebody else that logs in.
fn is_claimed(stream: &C2s, account: &BareJid) -> bool {
    stream.claim.as_ref().is_none_or(|claim| claim.as_ref().is_some_and(|claim| claim == account))
}

/// The client has a token; before that is believed, its use is noted.
fn hold(stream: &mut C2s, now: Instant, account: BareJid, seed: [u8; SEED_LENGTH]) {
    if !is_claimed(stream, &account) {
        return fail(stream, now, Failed::of(account, Failure::InvalidAuthzid));
    }
    let Some(login) = take_login(stream) else { return };
    let Login { request, stage } = *login;
    if let Stage::Proving(exchange) = stage {
        let mechanism = exchange.mechanism();
        ask(stream, request, account, mechanism, Some(seed), Claimant::Holder(exchange));
    }
}

/// The mechanism has done its part.
fn proved(stream: &mut C2s, now: Instant, account: BareJid, additional: Option<Vec<u8>>) {
    if !is_claimed(stream, &account) {
        return fail(stream, now, Failed::of(account, Failure::InvalidAuthzid));
    }
    let Some(login) = take_login(stream) else { return };
    let Login { request, stage } = *login;
    let Stage::Proving(exchange) = stage else { return };
    let mechanism = exchange.mechanism();
    let proved = Proved { account, mechanism, additional, token: None, not_resumed: None };
    let tasks = exchange.wanted().iter().copied().filter(|task| request.upgrades.contains(task)).collect();
    upgrade::offer(stream, request, proved, tasks);
}

/// Nothing more is to be proved.
pub(super) fn authorize(stream: &mut C2s, request: Authenticate, proved: Proved) {
    let (account, mechanism) = (proved.account.clone(), proved.mechanism);
    ask(stream, request, account, mechanism, None, Claimant::Proved(proved));
}

fn ask(
    stream: &mut C2s,
    request: Authenticate,
    account: BareJid,
    mechanism: &'static str,
    used_token: Option<[u8; SEED_LENGTH]>,
    claimant: Claimant,
) {
    // A token that could not be used here, or is nobody's, is not issued.
    let available = fast::available(stream);
    let requested_token = request
        .requested_token
        .as_deref()
        .and_then(TokenMechanism::from_name)
        .filter(|mechanism| available.contains(mechanism) && request.agent.is_some());
    let usage = request.token.unwrap_or(fast::Use { count: 0, fate: TokenFate::Kept });
    let authorized = Authorized {
        account,
        device: request.agent.clone(),
        mechanism,
        requested_token,
        invalidate: usage.fate,
        used_token,
        count: usage.count,
    };
    let token = stream.tokens.next();
    stream.state = State::LoggingIn(Box::new(Login { request, stage: Stage::Granting(token, claimant) }));
    stream.tell(Event::Authorized(token, authorized));
}

/// Whether that question is open in that stage.
fn is_asked(stream: &C2s, token: Token, open: fn(&Stage) -> Option<Token>) -> bool {
    matches!(&stream.state, State::LoggingIn(login) if open(&login.stage) == Some(token))
}

fn granting(stage: &Stage) -> Option<Token> {
    if let Stage::Granting(token, _) = stage { Some(*token) } else { None }
}

fn resuming(stage: &Stage) -> Option<Token> {
    if let Stage::Resuming(token, ..) = stage { Some(*token) } else { None }
}

fn binding(stage: &Stage) -> Option<Token> {
    if let Stage::Binding(token, _) = stage { Some(*token) } else { None }
}

pub(super) fn granted(stream: &mut C2s, now: Instant, token: Token, granted: Granted) {
    if !is_asked(stream, token, granting) {
        return;
    }
    let Some(login) = take_login(stream) else { return };
    let Login { request, stage } = *login;
    let Stage::Granting(_, claimant) = stage else { return };
    let mut proved = match claimant {
        Claimant::Proved(proved) => proved,
        Claimant::Holder(mut exchange) => match exchange.token_used() {
            Next::Success(account, additional) => {
                let mechanism = exchange.mechanism();
                Proved { account, mechanism, additional, token: None, not_resumed: None }
            }
            Next::Failed(refused) => return fail(stream, now, refused),
            _ => return fail(stream, now, exchange.failed(Failure::TemporaryAuthFailure)),
        },
    };
    proved.token = granted.token;
    resume(stream, request, proved);
}

pub(super) fn denied(stream: &mut C2s, now: Instant, token: Token, failure: Failure) {
    if !is_asked(stream, token, granting) {
        return;
    }
    let Some(login) = take_login(stream) else { return };
    let Stage::Granting(_, claimant) = login.stage else { return };
    let refused = match claimant {
        Claimant::Proved(proved) => Failed::of(proved.account, failure),
        Claimant::Holder(exchange) => exchange.failed(failure),
    };
    fail(stream, now, refused);
}

/// XEP-0198 §9.2: before anything is bound.
fn resume(stream: &mut C2s, mut request: Authenticate, mut proved: Proved) {
    match request.resume.take() {
        Some(Resume::Wanted { previd, h }) => {
            let token = stream.tokens.next();
            let account = proved.account.clone();
            let stage = Stage::Resuming(token, proved, previd.clone());
            stream.state = State::LoggingIn(Box::new(Login { request, stage }));
            stream.tell(Event::Resume(token, ResumeRequest { account, previd, h }));
        }
        Some(Resume::Malformed) => {
            proved.not_resumed = Some(acknowledge::failed(StanzaCondition::BadRequest, None));
            bind(stream, request, proved);
        }
        None => bind(stream, request, proved),
    }
}

pub(super) fn resumed(stream: &mut C2s, token: Token, resumed: Resumed) {
    if !is_asked(stream, token, resuming) {
        return;
    }
    let Some(login) = take_login(stream) else { return };
    let Stage::Resuming(_, proved, previd) = login.stage else { return };
    let success = success(proved, resumed.jid.as_str()).with_child(management::resumed_element(&previd, resumed.h));
    let_in(stream, &success);
    // XEP-0198 §9.2: no features follow.
    stream.establish(resumed.jid, Counting::On);
}

pub(super) fn resume_refused(stream: &mut C2s, token: Token, h: Option<u32>) {
    if !is_asked(stream, token, resuming) {
        return;
    }
    let Some(login) = take_login(stream) else { return };
    let Login { request, stage } = *login;
    let Stage::Resuming(_, mut proved, _) = stage else { return };
    proved.not_resumed = Some(acknowledge::failed(StanzaCondition::ItemNotFound, h));
    bind(stream, request, proved);
}

fn bind(stream: &mut C2s, request: Authenticate, proved: Proved) {
    match &request.bind {
        Some(wish) => {
            let device = request.agent.as_ref().map(|agent| agent.id.clone());
            let wanted = wish.request(proved.account.clone(), device);
            let token = stream.tokens.next();
            let stage = Stage::Binding(token, proved);
            stream.state = State::LoggingIn(Box::new(Login { request, stage }));
            stream.tell(Event::Bind2(token, wanted));
        }
        None => {
            let account = proved.account.clone();
            let_in(stream, &success(proved, account.as_str()));
            stream.state = State::Binding { account, request: None };
            negotiation::send_features(stream, Phase::AfterAuthentication);
        }
    }
}

pub(super) fn bound(stream: &mut C2s, token: Token, bound: Bound2) {
    if !is_asked(stream, token, binding) {
        return;
    }
    let Some(login) = take_login(stream) else { return };
    let Login { request, stage } = *login;
    let (Stage::Binding(_, proved), Some(wish)) = (stage, &request.bind) else { return };
    let success = success(proved, bound.jid.as_str()).with_child(wish.bound(&bound));
    let counting = wish.counting(&bound);
    let_in(stream, &success);
    stream.establish(bound.jid, counting);
    negotiation::send_features(stream, Phase::AfterAuthentication);
}

/// Nothing can be bound: then nobody is let in either, and may try again (abuse case 39).
pub(super) fn bind_refused(stream: &mut C2s, token: Token, condition: StanzaCondition) {
    if !is_asked(stream, token, binding) || take_login(stream).is_none() {
        return;
    }
    auth::failure(Profile::Extensible, Failure::TemporaryAuthFailure)
        .with_child(Element::new(condition.name(), ns::STANZA_ERRORS))
        .with_child(Element::new("text", ns::SASL2).with_text("No resource could be bound"))
        .write(&mut stream.wire.out, ns::CLIENT);
}

/// `<success/>` (XEP-0388 §2.6.1), as far as it is the same for all.
fn success(proved: Proved, identifier: &str) -> Element {
    let additional = proved.additional.as_deref().map(|data| {
        let text = if data.is_empty() { String::new() } else { encode(data) };
        Element::new("additional-data", ns::SASL2).with_text(text)
    });
    Element::new("success", ns::SASL2)
        .with_children(additional)
        .with_child(Element::new("authorization-identifier", ns::SASL2).with_text(identifier))
        .with_children(proved.token.as_ref().map(IssuedToken::element))
        .with_children(proved.not_resumed)
}

/// XEP-0388 §2.6.1: the stream goes on as it is.
fn let_in(stream: &mut C2s, success: &Element) {
    success.write(&mut stream.wire.out, ns::CLIENT);
    stream.wire.trust(stream.config.limits.after);
    stream.advertised = None;
    stream.claim = None;
}
