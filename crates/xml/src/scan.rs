//! The lexical rules: names, tags, character data, references. Everything here works on complete tokens; finding where a
//! token ends in a stream that arrives in pieces is the parser's business.

use crate::{Error, Limit, Limits};
use std::borrow::Cow;
use std::ops::Range;

const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";

/// A qualified name inside a token: where it starts, where its local part starts, where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) start: usize,
    pub(crate) local: usize,
    pub(crate) end: usize,
}

impl Name {
    pub(crate) fn prefix(self) -> Option<Range<usize>> {
        (self.local > self.start).then(|| self.start..self.local.saturating_sub(1))
    }
    pub(crate) fn local(self) -> Range<usize> {
        self.local..self.end
    }
    pub(crate) fn full(self) -> Range<usize> {
        self.start..self.end
    }
}

/// An attribute inside a token.
#[derive(Clone, Debug)]
pub(crate) struct RawAttribute {
    pub(crate) name: Name,
    pub(crate) value: Range<usize>,
    /// Whether the value as it stands is the value meant.
    pub(crate) verbatim: bool,
}

/// A start tag or empty-element tag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StartTag {
    pub(crate) name: Name,
    pub(crate) empty: bool,
}

pub(crate) fn slice(bytes: &[u8], range: Range<usize>) -> &[u8] {
    bytes.get(range).unwrap_or_default()
}

pub(crate) fn text(bytes: &[u8], range: Range<usize>) -> &str {
    std::str::from_utf8(slice(bytes, range)).unwrap_or_default()
}

const fn malformed(what: &'static str) -> Error {
    Error::NotWellFormed(what)
}

pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

const NAME_START: u8 = 1;
const NAME: u8 = 2;
/// Ends a plain stretch of character data.
const TEXT_SPECIAL: u8 = 4;
/// Ends a plain stretch of an attribute value.
const VALUE_SPECIAL: u8 = 8;

static CLASSES: [u8; 256] = classes();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let mut class = 0;
        if b.is_ascii_alphabetic() || b == b'_' {
            class |= NAME_START | NAME;
        }
        if b.is_ascii_digit() || b == b'-' || b == b'.' {
            class |= NAME;
        }
        if b < 0x20 && b != b'\t' && b != b'\n' {
            // CR is special because it is normalised, the others because they are not characters.
            class |= TEXT_SPECIAL;
        }
        if b < 0x20 {
            class |= VALUE_SPECIAL;
        }
        if b == b'&' || b == b'<' {
            class |= TEXT_SPECIAL | VALUE_SPECIAL;
        }
        if b == b']' {
            class |= TEXT_SPECIAL;
        }
        // U+FFFE and U+FFFF begin with 0xEF.
        if b == 0xef {
            class |= TEXT_SPECIAL | VALUE_SPECIAL;
        }
        table[byte] = class;
        byte += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, reason = "the table has an entry for each byte")]
fn class(byte: u8) -> u8 {
    CLASSES[byte as usize]
}

/// XML 1.0 §2.3 NameStartChar without the colon, beyond ASCII.
fn is_name_start(c: char) -> bool {
    // The grammar goes on from U+FDF0 to U+FFFD; readers differ about these forms, and no name is written in them (P7).
    matches!(c,
        '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}' | '\u{370}'..='\u{37d}'
        | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}'
        | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{10000}'..='\u{effff}')
}

