//! Preparation of domains (RFC 7622 §3.2).
//!
//! One form for one domain: U-labels in lower case without the root dot, IPv4 in dotted decimal, IPv6 in brackets and in the form of RFC 5952.
//! Whether a name exists or can be looked up is for the resolver to say; here it only has to be one that a peer may have meant.
//!
//! Deliberately absent: IPv6 zone identifiers, which mean nothing to the other side of a stream.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use crate::prepare::MAX_PART;
use crate::{Error, Level};

/// All ASCII but letters, digits, hyphen, dot and underscore.
const NOT_IN_NAMES: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

/// Octets of a name in presentation form without the root dot (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// The prepared form of a domain at the given level.
pub(crate) fn prepare(text: &str, level: Level) -> Result<Cow<'_, str>, Error> {
    // Composition shortens U-labels, and A-labels may be longer than what they stand for.
    if text.len() > MAX_PART.saturating_mul(3) {
        return Err(Error::TooLong);
    }
    // RFC 7622 §3.2: a final label separator is stripped before anything is compared.
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.starts_with('[') {
        return ipv6(name);
    }
    let prepared = if is_plain(name) { lower(name) } else { unicode_form(name)? };
    if prepared.len() > MAX_PART {
        return Err(Error::TooLong);
    }
    let ascii = a_labels(&prepared)?;
    let is_valid = if ends_in_a_number(&ascii) {
        ascii.parse::<Ipv4Addr>().is_ok()
    } else {
        ascii.split('.').all(is_label) && (level == Level::Routing || is_host_name(&ascii))
    };
    if is_valid { Ok(prepared) } else { Err(Error::Domain) }
}

/// Whether the text is its own prepared form but for upper case, by one look at its bytes. `false` says nothing: A-labels, names with
/// a root dot, IP literals and whatever might be one of them go the long way.
pub(crate) fn is_plain_name(text: &str, level: Level) -> bool {
    let mut label = 0_usize;
    let mut previous = b'.';
    let mut first = b'.';
    for byte in text.bytes() {
        match (previous, byte) {
            // Empty labels, outer hyphens, and the two hyphens that every A-label has.
            (b'.' | b'-', b'.' | b'-') => return false,
            (_, b'.') if label > MAX_LABEL => return false,
            (_, b'.') => label = 0,
            _ if is_plain_byte(byte) => {
                if label == 0 {
                    first = byte;
                }
                label = label.saturating_add(1);
            }
            _ => return false,
        }
        previous = byte;
    }
    text.len() <= MAX_PART
        && label <= MAX_LABEL
        && !matches!(previous, b'.' | b'-')
        && !first.is_ascii_digit()
        && (level == Level::Routing || is_host_name(text))
}

/// The A-label form of a prepared domain; IP literals are their own.
pub(crate) fn to_ascii(prepared: &str) -> Result<String, Error> {
    a_labels(prepared).map(Cow::into_owned)
}

fn a_labels(prepared: &str) -> Result<Cow<'_, str>, Error> {
    if prepared.is_ascii() {
        return Ok(Cow::Borrowed(prepared));
    }
    Uts46::new()
        .to_ascii(prepared.as_bytes(), NOT_IN_NAMES, Hyphens::Allow, DnsLength::Ignore)
        .map_err(|_| Error::Domain)
}

const fn is_plain_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_')
}

/// ASCII that IDNA maps to its lower case and nothing else: no A-label among the labels.
fn is_plain(text: &str) -> bool {
    text.bytes().all(is_plain_byte) && !text.split('.').any(is_a_label)
}

fn is_a_label(label: &str) -> bool {
    label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--"))
}

/// RFC 1035 §2.3.4 and RFC 1123 §2.1, for a label in its A-label form.
fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// Mapped, with A-labels decoded. What comes out has to come out of itself again, or an address would not be equal to itself.
fn unicode_form(text: &str) -> Result<Cow<'_, str>, Error> {
    let once = to_unicode(text)?;
    // Full-width and ideographic full stops become separators, the last of them the root dot.
    let once = match once.strip_suffix('.') {
        Some(name) => Cow::Owned(name.to_owned()),
        None => once,
    };
    if to_unicode(&once)? == once { Ok(once) } else { Err(Error::Domain) }
}

fn to_unicode(text: &str) -> Result<Cow<'_, str>, Error> {
    let (name, outcome) = Uts46::new().to_unicode(text.as_bytes(), NOT_IN_NAMES, Hyphens::Allow);
    outcome.map(|()| name).map_err(|_| Error::Domain)
}

fn ipv6(text: &str) -> Result<Cow<'_, str>, Error> {
    let literal = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or(Error::Domain)?;
    let address: Ipv6Addr = literal.parse().map_err(|_| Error::Domain)?;
    let canonical = format!("[{address}]");
    Ok(if canonical == text { Cow::Borrowed(text) } else { Cow::Owned(canonical) })
}

/// No top-level domain is a number, but resolvers take `127.1` and `0x7f.0.0.1` for addresses: a name that ends in one is an
/// IPv4 address in its one usual form or nothing.
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default().as_bytes();
    match last {
        [] => false,
        [b'0', b'x' | b'X', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        digits => digits.iter().all(u8::is_ascii_digit),
    }
}

/// Whether every resolver can use the name. Older servers address it by its A-labels, whatever they make of the U-labels.
fn is_host_name(ascii: &str) -> bool {
    ascii.len() <= MAX_NAME && !ascii.contains('_')
}
