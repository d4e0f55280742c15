//! Every namespace name the server knows, once.

#![allow(missing_docs, reason = "each constant is its own documentation")]

/// Stands in [`crate::ChildRef::namespace`] for a child in no namespace (`xmlns=''`), because the empty text means the
/// content namespace there. It is no namespace that anything is defined in.
pub const NO_NAMESPACE: &str = "#no-namespace";

/// Whether a namespace name is the content namespace of some kind of stream (RFC 6120 §4.8.2, XEP-0114).
pub fn is_content(namespace: &str) -> bool {
    matches!(namespace, CLIENT | SERVER | COMPONENT)
}

pub const CLIENT: &str = "jabber:client";
pub const SERVER: &str = "jabber:server";
pub const COMPONENT: &str = "jabber:component:accept";
pub const STREAM: &str = "http://etherx.jabber.org/streams";
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
pub const SASL_CB: &str = "urn:xmpp:sasl-cb:0";
pub const SASL2: &str = "urn:xmpp:sasl:2";
pub const SASL_UPGRADE: &str = "urn:xmpp:sasl:upgrade:0";
pub const SCRAM_UPGRADE: &str = "urn:xmpp:scram-upgrade:0";
pub const FAST: &str = "urn:xmpp:fast:0";
pub const PIPELINING: &str = "urn:xmpp:iap:0";
pub const BIND2: &str = "urn:xmpp:bind:0";
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
pub const DIALBACK: &str = "jabber:server:dialback";
pub const DIALBACK_FEATURE: &str = "urn:xmpp:features:dialback";
pub const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
pub const LIMITS: &str = "urn:xmpp:stream-limits:0";
pub const ROSTER: &str = "jabber:iq:roster";
pub const ROSTER_VERSIONING: &str = "urn:xmpp:features:rosterver";
pub const PRE_APPROVAL: &str = "urn:xmpp:features:pre-approval";
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
pub const CAPS: &str = "http://jabber.org/protocol/caps";
pub const LAST: &str = "jabber:iq:last";
pub const PRIVATE: &str = "jabber:iq:private";
pub const VCARD: &str = "vcard-temp";
pub const REGISTER: &str = "jabber:iq:register";
pub const REGISTER_FEATURE: &str = "http://jabber.org/features/iq-register";
pub const VERSION: &str = "jabber:iq:version";
pub const PING: &str = "urn:xmpp:ping";
pub const TIME: &str = "urn:xmpp:time";
pub const DELAY: &str = "urn:xmpp:delay";
pub const DATA_FORMS: &str = "jabber:x:data";
pub const SERVER_INFO: &str = "http://jabber.org/network/serverinfo";
pub const HINTS: &str = "urn:xmpp:hints";
pub const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
pub const RECEIPTS: &str = "urn:xmpp:receipts";
pub const SM: &str = "urn:xmpp:sm:3";
pub const CSI: &str = "urn:xmpp:csi:0";
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// XEP-0280 §6.2
pub const CARBONS_RULES: &str = "urn:xmpp:carbons:rules:0";
pub const FORWARD: &str = "urn:xmpp:forward:0";
pub const STANZA_ID: &str = "urn:xmpp:sid:0";
pub const MAM: &str = "urn:xmpp:mam:2";
pub const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0";
pub const CHAT_MARKERS: &str = "urn:xmpp:chat-markers:0";
pub const CONFERENCE: &str = "jabber:x:conference";
pub const EXPLICIT_ENCRYPTION: &str = "urn:xmpp:eme:0";
pub const NICK: &str = "http://jabber.org/protocol/nick";
pub const OUT_OF_BAND: &str = "jabber:x:oob";
pub const JINGLE_MESSAGE: &str = "urn:xmpp:jingle-message:0";
pub const MESSAGE_CORRECT: &str = "urn:xmpp:message-correct:0";
pub const MESSAGE_RETRACT: &str = "urn:xmpp:message-retract:1";
pub const MESSAGE_RETRACT_0: &str = "urn:xmpp:message-retract:0";
pub const FASTEN: &str = "urn:xmpp:fasten:0";
pub const FALLBACK: &str = "urn:xmpp:fallback:0";
pub const CALL_INVITES: &str = "urn:xmpp:call-invites:0";
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
pub const OMEMO_AXOLOTL: &str = "eu.siacs.conversations.axolotl";
pub const OMEMO: &str = "urn:xmpp:omemo:2";
pub const OPENPGP: &str = "urn:xmpp:openpgp:0";
pub const PGP_ENCRYPTED: &str = "jabber:x:encrypted";
pub const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";
pub const REACTIONS: &str = "urn:xmpp:reactions:0";
pub const MESSAGE_EVENT: &str = "jabber:x:event";
pub const REAL_TIME_TEXT: &str = "urn:xmpp:rtt:0";
pub const ROOM_ACTIVITY: &str = "urn:xmpp:rai:0";
pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
pub const PUSH: &str = "urn:xmpp:push:0";
pub const PUSH_SUMMARY: &str = "urn:xmpp:push:summary";
pub const BLOCKING: &str = "urn:xmpp:blocking";
pub const BLOCKING_ERRORS: &str = "urn:xmpp:blocking:errors";
pub const RSM: &str = "http://jabber.org/protocol/rsm";
pub const CLIENT_ACCESS: &str = "urn:xmpp:cam:0";
pub const REPORTING: &str = "urn:xmpp:reporting:1";
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
