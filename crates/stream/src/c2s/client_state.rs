//! Client state indication (XEP-0352): whether somebody looks at the client. What follows from it is for whoever sends to
//! it; here it is only heard.

use super::Event;
use super::machine::C2s;
use super::negotiation::Row;
use crate::Phase;
use std::time::Instant;
use stonechat_stanza::{StreamCondition, ns};
use stonechat_xml::{Element, Frame};

/// Announced once the client is known, and believed once it has an address (XEP-0352 §4).
pub(super) const ROW: Row = Row { phase: Phase::AfterAuthentication, advertise, take: None };

/// Whether somebody looks at a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientState {
    /// Somebody does, or may: what a session begins with.
    #[default]
    Active,
    /// Nobody does; what is not urgent may wait.
    Inactive,
}

impl ClientState {
    /// What an element says.
    pub(super) fn from_name(name: &str) -> Option<ClientState> {
        match name {
            "active" => Some(ClientState::Active),
            "inactive" => Some(ClientState::Inactive),
            _ => None,
        }
    }
}

fn advertise(_: &C2s, features: &mut Vec<Element>) {
    features.push(Element::new("csi", ns::CSI));
}

/// Takes what a bound client says.
pub(super) fn take(stream: &mut C2s, now: Instant, frame: Frame) {
    match ClientState::from_name(frame.name()) {
        Some(state) => stream.tell(Event::ClientState(state)),
        None => stream.end_with(now, StreamCondition::UnsupportedStanzaType),
    }
}