fn is_name_char(c: char) -> bool {
    is_name_start(c) || matches!(c, '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}

/// XML 1.0 §2.2 Char.
fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

/// Reads a qualified name at `at` (Namespaces in XML §4). The token is known to be UTF-8.
pub(crate) fn name(token: &[u8], at: usize, limits: &Limits) -> Result<Name, Error> {
    let mut position = at;
    let mut local = at;
    let mut part_start = true;
    while let Some(&byte) = token.get(position) {
        let known = class(byte);
        if byte < 0x80 {
            if byte == b':' {
                if part_start || local != at {
                    return Err(malformed("a misplaced colon in a name"));
                }
                position = position.saturating_add(1);
                local = position;
                part_start = true;
                continue;
            }
            let wanted = if part_start { NAME_START } else { NAME };
            if known & wanted == 0 {
                if part_start {
                    return Err(malformed("a name is missing or begins with a wrong character"));
                }
                break;
            }
            position = position.saturating_add(1);
        } else {
            let c = char_at(token, position);
            let allowed = if part_start { is_name_start(c) } else { is_name_char(c) };
            if !allowed {
                return Err(malformed("a character that names may not have"));
            }
            position = position.saturating_add(c.len_utf8());
        }
        part_start = false;
    }
    if part_start {
        return Err(malformed("a name is missing"));
    }
    if position.saturating_sub(at) > limits.name {
        return Err(Error::LimitExceeded(Limit::Name));
    }
    Ok(Name { start: at, local, end: position })
}

fn char_at(token: &[u8], at: usize) -> char {
    // A character is at most four bytes; the token is UTF-8, so one of the prefixes is it.
    for length in 1..=4usize {
        if let Some(Ok(part)) = token.get(at..at.saturating_add(length)).map(std::str::from_utf8)
            && let Some(c) = part.chars().next()
        {
            return c;
        }
    }
    '\u{fffe}'
}

fn skip_space(token: &[u8], mut at: usize) -> usize {
    while token.get(at).is_some_and(|byte| is_space(*byte)) {
        at = at.saturating_add(1);
    }
    at
}

/// Reads a complete `<…>` or `<…/>`, appending its attributes. The token's last byte is its `>`.
pub(crate) fn start_tag(token: &[u8], limits: &Limits, attributes: &mut Vec<RawAttribute>) -> Result<StartTag, Error> {
    if std::str::from_utf8(token).is_err() {
        return Err(malformed("not UTF-8"));
    }
    let tag = name(token, 1, limits)?;
    let mut at = tag.end;
    loop {
        let next = skip_space(token, at);
        match token.get(next) {
            Some(b'>') => return Ok(StartTag { name: tag, empty: false }),
            Some(b'/') => {
                return if next.saturating_add(2) == token.len() {
                    Ok(StartTag { name: tag, empty: true })
                } else {
                    Err(malformed("a stray slash in a tag"))
                };
            }
            Some(_) if next == at => return Err(malformed("attributes are separated by white space")),
            Some(_) => {}
            None => return Err(malformed("a tag does not end")),
        }
        if attributes.len() >= limits.attributes {
            return Err(Error::LimitExceeded(Limit::Attributes));
        }
        let attribute = name(token, next, limits)?;
        at = skip_space(token, attribute.end);
        if token.get(at) != Some(&b'=') {
            return Err(malformed("an attribute without a value"));
        }
        at = skip_space(token, at.saturating_add(1));
        let Some(quote @ (b'"' | b'\'')) = token.get(at).copied() else {
            return Err(malformed("an attribute value without quotes"));
        };
        let start = at.saturating_add(1);
        let length = memchr::memchr(quote, token.get(start..).unwrap_or_default())
            .ok_or(malformed("an attribute value does not end"))?;
        let value = start..start.saturating_add(length);
        let verbatim = check_value(slice(token, value.clone()))?;
        at = value.end.saturating_add(1);
        // XML 1.0 §3.1: unique by name; by expanded name is checked once the namespaces are known.
        if attributes.iter().any(|other| slice(token, other.name.full()) == slice(token, attribute.full())) {
            return Err(malformed("an attribute stands twice"));
        }
        attributes.push(RawAttribute { name: attribute, value, verbatim });
    }
}

/// Reads a complete `</…>`.
pub(crate) fn end_tag(token: &[u8], limits: &Limits) -> Result<Name, Error> {
    if std::str::from_utf8(token).is_err() {
        return Err(malformed("not UTF-8"));
    }
    let tag = name(token, 2, limits)?;
    if skip_space(token, tag.end).saturating_add(1) != token.len() {
        return Err(malformed("an end tag with more than a name"));
    }
    Ok(tag)
}

/// Checks an attribute value; whether it stands for itself (no references, nothing to normalise).
fn check_value(value: &[u8]) -> Result<bool, Error> {
    let mut verbatim = true;
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        if class(byte) & VALUE_SPECIAL == 0 {
            at = at.saturating_add(1);
            continue;
        }
        match byte {
            b'<' => return Err(malformed("`<` in an attribute value")),
            b'&' => {
                verbatim = false;
                at = at.saturating_add(reference(value, at)?.1);
            }
            // Readers differ about a line end of one CR in a value, and nobody writes one (P7).
            b'\r' => return Err(malformed("a carriage return in an attribute value")),
            // XML 1.0 §3.3.3: white space becomes a space.
            b'\t' | b'\n' => {
                verbatim = false;
                at = at.saturating_add(1);
            }
            0xef if is_noncharacter(value, at) => return Err(malformed("a character that XML does not have")),
            0xef => at = at.saturating_add(1),
            _ => return Err(malformed("a control character")),
        }
    }
    Ok(verbatim)
}

fn is_noncharacter(bytes: &[u8], at: usize) -> bool {
    matches!(slice(bytes, at..at.saturating_add(3)), [0xef, 0xbf, 0xbe | 0xbf])
}

/// Checks a complete run of character data.
pub(crate) fn check_text(run: &[u8]) -> Result<(), Error> {
    if std::str::from_utf8(run).is_err() {
        return Err(malformed("not UTF-8"));
    }
    let mut at = 0;
    while let Some(&byte) = run.get(at) {
        if class(byte) & TEXT_SPECIAL == 0 {
            at = at.saturating_add(1);
            continue;
        }
        match byte {
            b'&' => at = at.saturating_add(reference(run, at)?.1),
            b']' => {
                if slice(run, at..at.saturating_add(3)) == b"]]>" {
                    return Err(malformed("`]]>` in character data"));
                }
                at = at.saturating_add(1);
            }
            b'\r' => at = at.saturating_add(1),
            0xef if is_noncharacter(run, at) => return Err(malformed("a character that XML does not have")),
            0xef => at = at.saturating_add(1),
            _ => return Err(malformed("a control character")),
        }
    }
    Ok(())
}

/// Checks the inside of a CDATA section.
pub(crate) fn check_cdata(run: &[u8]) -> Result<(), Error> {
    let Ok(text) = std::str::from_utf8(run) else { return Err(malformed("not UTF-8")) };
    if text.chars().all(is_char) { Ok(()) } else { Err(malformed("a character that XML does not have")) }
}

/// Reads a reference at `at`: the character and the bytes it took (RFC 6120 §11.1: the predefined entities only).
fn reference(bytes: &[u8], at: usize) -> Result<(char, usize), Error> {
    const LONGEST: usize = 12;
    let rest = bytes.get(at.saturating_add(1)..).unwrap_or_default();
    let window = rest.get(..rest.len().min(LONGEST)).unwrap_or_default();
    let end = memchr::memchr(b';', window).ok_or(malformed("a reference does not end"))?;
    let inside = slice(rest, 0..end);
    let taken = end.saturating_add(2);
    let c = match inside {
        b"lt" => '<',
        b"gt" => '>',
        b"amp" => '&',
        b"apos" => '\'',
        b"quot" => '"',
        [b'#', b'x', digits @ ..] => number(digits, 16)?,
        [b'#', digits @ ..] => number(digits, 10)?,
        _ => return Err(Error::Restricted("an entity that is not predefined")),
    };
    Ok((c, taken))
}

fn number(digits: &[u8], radix: u32) -> Result<char, Error> {
    let wrong = malformed("a character reference to nothing");
    if digits.is_empty() || !digits.iter().all(|digit| char::from(*digit).is_digit(radix)) {
        return Err(wrong);
    }
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u32::from_str_radix(digits, radix).ok())
        .and_then(char::from_u32)
        .filter(|c| is_char(*c))
        .ok_or(wrong)
}

