//! How streams end (RFC 6120 §4.4, §4.9).

use std::time::Duration;
use stonechat_stanza::{StreamCondition, StreamError, ns};
use stonechat_xml::{Element, Frame};

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The peer closed its direction properly, and was answered, or answered us. Only this, on a client's stream, ends a
    /// session that can be resumed (XEP-0198 §7): whatever else ends the stream leaves the session to be taken up again.
    /// (A stream between servers says so too when the peer did not answer our closing.)
    Cleanly,
    /// We closed it without an error, and the client did not close its own direction.
    Unanswered,
    /// We ended it with an error.
    ByUs(StreamError),
    /// The peer ended it with an error.
    ByPeer(StreamError),
    /// The connection went away.
    Lost,
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = |f: &mut std::fmt::Formatter<'_>, who: &str, error: &StreamError| {
            write!(f, "{who} ended the stream: {error}")?;
            match &error.text {
                Some(text) => write!(f, " ({text})"),
                None => Ok(()),
            }
        };
        match self {
            Closed::Cleanly => f.write_str("the stream was closed"),
            Closed::Unanswered => f.write_str("we closed the stream, and the peer never did"),
            Closed::ByUs(error) => told(f, "we", error),
            Closed::ByPeer(error) => told(f, "the peer", error),
            Closed::Lost => f.write_str("the connection was lost"),
        }
    }
}

/// What a peer says when it ends a stream: `<stream:error/>` (RFC 6120 §4.9).
pub(crate) fn peer_error(frame: &Frame) -> Option<StreamError> {
    if !frame.is("error", ns::STREAM) {
        return None;
    }
    let element = frame.to_element().ok()?;
    let of_streams = |element: &&Element| element.namespace() == ns::STREAM_ERRORS;
    let condition = element
        .children()
        .filter(of_streams)
        .find_map(|child| StreamCondition::from_name(child.name()))
        .unwrap_or(StreamCondition::UndefinedCondition);
    let error = StreamError::new(condition);
    Some(match element.child("text", ns::STREAM_ERRORS) {
        Some(text) => error.with_text(printable(&text.text())),
        None => error,
    })
}

/// A peer's words end in logs and on terminals, and are not for terminals to obey.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How long the peer may take to close its direction after we closed ours (RFC 6120 §4.4).
pub(crate) const CLOSING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use stonechat_xml::{Framing, Item, Limits, Parser};

    fn told(inner: &str) -> Option<StreamError> {
        let xml = format!(
            "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\
             <stream:error>{inner}</stream:error>"
        );
        let mut parser = Parser::new(Framing::Stream, Limits::CLIENT);
        let mut rest = xml.as_bytes();
        loop {
            match parser.next(&mut rest).unwrap().unwrap() {
                Item::Frame(frame) => return peer_error(&frame),
                _ => continue,
            }
        }
    }

    #[test]
    fn rfc6120_4_9_2_the_condition_and_its_text() {
        let error = told(
            "<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>gone</text>\
             <host-gone xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><app xmlns='urn:x'/>",
        )
        .unwrap();
        assert_eq!((error.condition, error.text.as_deref()), (StreamCondition::HostGone, Some("gone")));
        assert_eq!(told("<new-one xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>").unwrap().condition, {
            StreamCondition::UndefinedCondition
        });
        assert_eq!(told("").unwrap().condition, StreamCondition::UndefinedCondition);
    }

    #[test]
    fn what_a_peer_says_does_not_drive_a_terminal() {
        let long = "x".repeat(1_000);
        let error = told(&format!(
            "<conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>a\u{9b}31m\nb{long}</text>"
        ))
        .unwrap();
        let text = error.text.unwrap();
        assert!(text.starts_with("a 31m bxxx"), "{text}");
        assert_eq!(text.chars().count(), 200);
    }
}
