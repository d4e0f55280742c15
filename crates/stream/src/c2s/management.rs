//! Stream management (XEP-0198): what is said about it on the stream. The counts, and the sessions that outlive their
//! streams, are those of whoever routes; requests for acknowledgement are written where the stanzas are.
//!
//! Deliberately absent: `location`, since there is one place to come back to.

use super::machine::{C2s, Request, State};
use super::negotiation::Row;
use super::{Event, sasl2};
use crate::{Phase, Token, acknowledge};
use std::time::Instant;
use stonechat_jid::{BareJid, FullJid};
use stonechat_stanza::{StanzaCondition, StreamCondition, ns};
use stonechat_xml::{Element, Frame};

pub(super) const ROW: Row = Row { phase: Phase::AfterAuthentication, advertise, take: Some((ns::SM, take)) };

/// XEP-0198 §3: before authentication it is not announced, and who asks for it is told so.
pub(super) const BEFORE_AUTHENTICATION: Row =
    Row { phase: Phase::BeforeAuthentication, advertise: |_, _| {}, take: Some((ns::SM, take)) };

/// Whether the stanzas of a bound client are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    Off,
    /// Asked for, not answered yet.
    Asked(Token),
    On,
}

/// Whether a client that has its stanzas acknowledged wants to be able to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// It does.
    Wanted {
        /// The longest it would be away (`max`), when it said.
        seconds: Option<u32>,
    },
    /// It does not.
    NotWanted,
}

/// Stream management is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enabled {
    /// By what the session can be resumed, when it can.
    pub id: Option<String>,
    /// For how many seconds it can.
    pub max: Option<u32>,
}

/// A session that a client wants back.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeRequest {
    /// Who the client is. A session of anybody else is not found.
    pub account: BareJid,
    /// The session's id, as the client says.
    pub previd: String,
    /// How many of the stanzas it was sent it has handled, modulo 2³².
    pub h: u32,
}

impl std::fmt::Debug for ResumeRequest {
    /// Whoever of the account knows the id may take the session over: it reaches no log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResumeRequest").field("account", &self.account).field("h", &self.h).finish_non_exhaustive()
    }
}

/// A session is resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// Its address.
    pub jid: FullJid,
    /// How many of the client's stanzas were handled, modulo 2³².
    pub h: u32,
}

fn advertise(_: &C2s, features: &mut Vec<Element>) {
    features.push(Element::new("sm", ns::SM));
}

/// Takes what a client says, wherever it is.
pub(super) fn take(stream: &mut C2s, now: Instant, frame: Frame) {
    let on = matches!(stream.state, State::Bound { counting: Counting::On, .. });
    match (&**frame.name(), &mut stream.state) {
        ("enable", State::Bound { counting: counting @ Counting::Off, .. }) => match read_enable(&frame) {
            Some(resumption) => {
                let token = stream.tokens.next();
                *counting = Counting::Asked(token);
                stream.tell(Event::Enable(token, resumption));
            }
            None => refuse(stream, StanzaCondition::BadRequest),
        },
        ("resume", State::Binding { account, request: request @ None }) => match read_resume(&frame) {
            Some((previd, h)) => {
                let token = stream.tokens.next();
                *request = Some(Request::Resume(token, previd.clone()));
                let account = account.clone();
                stream.tell(Event::Resume(token, ResumeRequest { account, previd, h }));
            }
            None => refuse(stream, StanzaCondition::BadRequest),
        },
        ("a", _) if on => match frame.attribute("h").and_then(|h| acknowledge::read_count(h)) {
            Some(h) => stream.tell(Event::Acknowledged(h)),
            None => refuse(stream, StanzaCondition::BadRequest),
        },
        ("r", _) if on => stream.tell(Event::AcknowledgementRequested),
        // XEP-0198 §3, §5: too early, too late, or twice. §6: such errors end nothing.
        ("enable" | "resume" | "a" | "r", _) => refuse(stream, StanzaCondition::UnexpectedRequest),
        _ => stream.end_with(now, StreamCondition::UnsupportedStanzaType),
    }
}

