//! What a message is, read off its child index alone: names and namespaces, no trees.
//!
//! The weightiest child decides. What an unknown extension sends without a body counts as content: better one message too
//! many for somebody who comes back than one lost. What merely accompanies other content ([`Content::Transient`] when it
//! is alone) is listed here by name.
//!
//! Deliberately absent: anything that would need the inside of a child.

use stonechat_stanza::{ChildRef, MessageType, Stanza, StanzaType, ns};

/// XEP-0334 hints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `<no-store/>`: kept nowhere. Stronger than `<store/>`.
    pub no_store: bool,
    /// `<no-permanent-store/>`: not in the archive; offline is permitted.
    pub no_permanent_store: bool,
    /// `<no-copy/>`, or XEP-0280 `<private/>`: no carbons.
    pub no_copy: bool,
    /// `<store/>`: kept even without a body.
    pub store: bool,
}

/// What the message is for, the weightiest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// A body, or something encrypted that stands for one.
    Body,
    /// An invitation to a room, to be kept for who is away.
    Invitation,
    /// XEP-0353: a call that rings.
    Call,
    /// A receipt, a marker, a reaction, a retraction: no body, yet part of the conversation.
    Companion,
    /// Payload of an extension without a body, or a subject alone.
    Other,
    /// Chat states alone, notifications of a state that is asked for anyhow, or nothing at all: worth nothing later.
    Transient,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classification {
    /// What it is for.
    pub content: Content,
    /// Hints of its sender.
    pub hints: Hints,
}

