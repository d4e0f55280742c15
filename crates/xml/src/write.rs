//! Escaping.

/// Appends character data with `&`, `<`, `>` and CR escaped.
pub fn escape_text(_text: &str, _out: &mut Vec<u8>) {
    todo!()
}

/// Appends an attribute value, to stand between single quotes or double quotes: `&`, `<`, `>`, both quotes, CR, LF and
/// TAB are escaped.
pub fn escape_attribute(_value: &str, _out: &mut Vec<u8>) {
    todo!()
}
