//! STARTTLS (RFC 6120 §5).

use super::machine::{C2s, Security, State};
use super::negotiation::Row;
use super::{Event, Transport};
use crate::Phase;
use std::time::Instant;
use stonechat_stanza::{StreamCondition, ns};
use stonechat_xml::{Element, Frame};

pub(super) const ROW: Row = Row { phase: Phase::BeforeAuthentication, advertise, take: Some((ns::TLS, take)) };

fn advertise(stream: &C2s, features: &mut Vec<Element>) {
    if matches!(stream.security, Security::Tls(_)) {
        return;
    }
    let starttls = Element::new("starttls", ns::TLS);
    features.push(match stream.config.transport {
        Transport::StartTls => starttls.with_child(Element::new("required", ns::TLS)),
        Transport::StartTlsOptional | Transport::DirectTls => starttls,
    });
}

fn take(stream: &mut C2s, now: Instant, frame: Frame) {
    if &**frame.name() != "starttls" {
        return stream.end_with(now, StreamCondition::UnsupportedStanzaType);
    }
    match (&stream.domain, &stream.security, &stream.state) {
        (Some(domain), Security::Clear, State::Negotiating) => {
            let domain = domain.clone();
            stream.wire.out.extend_from_slice(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
            stream.state = State::Securing;
            stream.tell(Event::StartTls(domain));
        }
        _ => {
            // RFC 6120 §5.4.2.2: a failure, and the stream is closed.
            stream.wire.out.extend_from_slice(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
            stream.close(now);
        }
    }
}
