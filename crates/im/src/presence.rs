//! Presence (RFC 6121 §4): priorities, who is told, and what was sent to whom directly.
//!
//! Deliberately absent: sending. Lists here are of addresses; the stanza is the same for all of them.

use crate::roster::RosterItem;
use crate::subscription::Subscription;
use smallvec::SmallVec;
use std::collections::BTreeSet;
use stonechat_jid::{BareJid, Jid};
use stonechat_stanza::{Stanza, StanzaCondition, StanzaError};

/// Entities one session may have sent directed presence to at a time (abuse case 74).
pub const MAX_DIRECTED: usize = 1_000;
/// Bytes of their addresses, together.
pub const MAX_DIRECTED_BYTES: usize = 131_072;

/// The priority of an available presence (RFC 6121 §4.7.2.3); 0 when there is none.
///
/// # Errors
/// `bad-request` when there are several, or one that is no integer from -128 to 127 (abuse case 81).
pub fn priority(presence: &Stanza) -> Result<i8, StanzaError> {
    let mut found = presence.children().iter().filter(|child| child.is("priority", ""));
    let Some(child) = found.next() else {
        return Ok(0);
    };
    let text = presence.child_element(child).map(|element| element.text());
    match (text.as_deref().map(|text| text.trim().parse::<i8>()), found.next()) {
        (Some(Ok(priority)), None) => Ok(priority),
        _ => Err(StanzaError::new(StanzaCondition::BadRequest)
            .with_text("a presence has one priority at most, a number from -128 to 127")),
    }
}

/// Which presence a session broadcasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// Its first available presence (§4.2).
    Initial,
    /// A later available presence (§4.4).
    Subsequent,
    /// It is no longer available (§4.5), by its word or because its stream ended.
    Unavailable,
}

/// Who is sent what when a session broadcasts presence. The user's own available resources are told in any case (§4.2.2)
/// and are not listed here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FanOut<'a> {
    /// Contacts that are sent the presence, at their bare address.
    pub contacts: Vec<&'a BareJid>,
    /// Entities that had directed presence and are not among `contacts`: they are sent the unavailable presence (§4.6.3).
    pub directed: Vec<&'a Jid>,
    /// Contacts whose presence the server asks for with a probe on the user's behalf (§4.3.1).
    pub probes: Vec<&'a BareJid>,
}

/// Computes who is sent what.
pub fn fan_out<'a>(
    broadcast: Broadcast,
    roster: impl IntoIterator<Item = &'a RosterItem>,
    directed: &'a DirectedPresence,
) -> FanOut<'a> {
    let mut fan_out = FanOut::default();
    for item in roster {
        // §4.2.2, §4.4.2, §4.5.2: whoever has a subscription "from" or "both".
        if item.subscription.from {
            fan_out.contacts.push(&item.jid);
        }
        if broadcast == Broadcast::Initial && item.subscription.to {
            fan_out.probes.push(&item.jid);
        }
    }
    // §4.6.3: later broadcasts of available presence do not reach them.
    if broadcast == Broadcast::Unavailable && !directed.to.is_empty() {
        let contacts: BTreeSet<&BareJid> = fan_out.contacts.iter().copied().collect();
        fan_out.directed = directed.to.iter().filter(|to| !contacts.contains(&to.to_bare())).collect();
    }
    fan_out
}

/// Whom a session has sent directed available presence to, beyond its subscribers: they are told when it leaves
/// (RFC 6121 §4.6.3).
#[derive(Clone, Debug, Default)]
pub struct DirectedPresence {
    to: BTreeSet<Jid>,
    bytes: usize,
}

impl DirectedPresence {
    /// Notes an available presence.
    ///
    /// # Errors
    /// `policy-violation` beyond [`MAX_DIRECTED`] or [`MAX_DIRECTED_BYTES`]; the presence is not sent then.
    pub fn available(&mut self, to: &Jid) -> Result<(), StanzaError> {
        if self.to.contains(to) {
            return Ok(());
        }
        let bytes = self.bytes.saturating_add(to.as_str().len());
        if self.to.len() >= MAX_DIRECTED || bytes > MAX_DIRECTED_BYTES {
            return Err(
                StanzaError::new(StanzaCondition::PolicyViolation).with_text("directed presence to too many entities")
            );
        }
        self.bytes = bytes;
        self.to.insert(to.clone());
        Ok(())
    }
    /// Notes an unavailable presence, or that the entity answered with an error: it need not be told any more.
    pub fn unavailable(&mut self, to: &Jid) {
        if self.to.remove(to) {
            self.bytes = self.bytes.saturating_sub(to.as_str().len());
        }
    }
    /// Takes everybody who must be told that the session has left.
    pub fn take(&mut self) -> impl Iterator<Item = Jid> + use<> {
        std::mem::take(self).to.into_iter()
    }
    /// Everybody who was sent presence.
    pub fn iter(&self) -> impl Iterator<Item = &Jid> {
        self.to.iter()
    }
    /// Whether this entity was sent presence.
    pub fn contains(&self, jid: &Jid) -> bool {
        self.to.contains(jid)
    }
}

/// How a probe is answered (RFC 6121 §4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// With the presence of each available resource, or unavailable presence when there is none.
    Presence,
    /// With `unsubscribed`: the asker is not subscribed. The same whether the account exists or not.
    Unsubscribed,
}

/// Decides it from the asker's subscription; `None` for no roster item or no account.
pub fn probe_answer(subscription: Option<Subscription>) -> ProbeAnswer {
    match subscription {
        Some(subscription) if subscription.from => ProbeAnswer::Presence,
        _ => ProbeAnswer::Unsubscribed,
    }
}

/// The available sessions whose presence answers a probe of [`ProbeAnswer::Presence`]: those of the probed address.
/// `available` are the resources of the available sessions, `resource` that of the address. None: unavailable presence from
/// the probed address answers.
pub fn probed(resource: Option<&str>, available: &[&str]) -> SmallVec<[usize; 4]> {
    let matches = |name: &str| resource.is_none_or(|resource| resource == name);
    available.iter().enumerate().filter(|(_, name)| matches(name)).map(|(index, _)| index).collect()
}
