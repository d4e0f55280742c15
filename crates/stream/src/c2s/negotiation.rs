//! What can be negotiated, and when: the one table behind the stream features and behind the elements that answer them
//! (RFC 6120 §4.3).

use super::machine::{C2s, State};
use super::remembered::{Case, Written};
use super::{bind, client_state, management, pipelining, registration, sasl, sasl2, starttls};
use crate::ending::peer_error;
use crate::features::{limits_feature, write_features};
use crate::{Closed, Phase};
use std::time::Instant;
use stonechat_stanza::{StreamCondition, ns};
use stonechat_xml::{Element, Frame};

/// What is done with an element that answers a feature.
type Take = fn(&mut C2s, Instant, Frame);

/// One thing that can be negotiated.
pub(super) struct Row {
    pub(super) phase: Phase,
    /// What it adds to the features, as the stream is now.
    pub(super) advertise: fn(&C2s, &mut Vec<Element>),
    /// The namespace of the elements that it takes, and what it does with one.
    pub(super) take: Option<(&'static str, Take)>,
}

/// In the order of the features.
const ROWS: &[Row] = &[
    starttls::ROW,
    sasl::ROW,
    sasl2::ROW,
    registration::ROW,
    Row { phase: Phase::BeforeAuthentication, advertise: limits_before, take: None },
    management::BEFORE_AUTHENTICATION,
    bind::ROW,
    management::ROW,
    client_state::ROW,
    Row { phase: Phase::AfterAuthentication, advertise: extensions_after, take: None },
    Row { phase: Phase::AfterAuthentication, advertise: limits_after, take: None },
];

/// What a bound client may say that is no stanza, by namespace.
const BOUND: &[(&str, Take)] = &[(ns::SM, management::take), (ns::CSI, client_state::take)];

// XEP-0478
fn limits_before(stream: &C2s, features: &mut Vec<Element>) {
    features.push(limits_feature(stream.config.limits.before.bytes, None));
}

fn limits_after(stream: &C2s, features: &mut Vec<Element>) {
    features.push(limits_feature(stream.config.limits.after.bytes, None));
}

fn extensions_after(stream: &C2s, features: &mut Vec<Element>) {
    if let Some(domain) = &stream.domain {
        features.extend(stream.config.features.features(Phase::AfterAuthentication, domain));
    }
}

pub(super) fn send_features(stream: &mut C2s, phase: Phase) {
    let revision = stream.config.features.revision();
    let case = Case::of(stream, phase);
    if let Some(written) = revision.and_then(|revision| stream.config.remembered.find(revision, &case)) {
        stream.advertised.clone_from(&written.version);
        stream.wire.out.extend_from_slice(&written.bytes);
        return;
    }
    let before = stream.wire.out.len();
    let mut features = Vec::new();
    for row in ROWS.iter().filter(|row| row.phase == phase) {
        (row.advertise)(stream, &mut features);
    }
    pipelining::stamp(stream, phase, &mut features);
    write_features(&features, ns::CLIENT, &mut stream.wire.out);
    if let Some(revision) = revision {
        let bytes = stream.wire.out.get(before..).unwrap_or_default().to_vec();
        stream.config.remembered.keep(revision, case, Written { bytes, version: stream.advertised.clone() });
    }
}

/// An element that came before a resource is bound.
pub(super) fn take(stream: &mut C2s, now: Instant, frame: Frame) {
    let phase = match stream.state {
        State::Binding { .. } => Phase::AfterAuthentication,
        _ => Phase::BeforeAuthentication,
    };
    if let Some(error) = peer_error(&frame) {
        return stream.ended_by_peer(Closed::ByPeer(error));
    }
    // XEP-0388 §2.4: nothing else meanwhile.
    if matches!(stream.state, State::LoggingIn(_)) && &**frame.namespace() != ns::SASL2 {
        return stream.end_with(now, too_early(&frame));
    }
    let taker = ROWS.iter().filter(|row| row.phase == phase).find_map(|row| match row.take {
        Some((namespace, take)) if namespace == &**frame.namespace() => Some(take),
        _ => None,
    });
    match taker {
        Some(take) => take(stream, now, frame),
        None => stream.end_with(now, StreamCondition::UnsupportedStanzaType),
    }
}

/// An element of a bound client that is no stanza.
pub(super) fn take_bound(stream: &mut C2s, now: Instant, frame: Frame) {
    if let Some(error) = peer_error(&frame) {
        return stream.ended_by_peer(Closed::ByPeer(error));
    }
    match BOUND.iter().find(|(namespace, _)| namespace == &&**frame.namespace()) {
        Some((_, take)) => take(stream, now, frame),
        // RFC 6120 §4.9.3.24
        None => stream.end_with(now, StreamCondition::UnsupportedStanzaType),
    }
}

/// What becomes of a stanza that came too early (RFC 6120 §4.9.3.12), or of what only looks like one.
pub(super) fn too_early(frame: &Frame) -> StreamCondition {
    match &**frame.name() {
        "iq" | "message" | "presence" => StreamCondition::NotAuthorized,
        _ => StreamCondition::UnsupportedStanzaType,
    }
}
