//! SASL EXTERNAL as the receiving server (XEP-0178 §3): offered to a peer whose certificate is good for the domain that it
//! says it is.

use super::Proof;
use super::dialback::prove;
use super::machine::{S2sIn, State};
use crate::{Step, Validity};
use std::time::Instant;
use stonechat_jid::Domain;
use stonechat_sasl::{ChannelBindings, DecoySecret, Failure, Mechanism, Negotiation, Offer, Verdict, decode, encode};
use stonechat_stanza::{StreamCondition, StreamError, ns};
use stonechat_xml::{Element, Frame};

/// Failures after which the stream ends (RFC 6120 §6.4.5).
const ATTEMPTS: u8 = 3;

/// Whether it is offered as the stream is now.
pub(super) fn is_offered(stream: &S2sIn) -> bool {
    let holds = |from: &Domain| stream.pairs.judged(from) == Some(Validity::Valid);
    stream.from.as_ref().is_some_and(holds) && stream.pairs.proved().next().is_none()
}

pub(super) fn feature() -> Element {
    Element::new("mechanisms", ns::SASL)
        .with_child(Element::new("mechanism", ns::SASL).with_text(Mechanism::External.name()))
}

pub(super) fn take(stream: &mut S2sIn, now: Instant, frame: &Frame) {
    let offer = match is_offered(stream) {
        true => Offer { mechanisms: vec![Mechanism::External], channel_bindings: Vec::new() },
        false => Offer::default(),
    };
    let State::Open { sasl } = &mut stream.state else { return };
    let negotiation = match (&**frame.name(), sasl.take()) {
        ("auth", None) => {
            let mechanism = frame.attribute("mechanism").map_or("", |name| &**name);
            let mut nonce = [0u8; 24];
            stream.config.random.fill(&mut nonce);
            // EXTERNAL asks for no credentials, so it needs no decoys.
            let begun =
                Negotiation::begin(mechanism, &offer, &ChannelBindings::default(), &DecoySecret([0; 32]), &nonce);
            match begun {
                Ok(negotiation) => Box::new(negotiation),
                Err(failure) => return failed(stream, now, failure),
            }
        }
        ("response", Some(negotiation)) => negotiation,
        ("abort", Some(_)) => return failed(stream, now, Failure::Aborted),
        ("auth" | "response" | "abort", _) => return stream.end_with(now, StreamCondition::NotAuthorized),
        _ => return stream.end_with(now, StreamCondition::UnsupportedStanzaType),
    };
    let text = frame.to_element().map(|element| element.text()).unwrap_or_default();
    let is_first = &**frame.name() == "auth";
    match (text.as_str(), is_first) {
        // RFC 6120 §6.4.2: nothing is no initial response.
        ("", true) => follow(stream, now, negotiation, None),
        (text, _) => match decode(text) {
            Some(message) => follow(stream, now, negotiation, Some(&message)),
            None => failed(stream, now, Failure::IncorrectEncoding),
        },
    }
}

fn follow(stream: &mut S2sIn, now: Instant, mut negotiation: Box<Negotiation>, message: Option<&[u8]>) {
    use stonechat_sasl::Step as Sasl;
    let mut step = negotiation.message(message);
    loop {
        match step {
            Sasl::Challenge(data) => {
                Element::new("challenge", ns::SASL).with_text(encode(&data)).write(&mut stream.wire.out, ns::SERVER);
                stream.state = State::Open { sasl: Some(negotiation) };
                return;
            }
            Sasl::CheckExternal { identity } => {
                // XEP-0178 §3: nothing, or the domain that the header said and the certificate proves.
                let from = stream.from.as_ref();
                let same = Domain::parse(&identity).is_ok_and(|identity| Some(&identity) == from);
                let verdict = if identity.is_empty() || same { Verdict::Accepted } else { Verdict::Refused };
                step = negotiation.external_checked(verdict);
            }
            Sasl::Success(_) => return succeeded(stream, now),
            Sasl::Failure(failure) => return failed(stream, now, failure),
            Sasl::NeedCredentials { .. } | Sasl::CheckPassword { .. } => {
                return failed(stream, now, Failure::InvalidMechanism);
            }
        }
    }
}

fn succeeded(stream: &mut S2sIn, now: Instant) {
    let (Some(from), Some(to)) = (stream.from.clone(), stream.to.clone()) else {
        return failed(stream, now, Failure::NotAuthorized);
    };
    Element::new("success", ns::SASL).write(&mut stream.wire.out, ns::SERVER);
    stream.note(Step::ExternalAccepted(from.clone()));
    stream.state = State::Opening(Some(from.clone()));
    prove(stream, from, to, Proof::External);
    // RFC 6120 §6.4.6: the stream begins anew.
    stream.wire.restart(stream.config.limits.after);
}

/// The stream goes on: dialback is still open to the peer.
fn failed(stream: &mut S2sIn, now: Instant, failure: Failure) {
    Element::new("failure", ns::SASL)
        .with_child(Element::new(failure.condition(), ns::SASL))
        .write(&mut stream.wire.out, ns::SERVER);
    stream.note(Step::ExternalRefused(failure.condition().to_owned()));
    stream.failures = stream.failures.saturating_add(1);
    if stream.failures >= ATTEMPTS {
        stream.end(now, StreamError::new(StreamCondition::PolicyViolation).with_text("too many failed log-ins"));
    }
}
