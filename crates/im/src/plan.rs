//! The delivery plan (RFC 6121 §8.5): for one stanza and one local recipient, who gets it, whether it is kept, and why.
//!
//! This is the only place where that is decided: delivery, offline store, archive, carbons, push and what is done about
//! stanzas that an ended session leaves behind read it. What a message is to a person is [`crate::classify`]'s to say.
//!
//! Where RFC 6121 leaves a choice, this is ours. A `chat` or `normal` message to the bare address goes to *all* resources
//! whose priority is not negative (§8.5.2.1.1 (b)): a person's devices agree. What a person wrote and nobody gets is
//! answered rather than ignored; what is worth nothing later ends in silence.
//!
//! A message has two halves, one in the account of each party: [`plan_sent`] decides the sender's, [`plan`] the
//! recipient's. What somebody sends to the own account has one: [`plan_own`].
//!
//! Deliberately absent: blocking and quotas (the caller applies them to the answer), domains, rooms and remote addresses.

use crate::classify::{Classification, Content, IqOrigin, Room};
use smallvec::SmallVec;
use stonechat_stanza::{IqType, MessageType, PresenceType, StanzaCondition};

/// What the plan needs to know of one bound session of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// Priority of its presence; `None` while it is not available. A session that waits to be resumed keeps its presence.
    pub priority: Option<i8>,
    /// Whether it asked for copies (XEP-0280).
    pub carbons: Carbons,
    /// Whether it counts what it is sent (XEP-0198): then what it did not acknowledge can be kept for it.
    pub counting: Counting,
}

impl SessionState {
    fn is_resumable(&self) -> bool {
        self.counting != Counting::No
    }
}

/// Whether a session asked for copies of what its account sends and receives elsewhere (XEP-0280 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Carbons {
    /// It did.
    Enabled,
    /// It did not.
    #[default]
    Disabled,
}

/// Whether a session counts what it is sent (XEP-0198).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Counting {
    /// It does, and may be resumed.
    Resumable,
    /// It did, has lost its connection and waits to be resumed; and its client is not known to read the archive.
    Waiting,
    /// It does not, or cannot be resumed.
    #[default]
    No,
}

/// Whether the account archives its conversation with the other party (XEP-0313, XEP-0441), hints and content aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Archiving {
    /// It does.
    On,
    /// It does not.
    #[default]
    Off,
}

/// Whether a message goes to the account's archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    /// It does.
    Stored,
    /// It does not.
    Skipped,
}

/// Whether a device that is not looking is to be woken for it (XEP-0357). Which device that is depends on its session, and
/// is the router's to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A person would want to be woken.
    Yes,
    /// It can wait.
    No,
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
        /// Whether it archives its conversation with the sender.
        archiving: Archiving,
    },
}

/// Whether it is kept beside the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// For whoever comes first; the sender gets an error only when the store is full or fails and it is not archived either.
    Offline,
    /// For each of the sessions that get it and count, until that one has acknowledged it: it is not archived, and must not
    /// be lost with the server (XEP-0198).
    UntilAcknowledged,
    /// For those of the sessions that get it and are [`Counting::Waiting`]: the archive has it, but their clients would not look
    /// there if the server died before they are back.
    WhileWaiting,
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
    /// RFC 6121 §8.5.2.1.3, §3, §4.3.2: the server acts on it for the account.
    ServerActs,
    /// RFC 6121 §2.1.6: only the account's own server may ask this of a client.
    ServerOnly,
    /// RFC 6120 §8.2.3: a response that nobody waits for.
    NobodyWaits,
}

