//! Preparation of localparts and resources at both levels (RFC 7622 §3.3 and §3.4).
//!
//! PRECIS knows Unicode 6.3 (the registry of RFC 8264 ends there) and refuses what it does not know; the stringprep profiles of RFC 3920 that most deployed
//! servers still use know Unicode 3.2 and let unassigned code points pass when they route. Neither contains the other, so
//! routing takes PRECIS where it accepts and lenient stringprep where it refuses, and creating takes what both accept
//! and agree on.
//!
//! Printable ASCII has one prepared form under all of them (lower case for a localpart, itself for a resource), which is why it
//! is answered here without any Unicode table.

use std::borrow::Cow;

use precis_profiles::precis_core::profile::PrecisFastInvocation;
use precis_profiles::{OpaqueString, UsernameCaseMapped};
use stringprep::tables;
use unicode_normalization::UnicodeNormalization;

use crate::{Error, Level};

/// RFC 7622 §3.2–3.4: no part is longer than this many bytes, counted after preparation.
pub(crate) const MAX_PART: usize = 1023;

/// Composition makes a text shorter by no more than this factor. Longer texts are refused before any table is consulted.
const MAX_COMPOSITION: usize = 3;

/// Passes after which a text that still changes under preparation is refused (RFC 8264 §7 suggests the same bound).
const MAX_PASSES: usize = 4;

/// Prepares one localpart. The result is what [`Jid::local`](crate::Jid::local) would give.
///
/// # Errors
///
/// [`Error::Local`] when it is empty or has characters that the level refuses; [`Error::TooLong`].
pub fn prepare_local(text: &str, level: Level) -> Result<Cow<'_, str>, Error> {
    part(text, level, &LOCAL)
}

/// Prepares one resource. The result is what [`Jid::resource`](crate::Jid::resource) would give.
///
/// # Errors
///
/// [`Error::Resource`] when it is empty or has characters that the level refuses; [`Error::TooLong`].
pub fn prepare_resource(text: &str, level: Level) -> Result<Cow<'_, str>, Error> {
    part(text, level, &RESOURCE)
}

/// RFC 7622 §3.3.1, the characters excluded from localparts although the identifier class has them; with the space, and the
/// controls and non-ASCII characters that need the tables.
pub(crate) const fn is_plain_local(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'&' | b'\'' | b'/' | b':' | b'<' | b'>' | b'@')
}

pub(crate) const fn is_plain_resource(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// The rules of one kind of part.
struct Rules {
    error: Error,
    plain: fn(u8) -> bool,
    ascii_case: AsciiCase,
    precis: fn(&str) -> Option<Cow<'_, str>>,
    lenient: fn(&str) -> Option<String>,
    strict: fn(&str) -> Option<Cow<'_, str>>,
}

enum AsciiCase {
    Lowered,
    Kept,
}

static LOCAL: Rules = Rules {
    error: Error::Local,
    plain: is_plain_local,
    ascii_case: AsciiCase::Lowered,
    precis: |text| UsernameCaseMapped::enforce(text).ok().filter(|prepared| !has_excluded(prepared)),
    lenient: lenient_nodeprep,
    strict: |text| stringprep::nodeprep(text).ok(),
};

static RESOURCE: Rules = Rules {
    error: Error::Resource,
    plain: is_plain_resource,
    ascii_case: AsciiCase::Kept,
    precis: |text| OpaqueString::enforce(text).ok(),
    lenient: lenient_resourceprep,
    strict: |text| stringprep::resourceprep(text).ok(),
};

fn part<'a>(text: &'a str, level: Level, rules: &Rules) -> Result<Cow<'a, str>, Error> {
    if text.is_empty() {
        return Err(rules.error.clone());
    }
    if text.is_ascii() {
        return plain_part(text, rules);
    }
    // The context rules of RFC 5892 cost the square of the length, so what they are given has to be within bounds already.
    let prepared = if text.len() <= MAX_PART {
        settle(Cow::Borrowed(text), level, rules)
    } else if text.len() <= MAX_PART.saturating_mul(MAX_COMPOSITION) {
        let composed: String = text.nfc().collect();
        if composed.len() > MAX_PART {
            return Err(Error::TooLong);
        }
        settle(Cow::Owned(composed), level, rules)
    } else {
        return Err(Error::TooLong);
    };
    match prepared {
        Some(prepared) if prepared.len() > MAX_PART => Err(Error::TooLong),
        Some(prepared) if !prepared.is_empty() => Ok(prepared),
        _ => Err(rules.error.clone()),
    }
}

fn plain_part<'a>(text: &'a str, rules: &Rules) -> Result<Cow<'a, str>, Error> {
    if text.len() > MAX_PART {
        return Err(Error::TooLong);
    }
    if !text.bytes().all(rules.plain) {
        return Err(rules.error.clone());
    }
    Ok(match rules.ascii_case {
        AsciiCase::Lowered if text.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            Cow::Owned(text.to_ascii_lowercase())
        }
        AsciiCase::Lowered | AsciiCase::Kept => Cow::Borrowed(text),
    })
}

/// Prepares until nothing changes any more, so that a prepared address is its own prepared form.
fn settle<'a>(text: Cow<'a, str>, level: Level, rules: &Rules) -> Option<Cow<'a, str>> {
    let mut current = text;
    for _ in 0..MAX_PASSES {
        let next = once(&current, level, rules)?;
        if next == current {
            return Some(current);
        }
        current = Cow::Owned(next.into_owned());
    }
    None
}

fn once<'a>(text: &'a str, level: Level, rules: &Rules) -> Option<Cow<'a, str>> {
    let prepared = (rules.precis)(text);
    match level {
        Level::Routing => prepared.or_else(|| (rules.lenient)(text).map(Cow::Owned)),
        Level::Creating => prepared.filter(|prepared| (rules.strict)(text).is_some_and(|older| older == *prepared)),
    }
}

fn has_excluded(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii() && !is_plain_local(byte))
}

/// RFC 3920 appendix A, with unassigned code points allowed as RFC 3454 §7 allows them in queries.
fn lenient_nodeprep(text: &str) -> Option<String> {
    let mapped = text.chars().filter(|&c| !tables::commonly_mapped_to_nothing(c)).flat_map(tables::case_fold_for_nfkc);
    let prepared: String = mapped.nfkc().collect();
    (!prepared.contains(is_prohibited) && !has_excluded(&prepared) && has_allowed_direction(&prepared))
        .then_some(prepared)
}

/// RFC 3920 appendix B, with unassigned code points allowed.
fn lenient_resourceprep(text: &str) -> Option<String> {
    let mapped = text.chars().filter(|&c| !tables::commonly_mapped_to_nothing(c));
    let prepared: String = mapped.nfkc().collect();
    (!prepared.contains(is_prohibited) && has_allowed_direction(&prepared)).then_some(prepared)
}

/// What RFC 3454 appendix C prohibits in both profiles: C.1.2, C.2.1, C.2.2 and C.3 to C.9.
fn is_prohibited(c: char) -> bool {
    tables::non_ascii_space_character(c)
        || tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::surrogate_code(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
}

/// RFC 3454 §6.
fn has_allowed_direction(text: &str) -> bool {
    if !text.contains(tables::bidi_r_or_al) {
        return true;
    }
    !text.contains(tables::bidi_l) && text.starts_with(tables::bidi_r_or_al) && text.ends_with(tables::bidi_r_or_al)
}
