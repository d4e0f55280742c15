//! Taking an address apart and putting it together (RFC 7622 §3.1).
//!
//! Nearly every address on the wire is ASCII. Those are checked in place and cost one allocation, that of the result.

use std::sync::Arc;

use crate::prepare::{self, MAX_PART};
use crate::{Error, Jid, Level, domain};

/// A text taken apart, nothing prepared yet.
#[derive(Clone, Copy)]
struct Split<'a> {
    local: Option<&'a str>,
    domain: &'a str,
    resource: Option<&'a str>,
}

pub(crate) fn parse(text: &str, level: Level) -> Result<Jid, Error> {
    let split = split(text);
    if let Some(jid) = plain(text, split, level) {
        return Ok(jid);
    }
    let local = split.local.map(|local| prepare::prepare_local(local, level)).transpose()?;
    let domain = domain::prepare(split.domain, level)?;
    let resource = split.resource.map(|resource| prepare::prepare_resource(resource, level)).transpose()?;
    join(local.as_deref(), &domain, resource.as_deref())
}

/// Puts prepared parts together.
pub(crate) fn join(local: Option<&str>, domain: &str, resource: Option<&str>) -> Result<Jid, Error> {
    let mut text = String::with_capacity(local.map_or(0, str::len) + domain.len() + resource.map_or(0, str::len) + 2);
    if let Some(local) = local {
        text.push_str(local);
        text.push('@');
    }
    text.push_str(domain);
    if let Some(resource) = resource {
        text.push('/');
        text.push_str(resource);
    }
    assemble(text.as_str().into(), local.map_or(0, str::len), domain.len())
}

/// RFC 7622 §3.2: the resource is what follows the first `/`, and only then the localpart is what precedes the first `@`; each
/// may hold more of both.
fn split(text: &str) -> Split<'_> {
    let (bare, resource) = match text.split_once('/') {
        Some((bare, resource)) => (bare, Some(resource)),
        None => (text, None),
    };
    match bare.split_once('@') {
        Some((local, domain)) => Split { local: Some(local), domain, resource },
        None => Split { local: None, domain: bare, resource },
    }
}

/// The address, when it is one that needs no table: every part ASCII and no A-label. `None` says nothing about whether it is valid.
fn plain(text: &str, split: Split<'_>, level: Level) -> Option<Jid> {
    let bare_len = text.len() - split.resource.map_or(0, |resource| resource.len() + 1);
    let is_plain = split.local.is_none_or(|local| fits(local) && local.bytes().all(prepare::is_plain_local))
        && domain::is_plain_name(split.domain, level)
        && split.resource.is_none_or(|resource| fits(resource) && resource.bytes().all(prepare::is_plain_resource));
    if !is_plain {
        return None;
    }
    let mut text: Arc<str> = text.into();
    if let Some(bare) = Arc::get_mut(&mut text).and_then(|text| text.get_mut(..bare_len)) {
        bare.make_ascii_lowercase();
    }
    assemble(text, split.local.map_or(0, str::len), split.domain.len()).ok()
}

fn fits(part: &str) -> bool {
    (1..=MAX_PART).contains(&part.len())
}

fn assemble(text: Arc<str>, local: usize, domain: usize) -> Result<Jid, Error> {
    let narrow = |len: usize| u16::try_from(len).map_err(|_| Error::TooLong);
    Ok(Jid { local_len: narrow(local)?, domain_len: narrow(domain)?, len: narrow(text.len())?, text })
}
