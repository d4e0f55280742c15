//! SASL among what can be negotiated (RFC 6120 §6): `<auth/>` and what follows it, and how often it may fail.

use super::auth::{self, Exchange, Failed};
use super::machine::{C2s, Security, State};
use super::negotiation::Row;
use super::{Event, Transport};
use crate::Phase;
use std::time::Instant;
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

fn take(stream: &mut C2s, now: Instant, frame: Frame) {
    let Some(domain) = stream.domain.clone() else { return };
    match (&**frame.name(), &mut stream.state) {
        ("auth", State::Negotiating) => {
            if may_authenticate(stream) == Permitted::AfterTls {
                return failed(stream, now, Failed::before_tls());
            }
            let mut nonce = [0u8; 24];
            stream.config.random.fill(&mut nonce);
            match Exchange::begin(&frame, domain, &stream.security, &stream.config.decoy, &nonce) {
                Ok((exchange, step)) => {
                    stream.state = State::Authenticating(Box::new(exchange));
                    follow(stream, now, step);
                }
                Err(refused) => failed(stream, now, refused),
            }
        }
        ("response", State::Authenticating(exchange)) => {
            let step = exchange.response(&frame);
            follow(stream, now, step);
        }
        ("abort", State::Authenticating(exchange)) => {
            let aborted = exchange.aborted();
            failed(stream, now, aborted);
        }
        // A response to nothing, or a second <auth/> in the middle of one.
        ("response" | "abort" | "auth", _) => stream.end_with(now, StreamCondition::NotAuthorized),
        _ => stream.end_with(now, StreamCondition::UnsupportedStanzaType),
    }
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
            auth::Next::Challenge(data) => return auth::write_challenge(&data, &mut stream.wire.out),
            auth::Next::Success(account, data) => {
                auth::write_success(data.as_deref(), &mut stream.wire.out);
                // RFC 6120 §6.4.6: the stream begins anew.
                stream.wire.trust(stream.config.limits.after);
                stream.wire.restart(stream.config.limits.after);
                stream.tell(Event::Authenticated(account.clone()));
                stream.state = State::Opening(Some(account));
                return;
            }
            auth::Next::Failed(refused) => return failed(stream, now, refused),
        }
    }
}

fn failed(stream: &mut C2s, now: Instant, failed: Failed) {
    auth::write_failure(failed.failure, &mut stream.wire.out);
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
