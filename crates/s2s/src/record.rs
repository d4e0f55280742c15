//! What was tried with a domain and what happened: the last steps of each, for `s2s explain`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use stonechat_jid::Domain;

/// Lines kept for one domain.
const LINES: usize = 80;
/// Domains remembered.
const DOMAINS: usize = 2_000;

#[derive(Default)]
pub(crate) struct Records {
    domains: Mutex<HashMap<Domain, VecDeque<String>>>,
}

impl Records {
    pub(crate) fn note(&self, domain: &Domain, at_milliseconds: u64, text: impl AsRef<str>) {
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        if domains.len() >= DOMAINS
            && !domains.contains_key(domain)
            && let Some(other) = domains.keys().next().cloned()
        {
            domains.remove(&other);
        }
        let lines = domains.entry(domain.clone()).or_default();
        if lines.len() >= LINES {
            lines.pop_front();
        }
        lines.push_back(format!("{} {}", stonechat_router::time::utc(at_milliseconds), text.as_ref()));
    }

    pub(crate) fn of(&self, domain: &Domain) -> Option<Vec<String>> {
        let domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        domains.get(domain).map(|lines| lines.iter().cloned().collect())
    }

    pub(crate) fn forget(&self, domain: &Domain) -> Option<()> {
        self.domains.lock().unwrap_or_else(PoisonError::into_inner).remove(domain).map(|_| ())
    }
}
