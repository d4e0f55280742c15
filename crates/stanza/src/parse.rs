//! From a frame to a stanza: the one place where a peer's start tag becomes typed.

use crate::{
    ContentNamespace, Head, IqType, Kind, MessageType, PresenceType, Stanza, StanzaCondition, StanzaError, StanzaType,
    ns, payload,
};
use stonechat_jid::Jid;
use stonechat_xml::{Attribute, Frame, Framing, Item, Limits, Parser, Text};

/// What a first-level element of an established stream turned out to be.
#[derive(Debug)]
pub enum Accepted {
    /// A stanza.
    Stanza(Stanza),
    /// Not a stanza: a negotiation element (SASL, SM, dialback …) or something unknown.
    Other(Frame),
}

/// A stanza that could not be accepted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AcceptError {
    /// The sender gets this stanza error (already addressed), the stream goes on. `None` inside when the stanza may not be
    /// answered (it was an error or a result itself).
    #[error("refused: {error}")]
    Refused {
        /// Why.
        error: StanzaError,
        /// The reply to send back, its `to` the sender's own address when known.
        reply: Option<Box<Stanza>>,
    },
    /// The stored or literal bytes are not a stanza.
    #[error("not a stanza")]
    NotAStanza,
}

/// What was wrong with a start tag: the first of these that was found.
#[derive(Clone, Copy)]
enum Fault {
    Address,
    Type,
    NoId,
    Children,
}

impl Fault {
    fn to_error(self) -> StanzaError {
        match self {
            // RFC 6120 §8.3.3.8.
            Fault::Address => StanzaCondition::JidMalformed.into(),
            Fault::Type => StanzaError::new(StanzaCondition::BadRequest).with_text("Unknown type"),
            Fault::NoId => StanzaError::new(StanzaCondition::BadRequest).with_text("An IQ needs an id"),
            Fault::Children => {
                StanzaError::new(StanzaCondition::BadRequest).with_text("An IQ request has exactly one child")
            }
        }
    }
}

impl Accepted {
    /// Types a frame that came by a stream with this content namespace.
    ///
    /// Malformed `to`/`from` give `jid-malformed`; an IQ without id, with an unknown type, or a get/set without exactly one
    /// child gives `bad-request` (RFC 6120 §8.2.3); an unknown presence type gives `bad-request`; an unknown message type
    /// counts as normal. A payload that re-declares a content namespace on a direct child is rewritten, so that it means
    /// the same on every stream it leaves by.
    pub fn from_frame(frame: Frame, namespace: ContentNamespace) -> Result<Accepted, AcceptError> {
        let Some(kind) = kind_of(&frame, namespace) else {
            return Ok(Accepted::Other(frame));
        };
        let mut fault = None;
        let mut head = Head::new(match kind {
            Kind::Message => StanzaType::Message(MessageType::Normal),
            Kind::Presence => StanzaType::Presence(PresenceType::Available),
            Kind::Iq => StanzaType::Iq(IqType::Get),
        });
        let mut type_attribute = None;
        let mut other: Vec<Attribute> = Vec::new();
        for attribute in frame.attributes() {
            let name = attribute.name.as_bytes().as_ref();
            if attribute.namespace.as_bytes().is_empty() {
                match name {
                    b"to" => read_address(&attribute.value, &mut head.to, &mut fault),
                    b"from" => read_address(&attribute.value, &mut head.from, &mut fault),
                    b"type" => type_attribute = Some(&attribute.value),
                    b"id" => head.id = Some(attribute.value.clone()),
                    _ => other.push(attribute.clone()),
                }
            } else if name == b"lang" && attribute.namespace.as_bytes().as_ref() == ns::XML.as_bytes() {
                head.lang = Some(attribute.value.clone());
            } else {
                other.push(attribute.clone());
            }
        }
        if !other.is_empty() {
            head.other = Some(other.into_boxed_slice());
        }
        let stanza_type = read_type(kind, type_attribute);
        match stanza_type {
            Some(stanza_type) => head.stanza_type = stanza_type,
            None => fault = fault.or(Some(Fault::Type)),
        }
        if let StanzaType::Iq(iq_type) = head.stanza_type {
            // RFC 6120 §8.2.3: the id is required for all four types, one child for a request.
            if head.id.as_ref().is_none_or(|id| id.as_bytes().is_empty()) {
                fault = fault.or(Some(Fault::NoId));
            }
            if matches!(iq_type, IqType::Get | IqType::Set) && frame.children().len() != 1 {
                fault = fault.or(Some(Fault::Children));
            }
        }
        // Only what is known to be an error or a result goes unanswered; an unknown type is answered.
        let answerable = stanza_type.is_none_or(StanzaType::is_answerable);
        let (payload, children) = payload::from_frame(&frame, namespace.as_str());
        let stanza = Stanza { head, payload, children };
        match fault {
            None => Ok(Accepted::Stanza(stanza)),
            Some(fault) => {
                let error = fault.to_error();
                let reply = answerable.then(|| Box::new(stanza.error_reply_unchecked(&error)));
                Err(AcceptError::Refused { error, reply })
            }
        }
    }
}

