//! SASL among what can be negotiated (RFC 6120 §6): `<auth/>` and what follows it, and how often it may fail.

use super::auth::{self, Exchange, Failed, Profile};
use super::machine::{C2s, Security, State};
use super::negotiation::Row;
use super::{Event, Transport};
use crate::Phase;
use std::time::Instant;
use stonechat_sasl::{decode, encode};
use stonechat_stanza::{StreamCondition, StreamError, ns};
use stonechat_xml::{Element, Frame};

pub(super) const ROW: Row = Row { phase: Phase::BeforeAuthentication, advertise, take: Some((ns::SASL, take)) };

/// Whether SASL may be used as the connection is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permitted {
    Yes,
    AfterTls,
}

pub(super) fn may_authenticate(stream: &C2s) -> Permitted {
    match (&stream.security, stream.config.transport) {
        (Security::Tls(_), _) | (Security::Clear, Transport::StartTlsOptional) => Permitted::Yes,
        (Security::Clear, Transport::StartTls | Transport::DirectTls) => Permitted::AfterTls,
    }
}

fn advertise(stream: &C2s, features: &mut Vec<Element>) {
    if may_authenticate(stream) == Permitted::Yes {
        features.extend(auth::features(&auth::offer(&stream.security)));
    }
}

/// 192 bits for a server's half of a nonce.
pub(super) fn nonce(stream: &C2s) -> [u8; 24] {
    let mut nonce = [0u8; 24];
    stream.config.random.fill(&mut nonce);
    nonce
}

fn take(stream: &mut C2s, now: Instant, frame: Frame) {
    match (&**frame.name(), &mut stream.state) {
        ("auth", State::Negotiating) => begin(stream, now, &frame),
        ("response", State::Authenticating(exchange)) => {
            let step = exchange.message(decode(&text_of(&frame)).as_deref());
            follow(stream, now, step);
        }
        ("abort", State::Authenticating(exchange)) => {
            let aborted = exchange.failed(stonechat_sasl::Failure::Aborted);
            failed(stream, now, Profile::Classic, aborted);
        }
        // A response to nothing, or a second <auth/> in the middle of one.
        ("response" | "abort" | "auth", _) => stream.end_with(now, StreamCondition::NotAuthorized),
        _ => stream.end_with(now, StreamCondition::UnsupportedStanzaType),
    }
}

fn begin(stream: &mut C2s, now: Instant, frame: &Frame) {
    let Some(domain) = stream.domain.clone() else { return };
    if may_authenticate(stream) == Permitted::AfterTls {
        return failed(stream, now, Profile::Classic, Failed::before_tls());
    }
    let nonce = nonce(stream);
    let mechanism = frame.attribute("mechanism").map_or("", |name| &**name);
    match Exchange::by_password(mechanism, domain, &stream.security, &stream.config.decoy, &nonce) {
        Ok(mut exchange) => {
            let step = match text_of(frame).as_str() {
                // RFC 6120 §6.4.2: nothing is no initial response; a lone `=` is an empty one.
                "" => exchange.begin(None),
                text => exchange.message(decode(text).as_deref()),
            };
            stream.state = State::Authenticating(Box::new(exchange));
            follow(stream, now, step);
        }
        Err(refused) => failed(stream, now, Profile::Classic, refused),
    }
}

fn text_of(frame: &Frame) -> String {
    frame.to_element().map(|element| element.text()).unwrap_or_default()
}

/// Does what SASL says next.
pub(super) fn follow(stream: &mut C2s, now: Instant, step: auth::Next) {
    let mut step = step;
    loop {
        let token = stream.tokens.next();
        let State::Authenticating(exchange) = &mut stream.state else { return };
        match step {
            auth::Next::Lookup(account) => {
                exchange.await_answer(token);
                return stream.tell(Event::Lookup(token, account));
            }
            auth::Next::LookupImpossible => step = exchange.unknown_account(),
            auth::Next::CheckPassword(password, credentials) => {
                exchange.await_answer(token);
                return stream.tell(Event::CheckPassword(token, password, credentials));
            }
            auth::Next::Challenge(data) => {
                return auth::write_challenge(Profile::Classic, &data, &mut stream.wire.out);
            }
            auth::Next::Success(account, data) => {
                let success = Element::new("success", ns::SASL);
                let success = match data {
                    Some(data) => success.with_text(encode(&data)),
                    None => success,
                };
                success.write(&mut stream.wire.out, ns::CLIENT);
                // RFC 6120 §6.4.6: the stream begins anew.
                stream.wire.trust(stream.config.limits.after);
                stream.wire.restart(stream.config.limits.after);
                stream.tell(Event::Authenticated(account.clone()));
                stream.state = State::Opening(Some(account));
                return;
            }
            // Tokens are for XEP-0388 alone.
            auth::Next::LookupTokens(_) | auth::Next::UseToken(..) => {
                let refused = exchange.failed(stonechat_sasl::Failure::InvalidMechanism);
                return failed(stream, now, Profile::Classic, refused);
            }
            auth::Next::Failed(refused) => return failed(stream, now, Profile::Classic, refused),
        }
    }
}

/// The client is told, and may try again: a few times.
pub(super) fn failed(stream: &mut C2s, now: Instant, profile: Profile, failed: Failed) {
    auth::failure(profile, failed.failure).write(&mut stream.wire.out, ns::CLIENT);
    stream.state = State::Negotiating;
    if failed.counts() {
        stream.failures = stream.failures.saturating_add(1);
    }
    stream.tell(Event::AuthenticationFailed(failed));
    if stream.failures >= stream.config.limits.attempts {
        // RFC 6120 §6.4.5
        stream.end(now, StreamError::new(StreamCondition::PolicyViolation).with_text("too many failed log-ins"));
    }
}
