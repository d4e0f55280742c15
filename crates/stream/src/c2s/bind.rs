//! Resource binding (RFC 6120 §7), and the session establishment of RFC 3921 §3, which has nothing to do.

use super::machine::{C2s, Request, State};
use super::management::Counting;
use super::negotiation::{Row, too_early};
use super::{Event, sasl2};
use crate::{Phase, Token};
use std::time::Instant;
use stonechat_jid::FullJid;
use stonechat_stanza::{
    AcceptError, Accepted, ContentNamespace, IqType, Stanza, StanzaError, StanzaType, StreamCondition, ns,
};
use stonechat_xml::{Element, Frame};

pub(super) const ROW: Row = Row { phase: Phase::AfterAuthentication, advertise, take: Some((ns::CLIENT, take)) };

/// Not to whom the log-in has bound a resource.
fn advertise(stream: &C2s, features: &mut Vec<Element>) {
    if matches!(stream.state, State::Bound { .. }) {
        return;
    }
    features.push(Element::new("bind", ns::BIND));
    features.push(Element::new("session", ns::SESSION).with_child(Element::new("optional", ns::SESSION)));
}

fn take(stream: &mut C2s, now: Instant, frame: Frame) {
    let early = too_early(&frame);
    let stanza = match Accepted::from_frame(frame, ContentNamespace::Client) {
        Ok(Accepted::Stanza(stanza)) => stanza,
        Ok(Accepted::Other(_)) | Err(AcceptError::NotAStanza) => return stream.end_with(now, early),
        Err(AcceptError::Refused { reply, .. }) => {
            if let Some(reply) = reply {
                reply.write(ContentNamespace::Client, &mut stream.wire.out);
            }
            return;
        }
    };
    let State::Binding { account, request } = &mut stream.state else { return };
    let is_set = stanza.stanza_type() == StanzaType::Iq(IqType::Set);
    // RFC 6120 §7.1, abuse case 32: before a resource is bound, only the server and the account itself are there.
    let to_server =
        stanza.to().is_none_or(|to| (to.is_domain() && to.domain() == account.domain()) || to == account.as_jid());
    if is_set && to_server && stanza.has_child("bind", ns::BIND) {
        let resource =
            stanza.child("bind", ns::BIND).and_then(|bind| bind.child("resource", ns::BIND).map(Element::text));
        // RFC 6120 §7.7: nothing in it is no wish.
        let resource = resource.filter(|resource| !resource.is_empty());
        let token = stream.tokens.next();
        *request = Some(Request::Bind(token, Box::new(stanza)));
        let account = account.clone();
        stream.tell(Event::Bind(token, account, resource));
    } else if is_set && to_server && stanza.has_child("session", ns::SESSION) {
        answer(stream, stanza.iq_result(None));
    } else {
        stream.end_with(now, StreamCondition::NotAuthorized);
    }
}

/// An answer of the stream itself comes from nobody else (RFC 6120 §8.1.2.1).
pub(super) fn from_the_stream(mut reply: Stanza) -> Stanza {
    reply.head_mut().from = None;
    reply
}

fn answer(stream: &mut C2s, reply: Stanza) {
    from_the_stream(reply).write(ContentNamespace::Client, &mut stream.wire.out);
}

fn answered(stream: &mut C2s, token: Token) -> Option<Stanza> {
    let State::Binding { request, .. } = &mut stream.state else { return None };
    match request.take_if(|request| matches!(request, Request::Bind(asked, _) if *asked == token)) {
        Some(Request::Bind(_, stanza)) => Some(*stanza),
        _ => None,
    }
}

pub(super) fn bound(stream: &mut C2s, token: Token, jid: FullJid) {
    let Some(request) = answered(stream, token) else { return };
    // RFC 6120 §7.6.1
    let bound = Element::new("bind", ns::BIND).with_child(Element::new("jid", ns::BIND).with_text(jid.as_str()));
    answer(stream, request.iq_result(Some(bound)));
    stream.establish(jid, Counting::Off);
}

pub(super) fn refused(stream: &mut C2s, token: Token, error: &StanzaError) {
    if matches!(stream.state, State::LoggingIn(_)) {
        return sasl2::bind_refused(stream, token, error.condition);
    }
    if let Some(reply) = answered(stream, token).and_then(|request| request.error_reply(error)) {
        answer(stream, reply);
    }
}