impl Reason {
    /// One sentence, for people.
    pub fn text(self) -> &'static str {
        match self {
            Reason::NoAccount => "There is no such account.",
            Reason::FullAddress => "The resource that it is addressed to is connected.",
            Reason::AvailableResources => "These resources are available with a suitable priority.",
            Reason::NobodyAvailable => "No resource is available with a suitable priority.",
            Reason::GroupchatToAccount => "A group chat message is addressed to a room or to one resource.",
            Reason::ErrorToAccount => "An error to an account ends here.",
            Reason::ResourceGone => "The resource that it is addressed to is not connected.",
            Reason::NotForKeeping => "Nobody is available, and it is not worth keeping or its sender forbids it.",
            Reason::ServerActs => "The server acts on it for the account.",
            Reason::ServerOnly => "Only the account's own server may ask this of a client.",
            Reason::NobodyWaits => "No request waits for this response.",
        }
    }
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryPlan {
    /// Indices of the sessions that get it.
    pub deliver: SmallVec<[usize; 4]>,
    /// Indices of the sessions that get a copy marked as received (XEP-0280), none of them in `deliver`.
    pub carbons: SmallVec<[usize; 4]>,
    /// Whether it goes to the archive.
    pub archive: Archive,
    /// Whether devices are to be woken for it: those whose session gets it without looking, and, when it is kept, those that
    /// have none.
    pub wake: Wake,
    /// Whether it is kept.
    pub kept: Kept,
    /// The error its sender gets.
    pub bounce: Option<StanzaCondition>,
    /// Why.
    pub reason: Reason,
}

impl DeliveryPlan {
    fn nothing(reason: Reason) -> Self {
        DeliveryPlan {
            deliver: SmallVec::new(),
            carbons: SmallVec::new(),
            archive: Archive::Skipped,
            wake: Wake::No,
            kept: Kept::Nowhere,
            bounce: None,
            reason,
        }
    }
    fn bounced(reason: Reason) -> Self {
        DeliveryPlan { bounce: Some(StanzaCondition::ServiceUnavailable), ..Self::nothing(reason) }
    }
    fn to(deliver: SmallVec<[usize; 4]>, reason: Reason) -> Self {
        DeliveryPlan { deliver, ..Self::nothing(reason) }
    }
}

/// Decides where a message of somebody else goes.
pub fn plan(message_type: MessageType, classification: Classification, recipient: Recipient<'_>) -> DeliveryPlan {
    let (sessions, address, archiving) = match recipient {
        // RFC 6121 §8.5.1: an error for the sender, but never in answer to an error.
        Recipient::Absent if message_type == MessageType::Error => return DeliveryPlan::nothing(Reason::NoAccount),
        Recipient::Absent => return DeliveryPlan::bounced(Reason::NoAccount),
        Recipient::Account { sessions, address, archiving } => (sessions, address, archiving),
    };
    let mut plan = match address {
        Address::Bare => to_bare(message_type, classification, sessions, Reason::NobodyAvailable),
        // RFC 6121 §8.5.3.1: whatever its type and priority.
        Address::Session(index) if index < sessions.len() => {
            DeliveryPlan::to(SmallVec::from_slice(&[index]), Reason::FullAddress)
        }
        Address::Session(_) | Address::NoSession => to_gone_resource(message_type, classification, sessions),
    };
    // XEP-0313 §6.1: what is refused is in no archive; nor does anybody else hear of it.
    if plan.bounce.is_some() {
        return plan;
    }
    plan.archive = archive(message_type, classification, archiving);
    // XEP-0280 §6.1: a room sends its private messages to each session in it itself, but not the errors about those that it
    // was sent.
    let copied_by_room = classification.room == Room::PrivateMessage && message_type != MessageType::Error;
    if classification.is_copied(message_type) && !copied_by_room {
        plan.carbons = copied(sessions, |index| !plan.deliver.contains(&index));
        // What waits for whoever comes first comes to a session that is not available yet with its presence, behind what
        // waits already: a copy now would be a second one, and ahead of older ones.
        if plan.kept == Kept::Offline {
            plan.carbons.retain(|index| sessions.get(*index).is_some_and(|session| session.priority.is_some()));
        }
    }
    if plan.kept == Kept::Nowhere && classification.is_kept(message_type) {
        let mut reached = plan.deliver.iter().filter_map(|index| sessions.get(*index));
        match plan.archive {
            Archive::Skipped if reached.any(SessionState::is_resumable) => plan.kept = Kept::UntilAcknowledged,
            Archive::Stored if reached.any(|session| session.counting == Counting::Waiting) => {
                plan.kept = plan_waiting(message_type, classification, plan.archive);
            }
            Archive::Skipped | Archive::Stored => {}
        }
    }
    let reached = !plan.deliver.is_empty() || plan.kept == Kept::Offline;
    if reached && classification.is_waking(message_type) {
        plan.wake = Wake::Yes;
    }
    plan
}

