//! What a message is, read off its child index: names and namespaces, hardly ever a tree.
//!
//! This is the one place that says what a payload is to a person; archive, offline store, carbons, push and client state
//! all ask it, so that they agree. The weightiest child decides. What an unknown extension sends without a body counts as
//! content: better one message too many for somebody who comes back than one lost. What merely accompanies other content
//! is listed here by name.
//!
//! The inside of a child is read only where its name leaves open what it is: a room's `<x/>`, an OMEMO envelope, and what
//! a body beside reactions is for.
//!
//! Deliberately absent: what is in a body, and ids ([`crate::reference`]).

use stonechat_stanza::{ChildRef, MessageType, Stanza, StanzaType, ns};
use stonechat_xml::Element;

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
    /// An invitation to a room.
    Invitation,
    /// XEP-0353 `<propose/>`, XEP-0482 `<invite/>`: a call that rings.
    Call,
    /// What became of a call: accepted, rejected, withdrawn, over.
    CallProgress,
    /// A receipt, a marker, a reaction, a retraction, a key: no body, yet part of the conversation.
    Companion,
    /// Payload of an extension without a body, or a subject alone.
    Other,
    /// Notifications of a state that is asked for anyhow (XEP-0163): worth nothing to who comes later.
    Event,
    /// Chat states (XEP-0085) and what is being typed, alone: worth nothing later.
    ChatState,
    /// Nothing at all, or only what accompanies something else.
    Nothing,
}

/// Whether the message belongs to a room although it is no group chat message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// A private message between occupants (XEP-0045 §7.5), marked by the room or its sender.
    PrivateMessage,
    /// It does not, or it is an invitation.
    #[default]
    No,
}

/// What makes it part of a conversation in the eyes of XEP-0280 §6.1, beside its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conversational {
    /// A payload of XEP-0085, XEP-0184 or XEP-0333, alone or beside others, or that it is an error which answers a message
    /// that was copied: whatever its type.
    Yes,
    /// A `<body/>`, as a `normal` message too.
    Written,
    /// Nothing.
    #[default]
    No,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classification {
    /// What it is for.
    pub content: Content,
    /// Hints of its sender.
    pub hints: Hints,
    /// Whether it comes from or goes to somebody in a room.
    pub room: Room,
    /// What makes it part of a conversation.
    pub conversational: Conversational,
}

const fn bytes(name: &'static str) -> &'static [u8] {
    name.as_bytes()
}
// As constants, so that they can stand in patterns.
const HINTS: &[u8] = bytes(ns::HINTS);
const CALL_INVITES: &[u8] = bytes(ns::CALL_INVITES);
const CARBONS: &[u8] = bytes(ns::CARBONS);
const CHAT_STATES: &[u8] = bytes(ns::CHAT_STATES);
const CHAT_MARKERS: &[u8] = bytes(ns::CHAT_MARKERS);
const CONFERENCE: &[u8] = bytes(ns::CONFERENCE);
const DELAY: &[u8] = bytes(ns::DELAY);
const ENCRYPTION: &[u8] = bytes(ns::EXPLICIT_ENCRYPTION);
const FALLBACK: &[u8] = bytes(ns::FALLBACK);
const FASTEN: &[u8] = bytes(ns::FASTEN);
const JINGLE_MESSAGE: &[u8] = bytes(ns::JINGLE_MESSAGE);
const MESSAGE_CORRECT: &[u8] = bytes(ns::MESSAGE_CORRECT);
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
const REAL_TIME_TEXT: &[u8] = bytes(ns::REAL_TIME_TEXT);
const ROOM_ACTIVITY: &[u8] = bytes(ns::ROOM_ACTIVITY);
const ROSTER: &[u8] = bytes(ns::ROSTER);
const BIND: &[u8] = bytes(ns::BIND);
const STANZA_ID: &[u8] = bytes(ns::STANZA_ID);

/// What children say, collected: one bit each.
#[derive(Clone, Copy, Default)]
struct Findings(u32);

/// What one child says.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Finding {
    Body,
    /// A `<body/>` itself.
    Written,
    Invitation,
    Call,
    CallProgress,
    Companion,
    Other,
    Event,
    /// XEP-0085, XEP-0022, XEP-0301.
    ChatState,
    /// A payload of XEP-0184 or XEP-0333.
    Conversational,
    /// XEP-0380: whatever else is there is encrypted.
    Encryption,
    /// XEP-0424: whatever else is there is for who does not know retractions.
    Retraction,
    Reactions,
    /// XEP-0428: a body that is there only for who does not know reactions.
    ReactionsFallback,
    /// A room's mark that is no invitation (XEP-0045 §7.5).
    Room,
    NoStore,
    NoPermanentStore,
    NoCopy,
    Store,
}

impl Findings {
    fn add(&mut self, finding: Finding) {
        self.0 |= 1 << finding as u8;
    }
    fn has(self, finding: Finding) -> bool {
        self.0 & (1 << finding as u8) != 0
    }

