//! Preparation of the three parts at both levels (RFC 7622 §3; RFC 8265; RFC 6122 for what older servers do).

use crate::{Error, Jid, Level};
use precis_profiles::precis_core::profile::PrecisFastInvocation;
use precis_profiles::{OpaqueString, UsernameCaseMapped};
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// RFC 7622 §3.2–3.4: each part is at most this many bytes, after preparation.
const MAX_PART: usize = 1023;

/// Splits (RFC 7622 §3.1: the resource begins at the first slash, the localpart ends at the first at-sign before it) and
/// prepares.
pub(crate) fn parse(text: &str, level: Level) -> Result<Jid, Error> {
    let (bare, resource) = match text.split_once('/') {
        Some((bare, resource)) => (bare, Some(resource)),
        None => (text, None),
    };
    let (local, domain) = match bare.split_once('@') {
        Some((local, domain)) => (Some(local), domain),
        None => (None, bare),
    };
    let local = local.map(|local| prepare_local(local, level)).transpose()?;
    let domain = prepare_domain(domain)?;
    let resource = resource.map(|resource| prepare_resource(resource, level)).transpose()?;
    Ok(Jid::from_prepared(local.as_deref(), &domain, resource.as_deref()))
}

/// Prepares a localpart: RFC 7622 §3.3.
pub fn prepare_local(text: &str, level: Level) -> Result<Cow<'_, str>, Error> {
    if text.is_empty() {
        return Err(Error::Local);
    }
    let prepared = if text.is_ascii() {
        if !text.bytes().all(is_ascii_local) {
            return Err(Error::Local);
        }
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        }
    } else {
        let precis = UsernameCaseMapped::enforce(text).map(Cow::into_owned).map(Cow::Owned);
        let precis = stable(precis.map_err(|_| Error::Local), |form| {
            UsernameCaseMapped::enforce(form).map(Cow::into_owned).map_err(|_| Error::Local)
        });
        choose(precis, |form| stringprep::nodeprep(form).map_err(|_| Error::Local), text, level)?
    };
    // RFC 7622 §3.3.1: these are never part of it, whatever a preparation made of others.
    if prepared.chars().any(|c| matches!(c, '"' | '&' | '\'' | '/' | ':' | '<' | '>' | '@') || c.is_whitespace()) {
        return Err(Error::Local);
    }
    bounded(prepared, Error::Local)
}

/// Prepares a resource: RFC 7622 §3.4.
pub fn prepare_resource(text: &str, level: Level) -> Result<Cow<'_, str>, Error> {
    if text.is_empty() {
        return Err(Error::Resource);
    }
    let prepared = if text.is_ascii() {
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(Error::Resource);
        }
        Cow::Borrowed(text)
    } else {
        let precis = OpaqueString::enforce(text).map(Cow::into_owned).map(Cow::Owned);
        let precis = stable(precis.map_err(|_| Error::Resource), |form| {
            OpaqueString::enforce(form).map(Cow::into_owned).map_err(|_| Error::Resource)
        });
        choose(precis, |form| stringprep::resourceprep(form).map_err(|_| Error::Resource), text, level)?
    };
    bounded(prepared, Error::Resource)
}

/// A preparation that is not at rest after one application would make an address that is not equal to itself.
fn stable<'a>(
    form: Result<Cow<'a, str>, Error>,
    again: impl Fn(&str) -> Result<String, Error>,
) -> Result<Cow<'a, str>, Error> {
    let mut form = form?;
    for _ in 0..3 {
        let next = again(&form)?;
        if next == form {
            return Ok(form);
        }
        form = Cow::Owned(next);
    }
    Err(Error::Local)
}

/// Routing: PRECIS, or what an older server would make of it. Creating: both, and the same.
fn choose<'a>(
    precis: Result<Cow<'a, str>, Error>,
    older: impl Fn(&str) -> Result<Cow<'_, str>, Error>,
    text: &'a str,
    level: Level,
) -> Result<Cow<'a, str>, Error> {
    match (level, precis) {
        (Level::Routing, Ok(form)) => Ok(form),
        (Level::Routing, Err(_)) => {
            let form = older(text)?.into_owned();
            if older(&form)? == form { Ok(Cow::Owned(form)) } else { Err(Error::Local) }
        }
        (Level::Creating, precis) => {
            let form = precis?;
            if older(&form)? == form { Ok(form) } else { Err(Error::Local) }
        }
    }
}

fn bounded(part: Cow<'_, str>, empty: Error) -> Result<Cow<'_, str>, Error> {
    match part.len() {
        0 => Err(empty),
        length if length > MAX_PART => Err(Error::TooLong),
        _ => Ok(part),
    }
}

fn is_ascii_local(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'&' | b'\'' | b'/' | b':' | b'<' | b'>' | b'@')
}

/// Prepares a domain: RFC 7622 §3.2, to U-labels.
pub(crate) fn prepare_domain(text: &str) -> Result<Cow<'_, str>, Error> {
    // RFC 7622 §3.2: one final dot goes before anything else.
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err(Error::Domain);
    }
    if text.len() > MAX_PART {
        return Err(Error::TooLong);
    }
    if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = inside.parse().map_err(|_| Error::Domain)?;
        return Ok(Cow::Owned(format!("[{address}]")));
    }
    if text.is_ascii() && !has_a_label(text) {
        if !is_ascii_domain(text) {
            return Err(Error::Domain);
        }
        return Ok(if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        });
    }
    let (form, valid) = idna::domain_to_unicode(text);
    let (again, valid_again) = idna::domain_to_unicode(&form);
    if valid.is_err() || valid_again.is_err() || again != form || form.len() > MAX_PART {
        return Err(Error::Domain);
    }
    // What maps to ASCII must be a domain as ASCII is.
    let form = form.strip_suffix('.').map_or(form.as_str(), |form| form).to_owned();
    let broken = (form.is_ascii() && !is_ascii_domain(&form))
        || form.split('.').any(str::is_empty)
        || form.chars().any(|c| c.is_ascii() && !is_ascii_label(c as u8) && c != '.')
        || idna::domain_to_ascii(&form).is_err();
    if broken { Err(Error::Domain) } else { Ok(Cow::Owned(form)) }
}

fn has_a_label(text: &str) -> bool {
    text.split('.').any(|label| label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--")))
}

/// Letters, digits and hyphens; underscores are tolerated, since such names are in use.
fn is_ascii_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn is_ascii_domain(text: &str) -> bool {
    let labels = text.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(is_ascii_label)
            && !label.starts_with('-')
            && !label.ends_with('-')
    });
    // Only digits and dots: an IPv4 address, or nothing.
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    labels && (!numeric || text.parse::<Ipv4Addr>().is_ok())
}
