//! How fast other domains may send (abuse case 137).

use std::time::{Duration, Instant};
use stonechat_jid::Domain;

/// What came from a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// So many bytes.
    Bytes(usize),
    /// A stanza.
    Stanza,
}

/// Counts what each remote domain sends, over all of its streams.
pub trait Pace: Send + Sync + 'static {
    /// Counts what came, and says how long nothing more is read from the stream it came by.
    fn spend(&self, domain: &Domain, arrived: Arrived, now: Instant) -> Duration;
}

/// No rates (measurements).
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpaced;

impl Pace for Unpaced {
    fn spend(&self, _domain: &Domain, _arrived: Arrived, _now: Instant) -> Duration {
        Duration::ZERO
    }
}