    /// Notes what a child says. `inside` reads it as a tree, where its name alone does not tell.
    fn see(&mut self, namespace: &[u8], name: &[u8], inside: impl FnOnce(Question) -> Option<Finding>) {
        let finding = match (namespace, name) {
            (b"", b"body") => {
                self.add(Finding::Written);
                Finding::Body
            }
            (b"", b"subject") => Finding::Other,
            (b"", _) => return,
            (HINTS, b"no-store") => Finding::NoStore,
            (HINTS, b"no-permanent-store") => Finding::NoPermanentStore,
            (HINTS, b"no-copy") | (CARBONS, b"private") => Finding::NoCopy,
            (HINTS, b"store") => Finding::Store,
            (CHAT_STATES, _) => {
                self.add(Finding::Conversational);
                Finding::ChatState
            }
            // XEP-0022; XEP-0301: what is being typed comes again, as the body of a message.
            (MESSAGE_EVENT | REAL_TIME_TEXT, _) => Finding::ChatState,
            (RECEIPTS, b"received") | (CHAT_MARKERS, b"received" | b"displayed" | b"acknowledged") => {
                self.add(Finding::Conversational);
                Finding::Companion
            }
            (RECEIPTS | CHAT_MARKERS, _) => Finding::Conversational,
            // XEP-0384 old and new: an encrypted payload stands for a body, but it may also carry nothing but keys.
            (OMEMO | OMEMO_AXOLOTL, b"encrypted") => inside(Question::Envelope).unwrap_or(Finding::Body),
            // XEP-0373, XEP-0027.
            (OPENPGP, b"openpgp") | (PGP_ENCRYPTED, b"x") => Finding::Body,
            // XEP-0066: a picture may come without a body.
            (OOB, b"x") => Finding::Body,
            (CONFERENCE, b"x") => Finding::Invitation,
            (MUC_USER, b"x") => {
                let found = inside(Question::Room).unwrap_or(Finding::Room);
                if found == Finding::Companion {
                    self.add(Finding::Room);
                }
                found
            }
            (JINGLE_MESSAGE, b"propose") | (CALL_INVITES, b"invite") => Finding::Call,
            (JINGLE_MESSAGE | CALL_INVITES, _) => Finding::CallProgress,
            (REACTIONS, _) => Finding::Reactions,
            (MESSAGE_RETRACT, _) => Finding::Retraction,
            // XEP-0424 before 0.4 was fastened to its message (XEP-0422).
            (FASTEN, b"apply-to") => inside(Question::Fastened).unwrap_or(Finding::Other),
            // XEP-0308: what comes instead stands beside it.
            (MESSAGE_CORRECT, _) => Finding::Companion,
            (FALLBACK, b"fallback") => match inside(Question::Fallback) {
                Some(found) => found,
                None => return,
            },
            (ENCRYPTION, _) => Finding::Encryption,
            // XEP-0163: whoever comes back is sent the last item of each node anyhow, and a flood of them would fill the
            // store.
            // XEP-0437: that somebody talks in a room is seen there.
            (PUBSUB_EVENT | ROOM_ACTIVITY, _) => Finding::Event,
            (HINTS | STANZA_ID | DELAY | OCCUPANT_ID | NICK, _) => return,
            _ => Finding::Other,
        };
        self.add(finding);
    }

    fn content(self) -> Content {
        // XEP-0424 §3: the body beside a retraction is a fallback.
        if self.has(Finding::Retraction) {
            return Content::Companion;
        }
        let fallback = self.has(Finding::Reactions) && self.has(Finding::ReactionsFallback);
        // XEP-0380: a message that says it is encrypted and has a payload nobody knows has a body.
        let encrypted = self.has(Finding::Encryption) && self.has(Finding::Other);
        if (self.has(Finding::Body) && !fallback) || encrypted {
            Content::Body
        } else if self.has(Finding::Invitation) {
            Content::Invitation
        } else if self.has(Finding::Call) {
            Content::Call
        } else if self.has(Finding::CallProgress) {
            Content::CallProgress
        } else if self.has(Finding::Companion) || self.has(Finding::Reactions) {
            Content::Companion
        } else if self.has(Finding::Other) {
            Content::Other
        } else if self.has(Finding::Event) {
            Content::Event
        } else if self.has(Finding::ChatState) {
            Content::ChatState
        } else {
            Content::Nothing
        }
    }

    fn classification(self) -> Classification {
        Classification {
            content: self.content(),
            hints: Hints {
                no_store: self.has(Finding::NoStore),
                no_permanent_store: self.has(Finding::NoPermanentStore),
                no_copy: self.has(Finding::NoCopy),
                store: self.has(Finding::Store),
            },
            room: match self.has(Finding::Room) && !self.has(Finding::Invitation) {
                true => Room::PrivateMessage,
                false => Room::No,
            },
            conversational: match (self.has(Finding::Conversational), self.has(Finding::Written)) {
                (true, _) => Conversational::Yes,
                (false, true) => Conversational::Written,
                (false, false) => Conversational::No,
            },
        }
    }
}

