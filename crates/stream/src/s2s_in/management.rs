//! Acknowledgements to the initiating server (XEP-0198): it is told how many of its stanzas are safe here.
//!
//! The machine counts what it takes; that it is safe only the router knows, so that answers come from there. Resumption is
//! not offered: whoever has to open a new stream sends on it what was not acknowledged.

use super::Event;
use super::machine::S2sIn;
use crate::acknowledge;
use std::time::Instant;
use stonechat_stanza::{StanzaCondition, StreamCondition, ns};
use stonechat_xml::{Element, Frame};

/// Whether stanzas are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    Off,
    /// So many came, modulo 2³².
    On(u32),
}

pub(super) fn feature() -> Element {
    Element::new("sm", ns::SM)
}

/// A stanza of a proved pair was taken, whatever becomes of it.
pub(super) fn count(stream: &mut S2sIn) {
    if let Counting::On(taken) = &mut stream.counting {
        *taken = taken.wrapping_add(1);
    }
}

pub(super) fn take(stream: &mut S2sIn, now: Instant, frame: &Frame) {
    let proved = stream.pairs.proved().next().is_some();
    match (&**frame.name(), stream.counting) {
        ("enable", Counting::Off) if proved => {
            stream.counting = Counting::On(0);
            write(stream, &Element::new("enabled", ns::SM));
        }
        ("r", Counting::On(taken)) => stream.events.push_back(Event::AcknowledgementRequested(taken)),
        // Nothing is sent on this stream that could be acknowledged.
        ("a", Counting::On(_)) => match frame.attribute("h").and_then(|h| acknowledge::read_count(h)) {
            Some(0) => {}
            Some(h) => {
                let (error, element) = acknowledge::too_much(h, 0);
                stream.end_saying(error, Some(&element));
            }
            None => refuse(stream, StanzaCondition::BadRequest),
        },
        ("resume", _) if proved => refuse(stream, StanzaCondition::ItemNotFound),
        // XEP-0198 §3: too early, or twice; such errors end nothing.
        ("enable" | "resume" | "a" | "r", _) => refuse(stream, StanzaCondition::UnexpectedRequest),
        _ => stream.end_with(now, StreamCondition::UnsupportedStanzaType),
    }
}

/// So many are safe (XEP-0198 §4).
pub(super) fn acknowledge(stream: &mut S2sIn, h: u32) {
    if let (Counting::On(_), true) = (stream.counting, stream.is_open()) {
        write(stream, &acknowledge::answer(h));
    }
}

fn refuse(stream: &mut S2sIn, condition: StanzaCondition) {
    write(stream, &acknowledge::failed(condition, None));
}

fn write(stream: &mut S2sIn, element: &Element) {
    element.write(&mut stream.wire.out, ns::SERVER);
}