fn kind_of(frame: &Frame, namespace: ContentNamespace) -> Option<Kind> {
    if frame.namespace().as_bytes().as_ref() != namespace.as_str().as_bytes() {
        return None;
    }
    match frame.name().as_bytes().as_ref() {
        b"message" => Some(Kind::Message),
        b"presence" => Some(Kind::Presence),
        b"iq" => Some(Kind::Iq),
        _ => None,
    }
}

fn read_address(value: &Text, into: &mut Option<Jid>, fault: &mut Option<Fault>) {
    match Jid::parse(value) {
        Ok(jid) => *into = Some(jid),
        Err(_) => *fault = Some(Fault::Address),
    }
}

/// `None` for a value that the kind does not have.
fn read_type(kind: Kind, value: Option<&Text>) -> Option<StanzaType> {
    match (kind, value) {
        (Kind::Message, None) => Some(StanzaType::Message(MessageType::Normal)),
        (Kind::Message, Some(value)) => Some(StanzaType::Message(MessageType::from_name(value))),
        (Kind::Presence, None) => Some(StanzaType::Presence(PresenceType::Available)),
        (Kind::Presence, Some(value)) => PresenceType::from_name(value).map(StanzaType::Presence),
        (Kind::Iq, None) => None,
        (Kind::Iq, Some(value)) => IqType::from_name(value).map(StanzaType::Iq),
    }
}

/// What was stored was accepted before, and may have grown since by what the server added.
const STORED: Limits = Limits { bytes: 16 * 1024 * 1024, depth: 128, ..Limits::SERVER };

impl Stanza {
    /// Parses a stored or literal stanza that stands by itself (default namespace `jabber:client` assumed when absent).
    pub fn parse(xml: &[u8]) -> Result<Stanza, AcceptError> {
        const HEADER: &[u8] =
            b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
        let mut parser = Parser::new(Framing::Stream, STORED);
        let mut header = HEADER;
        if !matches!(parser.next(&mut header), Ok(Some(Item::Header(_)))) {
            return Err(AcceptError::NotAStanza);
        }
        let mut input = xml;
        let mut frame = None;
        loop {
            match parser.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Item::Whitespace(_))) => {}
                Ok(Some(Item::Frame(found))) if frame.is_none() => frame = Some(found),
                Ok(Some(_)) | Err(_) => return Err(AcceptError::NotAStanza),
            }
        }
        let frame = frame.filter(|_| !parser.is_mid_element()).ok_or(AcceptError::NotAStanza)?;
        let namespace = match frame.namespace().as_str() {
            ns::CLIENT => ContentNamespace::Client,
            ns::SERVER => ContentNamespace::Server,
            ns::COMPONENT => ContentNamespace::Component,
            _ => return Err(AcceptError::NotAStanza),
        };
        match Accepted::from_frame(frame, namespace)? {
            Accepted::Stanza(stanza) => Ok(stanza),
            Accepted::Other(_) => Err(AcceptError::NotAStanza),
        }
    }
}