/// `<enable/>`, wherever it stands; `None` when its attributes are not what they should be.
pub(super) fn enable(resume: Option<&str>, max: Option<&str>) -> Option<Resumption> {
    let seconds = match max {
        None => None,
        // An `xs:positiveInteger`, which knows no bound.
        Some(max) => {
            Some(acknowledge::read_digits(max)?.parse().unwrap_or(u32::MAX)).filter(|seconds| *seconds > 0).map(Some)?
        }
    };
    match resume {
        Some("true" | "1") => Some(Resumption::Wanted { seconds }),
        None | Some("false" | "0") => Some(Resumption::NotWanted),
        Some(_) => None,
    }
}

fn read_enable(frame: &Frame) -> Option<Resumption> {
    let attribute = |name| frame.attribute(name).map(|value| &**value);
    enable(attribute("resume"), attribute("max"))
}

/// `<resume/>`, wherever it stands.
pub(super) fn resume(previd: Option<&str>, h: Option<&str>) -> Option<(String, u32)> {
    Some((previd?.to_owned(), acknowledge::read_count(h?)?))
}

fn read_resume(frame: &Frame) -> Option<(String, u32)> {
    let attribute = |name| frame.attribute(name).map(|value| &**value);
    resume(attribute("previd"), attribute("h"))
}

pub(super) fn enabled_element(enabled: &Enabled) -> Element {
    let element = Element::new("enabled", ns::SM);
    match &enabled.id {
        Some(id) => element
            .with_attribute("id", id.clone())
            .with_attribute("resume", "true")
            .with_attribute_if("max", enabled.max.map(|max| max.to_string())),
        None => element,
    }
}

pub(super) fn resumed_element(previd: &str, h: u32) -> Element {
    Element::new("resumed", ns::SM).with_attribute("previd", previd).with_attribute("h", h.to_string())
}

fn write(stream: &mut C2s, element: &Element) {
    element.write(&mut stream.wire.out, ns::CLIENT);
}

fn refuse(stream: &mut C2s, condition: StanzaCondition) {
    write(stream, &acknowledge::failed(condition, None));
}

/// Counting becomes this, if it was asked for by that question.
fn decide(stream: &mut C2s, token: Token, becomes: Counting) -> Option<()> {
    match &mut stream.state {
        State::Bound { counting, .. } if *counting == Counting::Asked(token) => {
            *counting = becomes;
            Some(())
        }
        _ => None,
    }
}

pub(super) fn enabled(stream: &mut C2s, token: Token, enabled: &Enabled) {
    if decide(stream, token, Counting::On).is_some() {
        write(stream, &enabled_element(enabled));
    }
}

pub(super) fn enable_refused(stream: &mut C2s, token: Token, condition: StanzaCondition) {
    if decide(stream, token, Counting::Off).is_some() {
        refuse(stream, condition);
    }
}

/// The session that was asked for by that question.
fn answered(stream: &mut C2s, token: Token) -> Option<String> {
    let State::Binding { request, .. } = &mut stream.state else { return None };
    match request.take_if(|request| matches!(request, Request::Resume(asked, _) if *asked == token)) {
        Some(Request::Resume(_, previd)) => Some(previd),
        _ => None,
    }
}

pub(super) fn resumed(stream: &mut C2s, token: Token, resumed: Resumed) {
    if matches!(stream.state, State::LoggingIn(_)) {
        return sasl2::resumed(stream, token, resumed);
    }
    if let Some(previd) = answered(stream, token) {
        write(stream, &resumed_element(&previd, resumed.h));
        stream.establish(resumed.jid, Counting::On);
    }
}

pub(super) fn resume_refused(stream: &mut C2s, token: Token, h: Option<u32>) {
    if matches!(stream.state, State::LoggingIn(_)) {
        return sasl2::resume_refused(stream, token, h);
    }
    if answered(stream, token).is_some() {
        write(stream, &acknowledge::failed(StanzaCondition::ItemNotFound, h));
    }
}

/// XEP-0198 §4: what was handled may be told at any time.
pub(super) fn acknowledge(stream: &mut C2s, h: u32) {
    if matches!(stream.state, State::Bound { counting: Counting::On, .. }) {
        write(stream, &acknowledge::answer(h));
    }
}

/// XEP-0198 §6
pub(super) fn acknowledged_too_much(stream: &mut C2s, h: u32, sent: u32) {
    let (error, element) = acknowledge::too_much(h, sent);
    stream.end_saying(error, Some(&element));
}
