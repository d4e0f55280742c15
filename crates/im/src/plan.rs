//! The delivery plan (RFC 6121 §8): for one message and one local recipient, who gets it, whether it is kept, and why.
//!
//! This is the only place where that is decided. Issue by issue more reads it: today the router's delivery and the
//! offline store; archive, carbons and push will read `kept` and `reason` and add what they need here, not elsewhere.

use crate::classify::Classification;
use smallvec::SmallVec;
use stonechat_stanza::{MessageType, StanzaCondition};

/// What the plan needs to know of one bound session of the recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// Priority of its presence; `None` while it is not available.
    pub priority: Option<i8>,
}

/// Whom the message addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// The account's bare address.
    Bare,
    /// A full address that a session has bound: its index.
    Session(usize),
    /// A full address that no session has bound.
    NoSession,
}

/// The recipient.
#[derive(Clone, Copy, Debug)]
pub enum Recipient<'a> {
    /// There is no such account.
    Absent,
    /// The account, with its sessions in order.
    Account {
        /// Its sessions.
        sessions: &'a [SessionState],
        /// Whom of it.
        address: Address,
    },
}

/// Whether it goes to the offline store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It does; the sender gets an error only when the store is full or fails.
    Offline,
    /// It does not.
    Nowhere,
}

/// Why the plan is what it is; what `trace` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// RFC 6121 §8.5.1: no such account.
    NoAccount,
    /// RFC 6121 §8.5.3.1: to the session that has the address.
    FullAddress,
    /// RFC 6121 §8.5.2.1.1: to the available resources with a non-negative priority.
    AvailableResources,
    /// RFC 6121 §8.5.2.2: nobody is available.
    NobodyAvailable,
    /// RFC 6121 §8.5.2.1.1: a group chat message addresses no account.
    GroupchatToAccount,
    /// RFC 6121 §8.5.2.1.1: errors to an account end here.
    ErrorToAccount,
    /// RFC 6121 §8.5.3.2.1: the addressed resource is not there.
    ResourceGone,
    /// XEP-0160 §3, XEP-0334: not worth keeping, or not to be kept.
    NotForKeeping,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryPlan {
    /// Indices of the sessions that get it.
    pub deliver: SmallVec<[usize; 4]>,
    /// Whether it is kept.
    pub kept: Kept,
    /// The error its sender gets.
    pub bounce: Option<StanzaCondition>,
    /// Why.
    pub reason: Reason,
}

impl DeliveryPlan {
    fn nothing(reason: Reason) -> Self {
        DeliveryPlan { deliver: SmallVec::new(), kept: Kept::Nowhere, bounce: None, reason }
    }
    fn bounced(reason: Reason) -> Self {
        DeliveryPlan { bounce: Some(StanzaCondition::ServiceUnavailable), ..Self::nothing(reason) }
    }
    fn to(deliver: SmallVec<[usize; 4]>, reason: Reason) -> Self {
        DeliveryPlan { deliver, ..Self::nothing(reason) }
    }
}

/// Decides where a message goes.
pub fn plan(message_type: MessageType, classification: Classification, recipient: Recipient<'_>) -> DeliveryPlan {
    match recipient {
        // RFC 6121 §8.5.1: an error for the sender, but never in answer to an error.
        Recipient::Absent if message_type == MessageType::Error => DeliveryPlan::nothing(Reason::NoAccount),
        Recipient::Absent => DeliveryPlan::bounced(Reason::NoAccount),
        Recipient::Account { sessions, address: Address::Bare } => {
            to_bare(message_type, classification, sessions, Reason::NobodyAvailable)
        }
        // RFC 6121 §8.5.3.1: whatever its type and priority.
        Recipient::Account { sessions, address: Address::Session(index) } if index < sessions.len() => {
            DeliveryPlan::to(SmallVec::from_slice(&[index]), Reason::FullAddress)
        }
        Recipient::Account { sessions, address: Address::Session(_) | Address::NoSession } => {
            to_gone_resource(message_type, classification, sessions)
        }
    }
}

/// RFC 6121 §8.5.2: to the bare address.
fn to_bare(
    message_type: MessageType,
    classification: Classification,
    sessions: &[SessionState],
    nobody: Reason,
) -> DeliveryPlan {
    match message_type {
        MessageType::Groupchat => return DeliveryPlan::bounced(Reason::GroupchatToAccount),
        MessageType::Error => return DeliveryPlan::nothing(Reason::ErrorToAccount),
        MessageType::Chat | MessageType::Normal | MessageType::Headline => {}
    }
    // §8.5.2.1.1: the server may choose among the non-negative ones; people have several devices, so all of them.
    let available: SmallVec<[usize; 4]> = sessions
        .iter()
        .enumerate()
        .filter(|(_, session)| session.priority.is_some_and(|priority| priority >= 0))
        .map(|(index, _)| index)
        .collect();
    if !available.is_empty() {
        return DeliveryPlan::to(available, Reason::AvailableResources);
    }
    // §8.5.2.2: chat and normal are kept, headlines end here.
    if classification.is_kept(message_type) {
        DeliveryPlan { kept: Kept::Offline, ..DeliveryPlan::nothing(nobody) }
    } else {
        DeliveryPlan::nothing(Reason::NotForKeeping)
    }
}

/// RFC 6121 §8.5.3.2.1: to a full address that nobody has bound.
fn to_gone_resource(
    message_type: MessageType,
    classification: Classification,
    sessions: &[SessionState],
) -> DeliveryPlan {
    match message_type {
        // As if it were addressed to the account.
        MessageType::Chat | MessageType::Normal => {
            to_bare(message_type, classification, sessions, Reason::ResourceGone)
        }
        MessageType::Groupchat => DeliveryPlan::bounced(Reason::ResourceGone),
        MessageType::Headline | MessageType::Error => DeliveryPlan::nothing(Reason::ResourceGone),
    }
}
