//! What one remote domain may send, over all of its streams: bytes and stanzas a second. Past it those streams are read
//! more slowly, and nobody else's.

use crate::bucket::{Bucket, Rate};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use stonechat_jid::Domain;
use stonechat_s2s::{Arrived, Pace};

/// Rates of each remote domain.
#[derive(Clone, Copy, Debug)]
pub struct DomainLimits {
    /// Bytes read.
    pub bytes: Rate,
    /// Stanzas taken.
    pub stanzas: Rate,
    /// Domains remembered; beyond it, those with nothing to remember go first, and the rest share one rate.
    pub domains: usize,
}

impl Default for DomainLimits {
    fn default() -> Self {
        // A server speaks for many people: some ten times what a client may.
        DomainLimits {
            bytes: Rate { per_second: 4 * 1024 * 1024, burst: 32 * 1024 * 1024 },
            stanzas: Rate { per_second: 2_000, burst: 20_000 },
            domains: 20_000,
        }
    }
}

/// The remote domains that sent lately.
pub struct Domains {
    limits: DomainLimits,
    seen: Mutex<Seen>,
}

struct Seen {
    domains: HashMap<Domain, Counted>,
    /// What those share that the table has no room for.
    rest: Counted,
}

struct Counted {
    bytes: Bucket,
    stanzas: Bucket,
}

impl Counted {
    fn new(limits: &DomainLimits, now: Instant) -> Counted {
        Counted { bytes: Bucket::full(limits.bytes, now), stanzas: Bucket::full(limits.stanzas, now) }
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.bytes.is_full(now) && self.stanzas.is_full(now)
    }

    fn spend(&mut self, arrived: Arrived, now: Instant) -> Duration {
        match arrived {
            Arrived::Bytes(count) => self.bytes.spend(count, now),
            Arrived::Stanza => self.stanzas.spend(1, now),
        }
    }
}

impl Domains {
    /// A table.
    pub fn new(limits: DomainLimits) -> Domains {
        let rest = Counted::new(&limits, Instant::now());
        Domains { limits, seen: Mutex::new(Seen { domains: HashMap::new(), rest }) }
    }
}

impl Pace for Domains {
    fn spend(&self, domain: &Domain, arrived: Arrived, now: Instant) -> Duration {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { domains, rest } = &mut *seen;
        if let Some(counted) = domains.get_mut(domain) {
            return counted.spend(arrived, now);
        }
        if domains.len() >= self.limits.domains {
            domains.retain(|_, counted| !counted.is_full(now));
            if domains.len() >= self.limits.domains {
                return rest.spend(arrived, now);
            }
        }
        domains.entry(domain.clone()).or_insert_with(|| Counted::new(&self.limits, now)).spend(arrived, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> DomainLimits {
        DomainLimits {
            bytes: Rate { per_second: 100, burst: 1_000 },
            stanzas: Rate { per_second: 10, burst: 20 },
            domains: 2,
        }
    }

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn abuse_137_a_domain_has_so_many_bytes_and_stanzas_and_others_have_theirs() {
        let pace = Domains::new(limits());
        let now = Instant::now();
        let (loud, other) = (domain("loud.example"), domain("other.example"));
        assert_eq!(pace.spend(&loud, Arrived::Bytes(1_000), now), Duration::ZERO);
        assert_eq!(pace.spend(&loud, Arrived::Bytes(100), now), Duration::from_secs(1));
        assert_eq!(pace.spend(&other, Arrived::Bytes(1_000), now), Duration::ZERO, "it is another's debt");
        for _ in 0..20 {
            assert_eq!(pace.spend(&loud, Arrived::Stanza, now), Duration::ZERO);
        }
        assert_eq!(pace.spend(&loud, Arrived::Stanza, now), Duration::from_millis(100));
        assert_eq!(pace.spend(&loud, Arrived::Stanza, now + Duration::from_secs(2)), Duration::ZERO);
    }

    #[test]
    fn abuse_137_the_table_is_bounded_and_forgets_who_owes_nothing() {
        let pace = Domains::new(limits());
        let now = Instant::now();
        for name in ["a.example", "b.example"] {
            pace.spend(&domain(name), Arrived::Bytes(1_000), now);
        }
        // There is no room for more: they share.
        assert_eq!(pace.spend(&domain("c.example"), Arrived::Bytes(1_000), now), Duration::ZERO);
        assert_eq!(pace.spend(&domain("d.example"), Arrived::Bytes(100), now), Duration::from_secs(1));
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.spend(&domain("e.example"), Arrived::Bytes(1_000), later), Duration::ZERO);
        assert_eq!(pace.spend(&domain("e.example"), Arrived::Bytes(100), later), Duration::from_secs(1));
    }
}
