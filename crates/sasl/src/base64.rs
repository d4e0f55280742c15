//! Base64 as XMPP carries it (RFC 6120 §6.3.8, §6.4.2): strict, no white space, `=` for an empty message.

/// Decodes the text of `<auth/>` or `<response/>`; a lone `=` is the empty message. `None` for anything malformed
/// (`incorrect-encoding`).
pub fn decode(_text: &str) -> Option<Vec<u8>> {
    todo!()
}

/// Encodes a message for the wire; the empty message as `=`.
pub fn encode(_message: &[u8]) -> String {
    todo!()
}
