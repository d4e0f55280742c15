//! The subscription between a user and a contact (RFC 6121 §3, appendix A).
//!
//! Two functions: what a user's own stanza does on the user's side ([`outbound`]), and what a contact's stanza does there
//! ([`inbound`]). Each row of the tables of appendix A is a row of the tests. Pre-approval (§3.4) is on.
//!
//! Deliberately absent: creating and storing roster items, and the bound on how many there may be.

use stonechat_stanza::PresenceType;

/// One side's view of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Subscription {
    /// The user sees the contact's presence.
    pub to: bool,
    /// The contact sees the user's presence.
    pub from: bool,
    /// The user's request awaits an answer: `ask='subscribe'`.
    pub pending_out: bool,
    /// The contact's request awaits the user's answer.
    pub pending_in: bool,
    /// The user has approved a request that has not come yet (RFC 6121 §3.4).
    pub approved: bool,
}

/// The four stanza types that manage subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the RFC's names")]
pub enum Change {
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
}

impl Change {
    /// From a presence type; `None` for those that do not manage subscriptions.
    pub fn from_presence(presence_type: PresenceType) -> Option<Change> {
        match presence_type {
            PresenceType::Subscribe => Some(Change::Subscribe),
            PresenceType::Subscribed => Some(Change::Subscribed),
            PresenceType::Unsubscribe => Some(Change::Unsubscribe),
            PresenceType::Unsubscribed => Some(Change::Unsubscribed),
            PresenceType::Available | PresenceType::Unavailable | PresenceType::Probe | PresenceType::Error => None,
        }
    }
}

/// Whether the stanza goes on: out to the contact, or in to the user's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Passage {
    /// It does.
    Passed,
    /// It ends here.
    Stopped,
}

/// What else follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consequence {
    /// Nothing.
    Nothing,
    /// Send the contact the current presence of each available resource of the user.
    SendPresence,
    /// Send the contact unavailable presence from each available resource of the user. Before an outbound `unsubscribed`
    /// is routed: §3.2.1 wants it to arrive while the contact is still subscribed.
    SendUnavailable,
    /// Answer the contact with `subscribed` on the user's behalf. Presence follows, also where the subscription is an old one:
    /// a contact whose server asks again has lost both.
    AnswerSubscribed,
}

/// What a subscription stanza does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The new state.
    pub state: Subscription,
    /// Whether the stanza goes on.
    pub passage: Passage,
    /// What else follows.
    pub consequence: Consequence,
}

impl Subscription {
    /// The `subscription` attribute.
    pub fn name(self) -> &'static str {
        match (self.to, self.from) {
            (false, false) => "none",
            (true, false) => "to",
            (false, true) => "from",
            (true, true) => "both",
        }
    }

    /// What a client can see of it: a roster push is due when this differs.
    pub fn visible(self) -> (bool, bool, bool, bool) {
        (self.to, self.from, self.pending_out, self.approved)
    }

    /// Whether nothing is known: an unlisted entry in this state need not be kept.
    pub fn is_blank(self) -> bool {
        self == Subscription::default()
    }
}

/// RFC 6121 A.2: the user sends `change` to the contact.
pub fn outbound(state: Subscription, change: Change) -> Transition {
    use Passage::{Passed, Stopped};
    let next = |state, passage, consequence| Transition { state, passage, consequence };
    match change {
        // A.2.1: always routed; pending unless already subscribed.
        Change::Subscribe => {
            let pending_out = state.pending_out || !state.to;
            next(Subscription { pending_out, ..state }, Passed, Consequence::Nothing)
        }
        // A.2.2: always routed.
        Change::Unsubscribe => {
            next(Subscription { to: false, pending_out: false, ..state }, Passed, Consequence::Nothing)
        }
        // A.2.3: routed only as the answer to a request; else it is a pre-approval (§3.4), which stays here.
        Change::Subscribed if state.pending_in => {
            let state = Subscription { from: true, pending_in: false, approved: false, ..state };
            next(state, Passed, Consequence::SendPresence)
        }
        Change::Subscribed if state.from => next(state, Stopped, Consequence::Nothing),
        Change::Subscribed => next(Subscription { approved: true, ..state }, Stopped, Consequence::Nothing),
        // A.2.4: routed when there is something to refuse or to cancel; else it cancels a pre-approval (§3.4.2).
        Change::Unsubscribed if state.from => {
            let state = Subscription { from: false, pending_in: false, approved: false, ..state };
            next(state, Passed, Consequence::SendUnavailable)
        }
        Change::Unsubscribed if state.pending_in => {
            next(Subscription { pending_in: false, approved: false, ..state }, Passed, Consequence::Nothing)
        }
        Change::Unsubscribed => next(Subscription { approved: false, ..state }, Stopped, Consequence::Nothing),
    }
}

/// RFC 6121 A.3: `change` arrives from the contact.
pub fn inbound(state: Subscription, change: Change) -> Transition {
    use Passage::{Passed, Stopped};
    let next = |state, passage, consequence| Transition { state, passage, consequence };
    match change {
        // A.3.1 and §3.1.3: answered here when the contact is subscribed already or was approved before.
        Change::Subscribe if state.from => next(state, Stopped, Consequence::AnswerSubscribed),
        Change::Subscribe if state.approved => {
            let state = Subscription { from: true, pending_in: false, approved: false, ..state };
            next(state, Stopped, Consequence::AnswerSubscribed)
        }
        Change::Subscribe if state.pending_in => next(state, Stopped, Consequence::Nothing),
        Change::Subscribe => next(Subscription { pending_in: true, ..state }, Passed, Consequence::Nothing),
        // A.3.2
        Change::Unsubscribe if state.from => {
            let state = Subscription { from: false, pending_in: false, ..state };
            next(state, Passed, Consequence::SendUnavailable)
        }
        Change::Unsubscribe if state.pending_in => {
            next(Subscription { pending_in: false, ..state }, Passed, Consequence::Nothing)
        }
        Change::Unsubscribe => next(state, Stopped, Consequence::Nothing),
        // A.3.3: only an answer to a request is believed.
        Change::Subscribed if state.pending_out => {
            next(Subscription { to: true, pending_out: false, ..state }, Passed, Consequence::Nothing)
        }
        Change::Subscribed => next(state, Stopped, Consequence::Nothing),
        // A.3.4
        Change::Unsubscribed if state.to || state.pending_out => {
            next(Subscription { to: false, pending_out: false, ..state }, Passed, Consequence::Nothing)
        }
        Change::Unsubscribed => next(state, Stopped, Consequence::Nothing),
    }
}

/// What the removal of an item by its user sends to the contact, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// First, the user's presence: [`Consequence::SendUnavailable`] or nothing.
    pub consequence: Consequence,
    /// Then these, on the user's behalf, from the bare address.
    pub changes: &'static [Change],
}

/// RFC 6121 §2.5.2: what follows when the user removes an item in this state. A request that is pending is withdrawn or
/// refused likewise, or it would stay pending at the contact's for ever.
pub fn removal(state: Subscription) -> Removal {
    let changes: &'static [Change] = match (state.to || state.pending_out, state.from || state.pending_in) {
        (false, false) => &[],
        (true, false) => &[Change::Unsubscribe],
        (false, true) => &[Change::Unsubscribed],
        (true, true) => &[Change::Unsubscribe, Change::Unsubscribed],
    };
    let consequence = if state.from { Consequence::SendUnavailable } else { Consequence::Nothing };
    Removal { consequence, changes }
}
