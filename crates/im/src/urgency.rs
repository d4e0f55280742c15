//! What can wait while nobody looks (XEP-0352, XEP-0286): read off the head and the child index.
//!
//! A client that said it is inactive is not to be woken by what a person would not look at: each transmission keeps its
//! radio awake for seconds. What waits is let out, in order, before the next thing that cannot, and when the client is
//! active again; so nothing is ever seen out of order, and what waits may be anything that is not needed *now*.
//!
//! Carbons are looked into: what was received is as urgent on this device as on the other; what was sent tells that a
//! person is busy with another device.
//!
//! Deliberately absent: whether a person has muted somebody.

use crate::classify::{Classification, Content};
use stonechat_jid::Jid;
use stonechat_stanza::{ChildRef, IqType, MessageType, PresenceType, Stanza, StanzaType, ns};
use stonechat_xml::Element;

/// Whether a stanza can wait for an inactive client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency<'a> {
    /// It cannot.
    Now,
    /// It can, and stands for the earlier ones of the same kind from this address: only the newest is kept.
    Latest(&'a Jid),
    /// It can, behind what waits already.
    Later,
    /// It is worth nothing once it is late: it is not sent at all.
    Never,
}

/// Reads it off a stanza.
pub fn urgency(stanza: &Stanza) -> Urgency<'_> {
    match stanza.stanza_type() {
        StanzaType::Message(message_type) => message(message_type, stanza),
        StanzaType::Presence(PresenceType::Available | PresenceType::Unavailable) => presence(stanza),
        // A person has to answer, or waits for the answer.
        StanzaType::Presence(_) => Urgency::Now,
        // The server's push of what another device changed; nobody waits for the client's answer to it.
        StanzaType::Iq(IqType::Set) if stanza.has_child("query", ns::ROSTER) => Urgency::Later,
        // Somebody waits: the client itself, or who asks it.
        StanzaType::Iq(_) => Urgency::Now,
    }
}

/// XEP-0352 §3.2: of presence the latest of each contact, later.
fn presence(stanza: &Stanza) -> Urgency<'_> {
    let Some(from) = stanza.from() else { return Urgency::Later };
    match stanza.find_child("x", ns::MUC_USER) {
        // XEP-0045 §7.2.2: the own presence in a room ends a join that the client waits for, or tells that it was thrown out.
        Some(x) if is_own(stanza, x) => Urgency::Now,
        Some(_) | None => Urgency::Latest(from),
    }
}

fn is_own(stanza: &Stanza, x: &ChildRef) -> bool {
    const OWN: &str = "110";
    // Most of what an inactive client is not sent is presence of others in rooms: no trees for these.
    if !stanza.child_bytes(x).windows(OWN.len()).any(|window| window == OWN.as_bytes()) {
        return false;
    }
    let is_status = |child: &Element| child.name() == "status" && child.attribute("code") == Some(OWN);
    stanza.child_element(x).is_some_and(|x| x.children().any(is_status))
}

fn message(message_type: MessageType, stanza: &Stanza) -> Urgency<'static> {
    let find = |name, direction| stanza.find_child(name, ns::CARBONS).map(|child| (child, direction));
    let Some((child, direction)) = find("received", Direction::Received).or_else(|| find("sent", Direction::Sent))
    else {
        return of(message_type, Classification::of(stanza), Direction::Received);
    };
    let copy = stanza.child_element(child);
    let inner = copy.as_ref().and_then(|copy| copy.child("forwarded", ns::FORWARD)?.child("message", ns::CLIENT));
    // Only this server makes them (XEP-0280 §11), and none without a message inside.
    let Some(inner) = inner else { return Urgency::Later };
    let inner_type = MessageType::from_name(inner.attribute("type").unwrap_or_default());
    of(inner_type, Classification::of_element(inner), direction)
}

/// Which way a message went, seen from the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To it.
    Received,
    /// From one of its sessions.
    Sent,
}

/// The urgency of a carbon of this message, for whoever makes it: [`urgency`] has to read the copy to tell the same.
pub fn urgency_of_copy(message: &Stanza, direction: Direction) -> Urgency<'static> {
    of(crate::classify::message_type(message), Classification::of(message), direction)
}

fn of(message_type: MessageType, classification: Classification, direction: Direction) -> Urgency<'static> {
    match (message_type, direction, classification.content) {
        // Something that a person did has failed.
        (MessageType::Error, _, _) => Urgency::Now,
        // XEP-0353 §3.4, §3.5: a call rings, or stops to, whichever device has taken it.
        (_, _, Content::Call | Content::CallProgress) => Urgency::Now,
        // XEP-0352 §3.2 has them discarded. Who wants one stored thinks otherwise of it.
        (_, _, Content::ChatState) if !classification.hints.store => Urgency::Never,
        // RFC 6121 §5.2.2: nobody answers it; most are events (XEP-0060 §12.7).
        (MessageType::Headline, _, _) => Urgency::Later,
        // A person is busy with another device. It is told in time to be silent about what comes next: that flushes this.
        (_, Direction::Sent, _) => Urgency::Later,
        // In a room too: who is meant cannot be known. A subject ends a join (XEP-0045 §7.2.15). What nobody knows may matter.
        (_, Direction::Received, Content::Body | Content::Invitation | Content::Other) => Urgency::Now,
        (_, Direction::Received, Content::Companion | Content::Event | Content::ChatState | Content::Nothing) => {
            Urgency::Later
        }
    }
}