/// What a checked run of character data means: references replaced, line ends normalised (XML 1.0 §2.11).
pub(crate) fn unescape_text(run: &[u8]) -> Cow<'_, str> {
    let plain = std::str::from_utf8(run).unwrap_or_default();
    if memchr::memchr2(b'&', b'\r', run).is_none() {
        return Cow::Borrowed(plain);
    }
    let mut out = String::with_capacity(plain.len());
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'&', b'\r', run.get(at..).unwrap_or_default()) {
        let special = at.saturating_add(found);
        out.push_str(plain.get(at..special).unwrap_or_default());
        if run.get(special) == Some(&b'\r') {
            out.push('\n');
            at = special.saturating_add(if run.get(special.saturating_add(1)) == Some(&b'\n') { 2 } else { 1 });
        } else {
            let (c, taken) = reference(run, special).unwrap_or(('\u{fffd}', 1));
            out.push(c);
            at = special.saturating_add(taken);
        }
    }
    out.push_str(plain.get(at..).unwrap_or_default());
    Cow::Owned(out)
}

/// CDATA: line ends normalised, nothing else.
pub(crate) fn normalise_cdata(run: &[u8]) -> Cow<'_, str> {
    let plain = std::str::from_utf8(run).unwrap_or_default();
    if memchr::memchr(b'\r', run).is_none() {
        return Cow::Borrowed(plain);
    }
    Cow::Owned(plain.replace("\r\n", "\n").replace('\r', "\n"))
}

