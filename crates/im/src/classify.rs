//! What a message is, read off its child index alone: names and namespaces, no trees.

use stonechat_stanza::{MessageType, Stanza, StanzaType, ns};

/// XEP-0334 hints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `<no-store/>`: kept nowhere.
    pub no_store: bool,
    /// `<no-permanent-store/>`: not in the archive; offline is permitted.
    pub no_permanent_store: bool,
    /// `<no-copy/>`: no carbons.
    pub no_copy: bool,
    /// `<store/>`: kept even without a body.
    pub store: bool,
}

/// What the message is for, the weightiest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A body, or something encrypted that stands for one.
    Body,
    /// An invitation to a room, to be kept for who is away.
    Invitation,
    /// XEP-0353: a call that rings.
    Call,
    /// A receipt, a marker, a reaction, a retraction: no body, yet part of the conversation.
    Companion,
    /// Chat states alone, or nothing at all: worth nothing later.
    Transient,
    /// Payload of an extension without a body.
    Other,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classification {
    /// What it is for.
    pub content: Content,
    /// Hints of its sender.
    pub hints: Hints,
}

impl Classification {
    /// Reads it off the index.
    pub fn of(message: &Stanza) -> Classification {
        let mut hints = Hints::default();
        let mut content: Option<Content> = None;
        let mut raise = |found: Content| {
            if content.is_none_or(|known| rank(found) < rank(known)) {
                content = Some(found);
            }
        };
        for child in message.children() {
            let (namespace, name) = (&*child.namespace, &*child.name);
            match (namespace, name) {
                ("", "body") => raise(Content::Body),
                ("", _) => {}
                (ns::HINTS, "no-store") => hints.no_store = true,
                (ns::HINTS, "no-permanent-store") => hints.no_permanent_store = true,
                (ns::HINTS, "no-copy") => hints.no_copy = true,
                (ns::HINTS, "store") => hints.store = true,
                (ns::HINTS, _) => {}
                (ns::CHAT_STATES, _) => raise(Content::Transient),
                // XEP-0384 old and new, XEP-0373, XEP-0027: an encrypted body counts as a body (XEP-0380).
                ("eu.siacs.conversations.axolotl" | "urn:xmpp:omemo:2" | "urn:xmpp:omemo:1", "encrypted")
                | ("urn:xmpp:openpgp:0", "openpgp")
                | ("jabber:x:encrypted", "x") => raise(Content::Body),
                // XEP-0066: a picture without a body is content (specs: 0066).
                ("jabber:x:oob", "x") => raise(Content::Body),
                ("jabber:x:conference", "x") => raise(Content::Invitation),
                ("http://jabber.org/protocol/muc#user", "x") => raise(Content::Invitation),
                (namespace, _) if namespace.starts_with("urn:xmpp:jingle-message:") => raise(Content::Call),
                (ns::RECEIPTS, "received") => raise(Content::Companion),
                (namespace, "received" | "displayed" | "acknowledged")
                    if namespace.starts_with("urn:xmpp:chat-markers:") =>
                {
                    raise(Content::Companion);
                }
                (namespace, "reactions") if namespace.starts_with("urn:xmpp:reactions:") => raise(Content::Companion),
                (namespace, "retract") if namespace.starts_with("urn:xmpp:message-retract:") => {
                    raise(Content::Companion);
                }
                // What only accompanies another payload says nothing by itself.
                (ns::RECEIPTS, _) | (ns::STANZA_ID, _) | (ns::DELAY, _) => {}
                _ => raise(Content::Other),
            }
        }
        Classification { content: content.unwrap_or(Content::Transient), hints }
    }

    /// XEP-0160 §3: whether it is kept for somebody who is away.
    pub fn is_kept(self, message_type: MessageType) -> bool {
        match message_type {
            MessageType::Groupchat | MessageType::Headline | MessageType::Error => return false,
            MessageType::Chat | MessageType::Normal => {}
        }
        if self.hints.no_store {
            return false;
        }
        if self.hints.store {
            return true;
        }
        match self.content {
            Content::Body | Content::Invitation | Content::Call | Content::Companion => true,
            // XEP-0160 §3: "normal" messages are kept whatever they carry; a "chat" message without content is not.
            Content::Other => true,
            Content::Transient => false,
        }
    }
}

fn rank(content: Content) -> u8 {
    match content {
        Content::Body => 0,
        Content::Invitation => 1,
        Content::Call => 2,
        Content::Companion => 3,
        Content::Other => 4,
        Content::Transient => 5,
    }
}

/// The type of a message stanza; `normal` for anything else.
pub fn message_type(stanza: &Stanza) -> MessageType {
    match stanza.stanza_type() {
        StanzaType::Message(message_type) => message_type,
        StanzaType::Presence(_) | StanzaType::Iq(_) => MessageType::Normal,
    }
}
