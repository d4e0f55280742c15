//! What is done with a peer's stanza before anybody else sees it: its addresses are held against the pairs proved on this
//! stream (RFC 6120 §8.1.2.2), and what only we may say is cut (P5).

use super::machine::S2sIn;
use super::{Event, management};
use crate::HostStatus;
use crate::forged::{Origin, cut};
use std::time::Instant;
use stonechat_stanza::{AcceptError, Accepted, ContentNamespace, Stanza, StreamCondition};
use stonechat_xml::Frame;

pub(super) fn take(stream: &mut S2sIn, now: Instant, frame: Frame) {
    if stream.pairs.proved().next().is_none() {
        // Abuse case 128
        return stream.end_with(now, StreamCondition::NotAuthorized);
    }
    match Accepted::from_frame(frame, ContentNamespace::Server) {
        Ok(Accepted::Stanza(mut stanza)) => match check(stream, &stanza, Seen::AsSent) {
            Ok(()) => {
                management::count(stream);
                // RFC 6120 §8.1.5
                if stanza.head().lang.is_none() {
                    stanza.head_mut().lang = stream.lang.clone();
                }
                let stanza = cut(stanza, Origin::Server, &*stream.config.hosts);
                stream.events.push_back(Event::Stanza(stanza));
            }
            Err(condition) => stream.end_with(now, condition),
        },
        Ok(Accepted::Other(_)) | Err(AcceptError::NotAStanza) => {
            stream.end_with(now, StreamCondition::UnsupportedStanzaType);
        }
        Err(AcceptError::Refused { reply: Some(reply), .. }) => match check(stream, &reply, Seen::Answered) {
            Ok(()) => {
                management::count(stream);
                stream.events.push_back(Event::Bounce(*reply));
            }
            Err(condition) => stream.end_with(now, condition),
        },
        // What is malformed and may not be answered goes nowhere.
        Err(AcceptError::Refused { reply: None, .. }) => management::count(stream),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    AsSent,
    /// As its answer, which has the addresses swapped.
    Answered,
}

fn check(stream: &S2sIn, stanza: &Stanza, seen: Seen) -> Result<(), StreamCondition> {
    let (from, to) = match seen {
        Seen::AsSent => (stanza.from(), stanza.to()),
        Seen::Answered => (stanza.to(), stanza.from()),
    };
    // RFC 6120 §4.9.3.7: both are there, and well-formed.
    let (Some(from), Some(to)) = (from, to) else { return Err(StreamCondition::ImproperAddressing) };
    let mut of_sender = stream.pairs.proved().filter(|(proved, _)| proved.as_str() == from.domain()).peekable();
    if of_sender.peek().is_none() {
        return Err(StreamCondition::InvalidFrom);
    }
    if of_sender.any(|(_, proved)| proved.as_str() == to.domain()) {
        return Ok(());
    }
    Err(match stream.config.hosts.status(&to.to_domain()) {
        // Proved for another of our domains, and not for this one.
        HostStatus::Served => StreamCondition::InvalidFrom,
        HostStatus::Gone => StreamCondition::HostGone,
        HostStatus::Unknown => StreamCondition::HostUnknown,
    })
}
