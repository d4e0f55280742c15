//! Base64 as XMPP carries it (RFC 6120 §6.3.8, §6.4.2): strict, no white space, `=` for an empty message.
//!
//! Strict means RFC 4648 §3 and §4 to the letter: the standard alphabet, padding present, unused bits zero. A message
//! has one encoding, so what was signed and what was sent cannot differ in spelling.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Decodes the text of `<auth/>` or `<response/>`; a lone `=` is the empty message. `None` for anything malformed
/// (`incorrect-encoding`).
///
/// Empty text decodes to the empty message as well: that is what an empty `<response/>` means. Whoever reads `<auth/>`
/// tells "no initial response" (no text) from "an empty one" (`=`) before asking here.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    // RFC 6120 §6.4.2: a zero-length initial response is a single equals sign.
    if text == "=" {
        return Some(Vec::new());
    }
    STANDARD.decode(text).ok()
}

/// Encodes a message for the wire; the empty message as `=`.
pub fn encode(message: &[u8]) -> String {
    if message.is_empty() {
        return "=".to_owned();
    }
    STANDARD.encode(message)
}

/// Base64 inside a SCRAM attribute, where `=` alone is no message (RFC 5802 §7, `base64`).
pub(crate) fn decode_attribute(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() {
        return None;
    }
    STANDARD.decode(text).ok()
}

/// Base64 inside a SCRAM attribute.
pub(crate) fn encode_attribute(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn abuse_51_only_strict_base64_is_a_message() {
        let refused = [
            "==", "===", "====", "=A==", "A", "AA", "AAA", "AA=", "AA===", "AAAA=", "AB==", "AAB=", "A A=", " AAAA",
            "AAAA ", "AA\nAA", "AAAA\r\n", "\tAAAA", "AA-_", "AA*A", "AA==AA==", "ÄÄÄÄ", "AAA\u{0}", "&#x20;",
        ];
        for text in refused {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn rfc6120_6_4_2_a_lone_equals_sign_is_the_empty_message() {
        assert_eq!(decode("="), Some(Vec::new()));
        assert_eq!(decode(""), Some(Vec::new()));
        assert_eq!(encode(b""), "=");
    }

    #[test]
    fn messages_survive_the_wire() {
        for message in [&b"f"[..], b"fo", b"foo", b"\0user\0pencil", &[0xff; 100]] {
            assert_eq!(decode(&encode(message)).as_deref(), Some(message));
        }
        assert_eq!(encode(b"\0juliet\0r0m30myr0m30"), "AGp1bGlldAByMG0zMG15cjBtMzA=");
    }
}