/// The element of an OMEMO envelope that holds what is encrypted: its last one.
const PAYLOAD: &[u8] = b"payload";

/// What is asked of the inside of a child.
#[derive(Clone, Copy)]
enum Question {
    /// Whether an OMEMO envelope has a payload.
    Envelope,
    /// What a room's `<x/>` is.
    Room,
    /// What is fastened to another message.
    Fastened,
    /// What a fallback is for.
    Fallback,
}

fn answer(question: Question, child: &Element) -> Option<Finding> {
    let has = |name: &str| child.children().any(|inner| inner.name() == name);
    match question {
        // XEP-0384 §5.5.3: without a payload it manages the sessions of devices. They need it, a person does not.
        Question::Envelope => (!has("payload")).then_some(Finding::Companion),
        // XEP-0045 §7.8.2; anything else that it says (a role, a status) is the room's notice.
        Question::Room if has("invite") => Some(Finding::Invitation),
        Question::Room => child.children().next().map(|_| Finding::Companion),
        Question::Fastened => child.child("retract", ns::MESSAGE_RETRACT_0).map(|_| Finding::Retraction),
        // XEP-0428: without `for` it is for whatever is there.
        Question::Fallback => {
            let reactions = child.attribute("for").is_none_or(|namespace| namespace == ns::REACTIONS);
            reactions.then_some(Finding::ReactionsFallback)
        }
    }
}

impl Classification {
    /// Reads it off the index.
    pub fn of(message: &Stanza) -> Classification {
        let mut findings = Findings::default();
        for child in message.children() {
            let (namespace, name) = (child.namespace.as_bytes(), child.name.as_bytes());
            findings.see(namespace, name, |question| match question {
                // The one question that is asked of many a message, and of large ones: answered without a tree. A name that
                // merely looks like it makes a body of it, which is what envelopes usually are.
                Question::Envelope => {
                    let bytes = message.child_bytes(child);
                    let payload = bytes.windows(PAYLOAD.len()).rev().any(|window| window == PAYLOAD);
                    (!payload).then_some(Finding::Companion)
                }
                Question::Room | Question::Fastened | Question::Fallback => {
                    answer(question, &message.child_element(child)?)
                }
            });
        }
        findings.classification()
    }

    /// Reads it off a message that is inside another one (XEP-0297).
    pub fn of_element(message: &Element) -> Classification {
        let mut findings = Findings::default();
        for child in message.children() {
            let namespace = match child.namespace() {
                content if ns::is_content(content) => "",
                "" => ns::NO_NAMESPACE,
                namespace => namespace,
            };
            findings.see(namespace.as_bytes(), child.name().as_bytes(), |question| answer(question, child));
        }
        findings.classification()
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
        self.hints.store || self.content <= Content::Other
    }

    /// XEP-0313 §6.1.1: whether it belongs into the archive of an account that archives. What is worth keeping for
    /// somebody who is away is worth finding later, unless its sender forbids that; a room has an archive of its own.
    pub fn is_archived(self, message_type: MessageType) -> bool {
        self.is_kept(message_type) && !self.hints.no_permanent_store
    }

    /// The same, of an error that answers a message which was copied.
    #[must_use]
    pub fn answering_copied(self) -> Classification {
        Classification { conversational: Conversational::Yes, ..self }
    }

    /// XEP-0280 §6.1: whether other sessions of an account that takes part in it get copies. These are the rules of
    /// `urn:xmpp:carbons:rules:0` and nothing beside them, so that clients can count on them.
    pub fn is_copied(self, message_type: MessageType) -> bool {
        // §9, XEP-0334 §4.3.
        if self.hints.no_copy {
            return false;
        }
        // An invitation is copied whatever its type.
        let named = self.conversational == Conversational::Yes || self.content == Content::Invitation;
        match message_type {
            MessageType::Groupchat => false,
            MessageType::Chat => true,
            MessageType::Normal => named || self.conversational == Conversational::Written,
            // What an error brings back does not tell the type of the message that it answers: see `answering_copied`.
            MessageType::Headline | MessageType::Error => named,
        }
    }

    /// Whether a person would want to be woken for it (XEP-0357 leaves the choice to the server). What only tells about
    /// something that was said before can wait.
    pub fn is_waking(self, message_type: MessageType) -> bool {
        match message_type {
            // XEP-0353 §3.1: a call rings. What ends the ringing needs no waking: a device that rings is awake, and one
            // that was not reached in time finds both when it comes.
            MessageType::Chat | MessageType::Normal => self.content <= Content::Call,
            MessageType::Groupchat => self.content == Content::Body,
            MessageType::Headline | MessageType::Error => false,
        }
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