fn archive(message_type: MessageType, classification: Classification, archiving: Archiving) -> Archive {
    match archiving {
        Archiving::On if classification.is_archived(message_type) => Archive::Stored,
        Archiving::On | Archiving::Off => Archive::Skipped,
    }
}

/// XEP-0280 §7, §8: the sessions that asked for copies, available or not, whatever their priority.
fn copied(sessions: &[SessionState], wanted: impl Fn(usize) -> bool) -> SmallVec<[usize; 4]> {
    sessions
        .iter()
        .enumerate()
        .filter(|(index, session)| session.carbons == Carbons::Enabled && wanted(*index))
        .map(|(index, _)| index)
        .collect()
}

/// What becomes of a message in its sender's own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentPlan {
    /// Indices of the sessions that get a copy marked as sent (XEP-0280).
    pub carbons: SmallVec<[usize; 4]>,
    /// Whether it goes to the sender's archive.
    pub archive: Archive,
}

/// Decides what a message to somebody else means to its sender's own account. `sender` is the index of the session that
/// sent it.
///
/// It is the same whatever becomes of the message later: its sender did send it, sees it on the device that did, and the
/// others have to agree with that one. An error may come from afar and long afterwards, and is a message of its own.
pub fn plan_sent(
    message_type: MessageType,
    classification: Classification,
    sessions: &[SessionState],
    sender: Option<usize>,
    archiving: Archiving,
) -> SentPlan {
    let carbons = match classification.is_copied(message_type) {
        true => copied(sessions, |index| Some(index) != sender),
        false => SmallVec::new(),
    };
    SentPlan { carbons, archive: archive(message_type, classification, archiving) }
}

/// Decides where a message goes that somebody sends to the own account: in place of [`plan_sent`] and [`plan`]. Each
/// session gets it at most once, be it as a copy, and the archive has it once (XEP-0313 §6.1.1). `sender` is the index of
/// the session that sent it.
pub fn plan_own(
    message_type: MessageType,
    classification: Classification,
    sessions: &[SessionState],
    address: Address,
    sender: Option<usize>,
    archiving: Archiving,
) -> DeliveryPlan {
    let mut plan = plan(message_type, classification, Recipient::Account { sessions, address, archiving });
    if plan.bounce.is_some() {
        let sent = plan_sent(message_type, classification, sessions, sender, archiving);
        plan.carbons = sent.carbons;
        plan.archive = sent.archive;
    } else {
        // XEP-0280 §8: not to the session that sent it. When it is one of those that the address means, it gets it like
        // them (RFC 6121 §8.5.2.1.1).
        plan.carbons.retain(|index| Some(*index) != sender);
    }
    // Who writes to oneself is awake.
    plan.wake = Wake::No;
    plan
}

/// What becomes of a stanza that a session was given and never acknowledged, when the session is gone for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftoverPlan {
    /// These sessions get it, like a message to the bare address, with the time of its first delivery (XEP-0203).
    Deliver(SmallVec<[usize; 4]>),
    /// It is kept for whoever comes first.
    Offline,
    /// Its sender gets this error.
    Bounce(StanzaCondition),
    /// It ends here: others have it, or it is worth nothing any more.
    Nothing,
}

/// Whether other sessions were given a message too, be it as a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They were.
    Served,
    /// Nobody else was.
    None,
}

