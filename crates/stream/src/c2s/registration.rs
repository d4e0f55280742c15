//! In-band registration before authentication (XEP-0077), and the features of extensions in that phase. Every other
//! stanza before authentication ends the stream.

use super::Event;
use super::machine::{C2s, State};
use super::negotiation::{Row, too_early};
use super::sasl::{Permitted, may_authenticate};
use crate::{Phase, Registration};
use std::time::Instant;
use stonechat_stanza::{AcceptError, Accepted, ContentNamespace, IqType, StanzaType, StreamCondition, ns};
use stonechat_xml::{Element, Frame};

pub(super) const ROW: Row = Row { phase: Phase::BeforeAuthentication, advertise, take: Some((ns::CLIENT, take)) };

fn advertise(stream: &C2s, features: &mut Vec<Element>) {
    if let (Permitted::Yes, Some(domain)) = (may_authenticate(stream), &stream.domain) {
        features.extend(stream.config.features.features(Phase::BeforeAuthentication, domain));
    }
}

fn take(stream: &mut C2s, now: Instant, frame: Frame) {
    let offered = matches!(stream.state, State::Negotiating)
        && may_authenticate(stream) == Permitted::Yes
        && stream.config.features.registration() == Registration::Offered;
    let Some(domain) = stream.domain.clone().filter(|_| offered && &**frame.name() == "iq") else {
        return stream.end_with(now, too_early(&frame));
    };
    match Accepted::from_frame(frame, ContentNamespace::Client) {
        Ok(Accepted::Stanza(stanza))
            if stanza.has_child("query", ns::REGISTER)
                && matches!(stanza.stanza_type(), StanzaType::Iq(IqType::Get | IqType::Set)) =>
        {
            stream.tell(Event::Register(domain, stanza));
        }
        Err(AcceptError::Refused { reply: Some(reply), .. }) => {
            reply.write(ContentNamespace::Client, &mut stream.wire.out);
        }
        _ => stream.end_with(now, StreamCondition::NotAuthorized),
    }
}