/// What a checked attribute value means (XML 1.0 §3.3.3).
pub(crate) fn unescape_value(value: &[u8]) -> String {
    let plain = std::str::from_utf8(value).unwrap_or_default();
    let mut out = String::with_capacity(plain.len());
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        match byte {
            b'&' => {
                let (c, taken) = reference(value, at).unwrap_or(('\u{fffd}', 1));
                out.push(c);
                at = at.saturating_add(taken);
            }
            b'\r' if value.get(at.saturating_add(1)) == Some(&b'\n') => at = at.saturating_add(1),
            b'\t' | b'\n' | b'\r' => {
                out.push(' ');
                at = at.saturating_add(1);
            }
            _ => {
                let c = char_at(value, at);
                out.push(c);
                at = at.saturating_add(c.len_utf8());
            }
        }
    }
    out
}

/// Reads a complete `<?xml …?>` (XML 1.0 §2.8).
pub(crate) fn declaration(token: &[u8]) -> Result<(), Error> {
    let Ok(inside) = std::str::from_utf8(token) else { return Err(malformed("not UTF-8")) };
    let inside = inside.strip_prefix("<?xml").and_then(|rest| rest.strip_suffix("?>"));
    let Some(mut rest) = inside.filter(|rest| rest.starts_with([' ', '\t', '\r', '\n'])) else {
        return Err(Error::Restricted("a processing instruction"));
    };
    let mut expected = ["version", "encoding", "standalone"].iter();
    loop {
        let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if trimmed.is_empty() {
            break;
        }
        if trimmed.len() == rest.len() {
            return Err(malformed("an XML declaration with a wrong part"));
        }
        let (key, value) = trimmed.split_once('=').ok_or(malformed("an XML declaration with a wrong part"))?;
        let key = key.trim_end_matches([' ', '\t', '\r', '\n']);
        let value = value.trim_start_matches([' ', '\t', '\r', '\n']);
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or(malformed("no quotes"))?;
        let (value, after) =
            value.get(1..).and_then(|value| value.split_once(quote)).ok_or(malformed("no closing quote"))?;
        if !expected.by_ref().any(|name| *name == key) {
            return Err(malformed("an XML declaration with a wrong part"));
        }
        match key {
            "version" if value != "1.0" => return Err(malformed("an XML version other than 1.0")),
            "encoding" if !value.eq_ignore_ascii_case("utf-8") => return Err(Error::UnsupportedEncoding),
            "standalone" if !matches!(value, "yes" | "no") => return Err(malformed("standalone is yes or no")),
            _ => {}
        }
        if key != "version" && expected.len() == 3 {
            return Err(malformed("an XML declaration without a version"));
        }
        rest = after;
    }
    if expected.len() == 3 {
        return Err(malformed("an XML declaration without a version"));
    }
    if !token.starts_with(b"<?xml") || !inside.is_some_and(|text| text.trim_start().starts_with("version")) {
        return Err(malformed("an XML declaration without a version"));
    }
    Ok(())
}

/// Checks a namespace declaration (Namespaces in XML §3): the reserved prefixes and names, and no undeclaring.
pub(crate) fn check_declaration(prefix: &str, namespace: &str) -> Result<(), Error> {
    if namespace.chars().any(|c| c.is_control() || c == ' ' || c == '\u{c}') {
        return Err(malformed("a namespace name with control characters or spaces"));
    }
    match prefix {
        "xmlns" => Err(malformed("the prefix xmlns cannot be bound")),
        "xml" if namespace == XML_NAMESPACE => Ok(()),
        "xml" => Err(malformed("the prefix xml cannot be bound to another namespace")),
        _ if namespace == XML_NAMESPACE || namespace == XMLNS_NAMESPACE => {
            Err(malformed("a reserved namespace cannot be bound"))
        }
        "" => Ok(()),
        _ if namespace.is_empty() => Err(malformed("a prefix cannot be unbound")),
        _ => Ok(()),
    }
}