/// Decides what becomes of a message that an ended session leaves behind (XEP-0198 §4): never an error for what is
/// archived, since its recipient will find it. `sessions` are those that are left.
pub fn plan_leftover(
    message_type: MessageType,
    classification: Classification,
    archive: Archive,
    others: Others,
    sessions: &[SessionState],
) -> LeftoverPlan {
    match message_type {
        MessageType::Chat | MessageType::Normal => {}
        // A room learns from the presence that its occupant is gone, and has its history. An error now could reach it after
        // the same address has come back, and throw that one out. The others are of their moment (RFC 6121 §8.5.3.2.1).
        MessageType::Groupchat | MessageType::Headline | MessageType::Error => return LeftoverPlan::Nothing,
    }
    let kept = classification.is_kept(message_type);
    let written = classification.content == Content::Body;
    if others == Others::Served || !(kept || written) {
        return LeftoverPlan::Nothing;
    }
    // XEP-0334 §4.3: what must not be copied is for that session alone.
    if !classification.hints.no_copy {
        let available = sessions_where(sessions, |priority| priority >= 0);
        if !available.is_empty() {
            return LeftoverPlan::Deliver(available);
        }
        if kept {
            return LeftoverPlan::Offline;
        }
    }
    match archive {
        Archive::Skipped if written => LeftoverPlan::Bounce(StanzaCondition::ServiceUnavailable),
        Archive::Skipped | Archive::Stored => LeftoverPlan::Nothing,
    }
}

/// Decides whether a message that a session was given and has not acknowledged is kept for it when it loses its connection:
/// as one that comes from then on ([`Kept::WhileWaiting`]).
pub fn plan_waiting(message_type: MessageType, classification: Classification, archive: Archive) -> Kept {
    match archive {
        Archive::Stored if classification.is_kept(message_type) => Kept::WhileWaiting,
        Archive::Stored | Archive::Skipped => Kept::Nowhere,
    }
}

/// Decides what becomes of an IQ that an ended session leaves behind. A presence ends there: whoever comes next is told
/// the presence of that moment, and a subscription request waits in the roster (RFC 6121 §3.1.3).
pub fn plan_leftover_iq(iq_type: IqType, origin: IqOrigin) -> LeftoverPlan {
    match iq_type {
        // The server's own push: nobody waits for the answer.
        IqType::Set if origin == IqOrigin::Server => LeftoverPlan::Nothing,
        // RFC 6121 §8.5.3.2.3.
        IqType::Get | IqType::Set => LeftoverPlan::Bounce(StanzaCondition::ServiceUnavailable),
        IqType::Result | IqType::Error => LeftoverPlan::Nothing,
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
    let available = sessions_where(sessions, |priority| priority >= 0);
    if !available.is_empty() {
        return DeliveryPlan::to(available, Reason::AvailableResources);
    }
    // §8.5.2.2.1: chat and normal are kept, headlines end here.
    if classification.is_kept(message_type) {
        return DeliveryPlan { kept: Kept::Offline, ..DeliveryPlan::nothing(nobody) };
    }
    // §8.5.2.2.1: or answered, when a person wrote it and its sender forbids keeping it.
    if message_type != MessageType::Headline && classification.content == Content::Body {
        return DeliveryPlan::bounced(Reason::NotForKeeping);
    }
    DeliveryPlan::nothing(Reason::NotForKeeping)
}

fn sessions_where(sessions: &[SessionState], wanted: impl Fn(i8) -> bool) -> SmallVec<[usize; 4]> {
    sessions
        .iter()
        .enumerate()
        .filter(|(_, session)| session.priority.is_some_and(&wanted))
        .map(|(index, _)| index)
        .collect()
}

/// RFC 6121 §8.5.3.2.1: to a full address that nobody has bound.
fn to_gone_resource(
    message_type: MessageType,
    classification: Classification,
    sessions: &[SessionState],
) -> DeliveryPlan {
    match message_type {
        // As if it were addressed to the account.
        MessageType::Chat => to_bare(message_type, classification, sessions, Reason::ResourceGone),
        // Ignored or answered, never redirected. A room learns by the answer that its occupant is gone.
        MessageType::Normal | MessageType::Groupchat => DeliveryPlan::bounced(Reason::ResourceGone),
        MessageType::Headline | MessageType::Error => DeliveryPlan::nothing(Reason::ResourceGone),
    }
}

/// What becomes of a presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresencePlan {
    /// These sessions get it; none when nobody is there to see it.
    Deliver(SmallVec<[usize; 4]>, Reason),
    /// The server acts on it: [`crate::subscription::inbound`], [`crate::presence::probe_answer`].
    Act(Reason),
    /// It ends here.
    Nothing(Reason),
}

