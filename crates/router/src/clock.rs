//! Time and randomness, given from outside so that scenarios run under a fake clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads the clocks.
pub trait Clock: Send + Sync + 'static {
    /// The monotonic clock.
    fn monotonic(&self) -> Instant;
    /// Time since the Unix epoch.
    fn unix(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
    fn unix(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// Draws random bytes: the operating system's in production.
pub trait Random: Send + Sync + 'static {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}
