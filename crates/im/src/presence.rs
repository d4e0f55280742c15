//! Presence (RFC 6121 §4): priorities, who is told, and what was sent to whom directly.

use std::collections::BTreeSet;
use stonechat_jid::Jid;
use stonechat_stanza::{Stanza, StanzaCondition, StanzaError};

/// Entities one session may have sent directed presence to at a time (abuse case 74).
pub const MAX_DIRECTED: usize = 1_000;

/// The priority of an available presence (RFC 6121 §4.7.2.3); 0 when there is none.
pub fn priority(presence: &Stanza) -> Result<i8, StanzaError> {
    match presence.child("priority", "") {
        None => Ok(0),
        Some(element) => {
            let text = element.text();
            text.trim().parse::<i8>().map_err(|_| {
                StanzaError::new(StanzaCondition::BadRequest).with_text("a priority is a number from -128 to 127")
            })
        }
    }
}

/// Whom a session has sent directed available presence to, beyond its subscribers: they are told when it leaves
/// (RFC 6121 §4.6.3).
#[derive(Clone, Debug, Default)]
pub struct DirectedPresence {
    to: BTreeSet<Jid>,
}

impl DirectedPresence {
    /// Notes an available presence; refuses beyond [`MAX_DIRECTED`].
    pub fn available(&mut self, to: &Jid) -> Result<(), StanzaError> {
        if self.to.len() >= MAX_DIRECTED && !self.to.contains(to) {
            return Err(StanzaError::new(StanzaCondition::PolicyViolation)
                .with_text("directed presence to too many entities"));
        }
        self.to.insert(to.clone());
        Ok(())
    }
    /// Notes an unavailable presence.
    pub fn unavailable(&mut self, to: &Jid) {
        self.to.remove(to);
    }
    /// Takes everybody who must be told that the session has left.
    pub fn take(&mut self) -> impl Iterator<Item = Jid> + use<> {
        std::mem::take(&mut self.to).into_iter()
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
pub fn probe_answer(subscription: Option<crate::subscription::Subscription>) -> ProbeAnswer {
    match subscription {
        Some(subscription) if subscription.from => ProbeAnswer::Presence,
        _ => ProbeAnswer::Unsubscribed,
    }
}
