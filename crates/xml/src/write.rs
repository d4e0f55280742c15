//! Escaping.

/// Appends character data with `&`, `<`, `>` and CR escaped.
pub fn escape_text(text: &str, out: &mut Vec<u8>) {
    escape(text, out, |byte| match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'\r' => Some("&#xD;"),
        _ => None,
    });
}

/// Appends an attribute value, to stand between single quotes or double quotes: `&`, `<`, `>`, both quotes, CR, LF and
/// TAB are escaped.
pub fn escape_attribute(value: &str, out: &mut Vec<u8>) {
    escape(value, out, |byte| match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'\'' => Some("&apos;"),
        b'"' => Some("&quot;"),
        b'\r' => Some("&#xD;"),
        b'\n' => Some("&#xA;"),
        b'\t' => Some("&#x9;"),
        _ => None,
    });
}

/// Characters that XML does not have are left out, so that nothing made here can break a peer's parser.
fn escape(text: &str, out: &mut Vec<u8>, replacement: impl Fn(u8) -> Option<&'static str>) {
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let replaced = match replacement(byte) {
            Some(replaced) => replaced,
            None if byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r') => "",
            None if byte == 0xef && matches!(bytes.get(at..at.saturating_add(3)), Some([_, 0xbf, 0xbe | 0xbf])) => {
                out.extend_from_slice(bytes.get(plain..at).unwrap_or_default());
                plain = at.saturating_add(3);
                continue;
            }
            None => continue,
        };
        out.extend_from_slice(bytes.get(plain..at).unwrap_or_default());
        out.extend_from_slice(replaced.as_bytes());
        plain = at.saturating_add(1);
    }
    out.extend_from_slice(bytes.get(plain..).unwrap_or_default());
}