/// Decides where a presence goes (RFC 6121 §8.5.1, §8.5.2.1.2, §8.5.2.2.2, §8.5.3).
pub fn plan_presence(presence_type: PresenceType, recipient: Recipient<'_>) -> PresencePlan {
    match (presence_type, recipient) {
        // §4.3.2: a probe is answered with or without an account, so that nobody can tell.
        (PresenceType::Probe, _) => PresencePlan::Act(Reason::ServerActs),
        // §8.5.1
        (_, Recipient::Absent) => PresencePlan::Nothing(Reason::NoAccount),
        // §8.5.3.2.2: of these only a request is believed when it addresses a resource that is gone.
        (
            PresenceType::Subscribed | PresenceType::Unsubscribe | PresenceType::Unsubscribed,
            Recipient::Account { address: Address::NoSession, .. },
        ) => PresencePlan::Nothing(Reason::ResourceGone),
        // §3, §8.5.2.1.2, §8.5.3.1: subscriptions are between bare addresses.
        (
            PresenceType::Subscribe | PresenceType::Subscribed | PresenceType::Unsubscribe | PresenceType::Unsubscribed,
            Recipient::Account { .. },
        ) => PresencePlan::Act(Reason::ServerActs),
        (
            PresenceType::Available | PresenceType::Unavailable | PresenceType::Error,
            Recipient::Account { sessions, address, .. },
        ) => match address {
            // §8.5.3.1
            Address::Session(index) if index < sessions.len() => {
                PresencePlan::Deliver(SmallVec::from_slice(&[index]), Reason::FullAddress)
            }
            // §8.5.3.2.2
            Address::Session(_) | Address::NoSession => PresencePlan::Nothing(Reason::ResourceGone),
            Address::Bare if presence_type == PresenceType::Error => PresencePlan::Nothing(Reason::ErrorToAccount),
            // §8.5.2.1.2: all available resources, whatever their priority.
            Address::Bare => match sessions_where(sessions, |_| true) {
                available if available.is_empty() => PresencePlan::Nothing(Reason::NobodyAvailable),
                available => PresencePlan::Deliver(available, Reason::AvailableResources),
            },
        },
    }
}

/// What becomes of an IQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IqPlan {
    /// This session gets it.
    Deliver(usize, Reason),
    /// The server answers for the account, or takes the response to a request of its own.
    Act(Reason),
    /// Its sender gets this error.
    Bounce(StanzaCondition, Reason),
    /// It ends here.
    Nothing(Reason),
}

/// Decides where an IQ goes (RFC 6121 §8.5.1, §8.5.2.1.3, §8.5.2.2.3, §8.5.3). The server's own pushes are handed to
/// sessions and never planned.
pub fn plan_iq(iq_type: IqType, origin: IqOrigin, recipient: Recipient<'_>) -> IqPlan {
    let unanswered = |reason| match iq_type {
        IqType::Get | IqType::Set => IqPlan::Bounce(StanzaCondition::ServiceUnavailable, reason),
        // RFC 6120 §8.2.3: a response is never answered.
        IqType::Result | IqType::Error => IqPlan::Nothing(Reason::NobodyWaits),
    };
    match recipient {
        // §8.5.1
        Recipient::Absent => unanswered(Reason::NoAccount),
        // §8.5.2.1.3, §8.5.2.2.3
        Recipient::Account { address: Address::Bare, .. } => IqPlan::Act(Reason::ServerActs),
        // §2.1.6: a client must not take a push from anybody but its account, and is not tempted to.
        Recipient::Account { .. } if iq_type == IqType::Set && origin == IqOrigin::Server => {
            unanswered(Reason::ServerOnly)
        }
        // §8.5.3.1
        Recipient::Account { sessions, address: Address::Session(index), .. } if index < sessions.len() => {
            IqPlan::Deliver(index, Reason::FullAddress)
        }
        // §8.5.3.2.3
        Recipient::Account { .. } => unanswered(Reason::ResourceGone),
    }
}
