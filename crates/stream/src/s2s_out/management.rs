//! Acknowledgements from the receiving server (XEP-0198): of which stanzas it says that it has them.
//!
//! They are asked for when the first local domain is proved, and [`Event::Ready`] waits for the answer. The machine counts;
//! which stanzas those were is known to whoever sent them. Resumption is not asked for: what was not acknowledged is sent
//! on the next stream, by the same rule as what was not written.

use super::machine::S2sOut;
use super::{Ended, Event};
use crate::{Step, acknowledge};
use std::time::Instant;
use stonechat_jid::Domain;
use stonechat_stanza::{StreamCondition, ns};
use stonechat_xml::{Element, Frame};

/// How far acknowledgements are agreed on.
#[derive(Debug)]
pub(super) enum Counting {
    /// The peer does not offer them, or refused.
    No,
    /// The peer offers them.
    Offered,
    /// Asked for. Domains that were proved meanwhile wait.
    Asked { until: Instant, proved: Vec<Domain> },
    /// Numbers are modulo 2³².
    On {
        sent: u32,
        acknowledged: u32,
        /// Until when the peer has to answer, when it was asked.
        until: Option<Instant>,
    },
}

/// When a stanza counts as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// When it was written: there is no more to be known.
    WhenWritten,
    /// When [`Event::Acknowledged`] covers it.
    WhenAcknowledged,
}

/// A local domain was proved: it is ready, now or when the peer has said whether it acknowledges.
pub(super) fn proved(stream: &mut S2sOut, now: Instant, local: Domain) {
    match &mut stream.counting {
        Counting::No | Counting::On { .. } => stream.events.push_back(Event::Ready(local)),
        Counting::Asked { proved, .. } => proved.push(local),
        Counting::Offered => {
            Element::new("enable", ns::SM).write(&mut stream.wire.out, ns::SERVER);
            let until = now.checked_add(stream.config.limits.dialback).unwrap_or(now);
            stream.counting = Counting::Asked { until, proved: vec![local] };
        }
    }
}

fn decide(stream: &mut S2sOut, becomes: Counting) {
    if let Counting::Asked { proved, .. } = std::mem::replace(&mut stream.counting, becomes) {
        stream.events.extend(proved.into_iter().map(Event::Ready));
    }
}

pub(super) fn take(stream: &mut S2sOut, frame: &Frame) {
    match (&**frame.name(), &mut stream.counting) {
        ("enabled", Counting::Asked { .. }) => {
            stream.note(Step::Acknowledges);
            decide(stream, Counting::On { sent: 0, acknowledged: 0, until: None });
        }
        ("failed", Counting::Asked { .. }) => decide(stream, Counting::No),
        // A refusal of something else, or one that came too late.
        ("failed", _) => {}
        ("a", Counting::On { sent, acknowledged, until }) => {
            let Some(h) = frame.attribute("h").and_then(|h| acknowledge::read_count(h)) else {
                return stream.end_with(StreamCondition::BadFormat);
            };
            let new = h.wrapping_sub(*acknowledged);
            if new > sent.wrapping_sub(*acknowledged) {
                let (error, element) = acknowledge::too_much(h, *sent);
                return stream.end_saying(error, Some(&element));
            }
            *acknowledged = h;
            *until = None;
            if new > 0 {
                stream.events.push_back(Event::Acknowledged(new));
            }
        }
        // Nothing comes on this stream that could be handled.
        ("r", Counting::On { .. }) => acknowledge::answer(0).write(&mut stream.wire.out, ns::SERVER),
        _ => stream.end_with(StreamCondition::UnsupportedStanzaType),
    }
}

/// A stanza was written.
pub(super) fn count(stream: &mut S2sOut) {
    if let Counting::On { sent, .. } = &mut stream.counting {
        *sent = sent.wrapping_add(1);
    }
}

/// Asks the peer what it has, unless it was asked already or there is nothing to ask about.
pub(super) fn request(stream: &mut S2sOut, now: Instant) {
    let limit = stream.config.limits.acknowledgement;
    if let Counting::On { sent, acknowledged, until: until @ None } = &mut stream.counting
        && *sent != *acknowledged
    {
        *until = now.checked_add(limit);
        Element::new("r", ns::SM).write(&mut stream.wire.out, ns::SERVER);
    }
}

pub(super) fn deadline(counting: &Counting) -> Option<Instant> {
    match counting {
        Counting::Asked { until, .. } => Some(*until),
        Counting::On { until, .. } => *until,
        Counting::No | Counting::Offered => None,
    }
}

/// The peer did not answer in time.
pub(super) fn time_out(stream: &mut S2sOut) {
    match stream.counting {
        // It offers what it does not do; so did everybody once.
        Counting::Asked { .. } => decide(stream, Counting::No),
        _ => stream.give_up(StreamCondition::ConnectionTimeout, Ended::Unacknowledged),
    }
}
