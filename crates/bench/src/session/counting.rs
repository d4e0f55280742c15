//! The client's half of stream management (XEP-0198): it counts what it is sent and answers the server's requests.

use std::sync::Arc;

use crate::Result;
use crate::framing::{attribute, name};
use crate::link::Link;

const SM: &str = "urn:xmpp:sm:3";

/// What is counted on one stream.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    /// Stanzas received: our `h`.
    received: u32,
    /// With which the session is resumed.
    pub(crate) id: Option<String>,
}

/// What an element of the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stanza,
    /// It belongs to stream management, and was dealt with.
    Management,
}

/// Whether a session whose stanzas are counted may be resumed. A server that loses nothing keeps what it sends such a
/// session until that is acknowledged, so the two cost differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continuity {
    EndsWithItsLink,
    Resumable,
}

/// Asks for stream management.
pub(crate) fn enable(continuity: Continuity) -> String {
    match continuity {
        Continuity::EndsWithItsLink => format!("<enable xmlns='{SM}'/>"),
        Continuity::Resumable => format!("<enable xmlns='{SM}' resume='true'/>"),
    }
}

/// Asks how many stanzas the server has taken.
pub(crate) fn request() -> String {
    format!("<r xmlns='{SM}'/>")
}

impl Counting {
    /// From `<enabled/>`.
    pub(crate) fn enabled(element: &[u8]) -> Result<Self> {
        let id = attribute(element, "id").map(|id| String::from_utf8(id.to_vec())).transpose()?;
        Ok(Self { received: 0, id })
    }

    /// The element that resumes this session.
    pub(crate) fn resume(&self) -> Result<String> {
        let id = self.id.as_deref().ok_or("the server does not let this session be resumed")?;
        Ok(format!("<resume xmlns='{SM}' h='{}' previd='{id}'/>", self.received))
    }

    /// Takes an element: counts a stanza, answers a request.
    pub(crate) fn take(&mut self, element: &[u8], link: &Arc<Link>) -> Result<Kind> {
        match name(element) {
            b"message" | b"presence" | b"iq" => {
                self.received = self.received.wrapping_add(1);
                Ok(Kind::Stanza)
            }
            b"r" => {
                link.send(format!("<a xmlns='{SM}' h='{}'/>", self.received).as_bytes())?;
                Ok(Kind::Management)
            }
            _ => Ok(Kind::Management),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_may_be_resumed_has_a_name() {
        let counting = Counting::enabled(b"<enabled xmlns='urn:xmpp:sm:3' id='x7' resume='true'/>").unwrap();
        assert!(enable(Continuity::Resumable).contains("resume='true'"));
        assert!(!enable(Continuity::EndsWithItsLink).contains("resume"));
        assert_eq!(counting.resume().unwrap(), "<resume xmlns='urn:xmpp:sm:3' h='0' previd='x7'/>");
        assert!(Counting::enabled(b"<enabled xmlns='urn:xmpp:sm:3'/>").unwrap().resume().is_err());
    }
}
