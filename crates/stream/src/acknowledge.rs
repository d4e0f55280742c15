//! What is said of acknowledgements on any stream (XEP-0198): its elements, and its counts, which are modulo 2³².

use stonechat_stanza::{StanzaCondition, StreamCondition, StreamError, ns};
use stonechat_xml::Element;

/// An `xs:unsignedInt`.
pub(crate) fn read_count(text: &str) -> Option<u32> {
    read_digits(text)?.parse().ok()
}

/// The digits of an unsigned number.
pub(crate) fn read_digits(text: &str) -> Option<&str> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// `<a/>` (XEP-0198 §4).
pub(crate) fn answer(h: u32) -> Element {
    Element::new("a", ns::SM).with_attribute("h", h.to_string())
}

/// `<failed/>` (XEP-0198 §6).
pub(crate) fn failed(condition: StanzaCondition, h: Option<u32>) -> Element {
    Element::new("failed", ns::SM)
        .with_attribute_if("h", h.map(|h| h.to_string()))
        .with_child(Element::new(condition.name(), ns::STANZA_ERRORS))
}

/// More was acknowledged than was sent (XEP-0198 §6): the stream error, and what says more of it.
pub(crate) fn too_much(h: u32, sent: u32) -> (StreamError, Element) {
    let text = format!("You acknowledged {h} stanzas, but were sent {sent}.");
    let element = Element::new("handled-count-too-high", ns::SM)
        .with_attribute("h", h.to_string())
        .with_attribute("send-count", sent.to_string());
    (StreamError::new(StreamCondition::UndefinedCondition).with_text(text), element)
}
