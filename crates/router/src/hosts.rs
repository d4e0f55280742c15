//! The domains served here.

use std::collections::HashSet;
use stonechat_jid::Domain;

/// An immutable set of served domains; swapped whole at reload.
#[derive(Clone, Debug)]
pub struct Hosts {
    default: Domain,
    served: HashSet<Domain>,
}

impl Hosts {
    /// The first of `domains` is the default. `None` when there is none.
    pub fn new(domains: impl IntoIterator<Item = Domain>) -> Option<Hosts> {
        let mut domains = domains.into_iter();
        let default = domains.next()?;
        let served = std::iter::once(default.clone()).chain(domains).collect();
        Some(Hosts { default, served })
    }
    /// The default domain.
    pub fn default_domain(&self) -> &Domain {
        &self.default
    }
    /// Whether the domain is ours.
    pub fn serves(&self, domain: &Domain) -> bool {
        self.served.contains(domain)
    }
    /// Every domain, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Domain> {
        self.served.iter()
    }
}