const fn bytes(name: &'static str) -> &'static [u8] {
    name.as_bytes()
}
// As constants, so that they can stand in patterns.
const HINTS: &[u8] = bytes(ns::HINTS);
const CARBONS: &[u8] = bytes(ns::CARBONS);
const CHAT_STATES: &[u8] = bytes(ns::CHAT_STATES);
const CHAT_MARKERS: &[u8] = bytes(ns::CHAT_MARKERS);
const CONFERENCE: &[u8] = bytes(ns::CONFERENCE);
const DELAY: &[u8] = bytes(ns::DELAY);
const ENCRYPTION: &[u8] = bytes(ns::EXPLICIT_ENCRYPTION);
const JINGLE_MESSAGE: &[u8] = bytes(ns::JINGLE_MESSAGE);
const MESSAGE_EVENT: &[u8] = bytes(ns::MESSAGE_EVENT);
const MESSAGE_RETRACT: &[u8] = bytes(ns::MESSAGE_RETRACT);
const MUC_USER: &[u8] = bytes(ns::MUC_USER);
const NICK: &[u8] = bytes(ns::NICK);
const OCCUPANT_ID: &[u8] = bytes(ns::OCCUPANT_ID);
const OMEMO: &[u8] = bytes(ns::OMEMO);
const OMEMO_AXOLOTL: &[u8] = bytes(ns::OMEMO_AXOLOTL);
const OOB: &[u8] = bytes(ns::OUT_OF_BAND);
const OPENPGP: &[u8] = bytes(ns::OPENPGP);
const PGP_ENCRYPTED: &[u8] = bytes(ns::PGP_ENCRYPTED);
const PUBSUB_EVENT: &[u8] = bytes(ns::PUBSUB_EVENT);
const REACTIONS: &[u8] = bytes(ns::REACTIONS);
const RECEIPTS: &[u8] = bytes(ns::RECEIPTS);
const ROSTER: &[u8] = bytes(ns::ROSTER);
const BIND: &[u8] = bytes(ns::BIND);
const STANZA_ID: &[u8] = bytes(ns::STANZA_ID);

/// What one child says.
enum Finding {
    Content(Content),
    /// XEP-0085, XEP-0022.
    ChatState,
    /// A room's `<x/>`: an invitation through the room, or the mark of a private message (XEP-0045 §7.5, §7.8.2).
    Room,
    /// Says something about the message and nothing by itself.
    Annotation,
    NoStore,
    NoPermanentStore,
    NoCopy,
    Store,
}

fn read(child: &ChildRef) -> Finding {
    match (child.namespace.as_bytes().as_ref(), child.name.as_bytes().as_ref()) {
        (b"", b"body") => Finding::Content(Content::Body),
        (b"", b"subject") => Finding::Content(Content::Other),
        (b"", _) => Finding::Annotation,
        (HINTS, b"no-store") => Finding::NoStore,
        (HINTS, b"no-permanent-store") => Finding::NoPermanentStore,
        (HINTS, b"no-copy") | (CARBONS, b"private") => Finding::NoCopy,
        (HINTS, b"store") => Finding::Store,
        (CHAT_STATES | MESSAGE_EVENT, _) => Finding::ChatState,
        // XEP-0384 old and new, XEP-0373, XEP-0027: an encrypted payload stands for a body.
        (OMEMO | OMEMO_AXOLOTL, b"encrypted") | (OPENPGP, b"openpgp") | (PGP_ENCRYPTED, b"x") => {
            Finding::Content(Content::Body)
        }
        // XEP-0066: a picture may come without a body.
        (OOB, b"x") => Finding::Content(Content::Body),
        (CONFERENCE, b"x") => Finding::Content(Content::Invitation),
        (MUC_USER, b"x") => Finding::Room,
        (JINGLE_MESSAGE, _) => Finding::Content(Content::Call),
        (RECEIPTS, b"received")
        | (CHAT_MARKERS, b"received" | b"displayed" | b"acknowledged")
        | (REACTIONS, _)
        | (MESSAGE_RETRACT, _) => Finding::Content(Content::Companion),
        // XEP-0163: whoever comes back is sent the last item of each node anyhow, and a flood of them would fill the store.
        (PUBSUB_EVENT, _) => Finding::Content(Content::Transient),
        (HINTS | RECEIPTS | CHAT_MARKERS | STANZA_ID | DELAY | OCCUPANT_ID | ENCRYPTION | NICK, _) => {
            Finding::Annotation
        }
        _ => Finding::Content(Content::Other),
    }
}

impl Classification {
    /// Reads it off the index.
    pub fn of(message: &Stanza) -> Classification {
        let mut hints = Hints::default();
        let mut content = Content::Transient;
        let (mut chat_state, mut room) = (false, false);
        for child in message.children() {
            match read(child) {
                Finding::Content(found) => content = content.min(found),
                Finding::ChatState => chat_state = true,
                Finding::Room => room = true,
                Finding::Annotation => {}
                Finding::NoStore => hints.no_store = true,
                Finding::NoPermanentStore => hints.no_permanent_store = true,
                Finding::NoCopy => hints.no_copy = true,
                Finding::Store => hints.store = true,
            }
        }
        // A chat state in a private message carries the room's mark too; an invitation carries no chat state.
        if room && !chat_state {
            content = content.min(Content::Invitation);
        }
        Classification { content, hints }
    }

    /// XEP-0160 §3: whether it is kept for somebody who is away.
    pub fn is_kept(self, message_type: MessageType) -> bool {
        match message_type {
            MessageType::Groupchat | MessageType::Headline | MessageType::Error => return false,
            MessageType::Chat | MessageType::Normal => {}
        }
        // XEP-0334 §4: "no store" beats everything, then "store".
        if self.hints.no_store {
            return false;
        }
        self.hints.store || self.content != Content::Transient
    }
}

/// The type of a message stanza; `normal` for anything else.
pub fn message_type(stanza: &Stanza) -> MessageType {
    match stanza.stanza_type() {
        StanzaType::Message(message_type) => message_type,
        StanzaType::Presence(_) | StanzaType::Iq(_) => MessageType::Normal,
    }
}

/// Who may send an IQ request to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IqOrigin {
    /// Anybody.
    Anybody,
    /// The account's own server alone: a roster push (RFC 6121 §2.1.6), a binding.
    Server,
}

impl IqOrigin {
    /// Reads it off the index of an IQ.
    pub fn of(iq: &Stanza) -> IqOrigin {
        let only_server = |child: &ChildRef| matches!(child.namespace.as_bytes().as_ref(), ROSTER | BIND);
        if iq.children().iter().any(only_server) { IqOrigin::Server } else { IqOrigin::Anybody }
    }
}
