//! Token buckets: rate limits that slow a peer down by not reading from it, and drop nothing.

use std::time::{Duration, Instant};

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units a second.
    pub per_second: u32,
    /// Units that may be spent at once after a pause.
    pub burst: u32,
}

/// What is left of a rate. Spending may go below zero: the debt is the time to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    /// Millionths of a unit.
    level: i64,
    at: Instant,
}

const MICRO: i64 = 1_000_000;

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Bucket { rate, level: i64::from(rate.burst).saturating_mul(MICRO), at: now }
    }

    /// Spends, and says how long to wait before the next spending; zero when there is no debt.
    pub(crate) fn spend(&mut self, units: usize, now: Instant) -> Duration {
        self.refill(now);
        let units = i64::try_from(units).unwrap_or(i64::MAX / MICRO);
        self.level = self.level.saturating_sub(units.saturating_mul(MICRO));
        self.debt()
    }

    /// Spends only when there is no debt afterwards.
    pub(crate) fn try_spend(&mut self, units: usize, now: Instant) -> Spent {
        self.refill(now);
        let units = i64::try_from(units).unwrap_or(i64::MAX / MICRO).saturating_mul(MICRO);
        if self.level < units {
            return Spent::Refused;
        }
        self.level = self.level.saturating_sub(units);
        Spent::Granted
    }

    /// Whether the bucket is full again, so that forgetting it changes nothing.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.level >= i64::from(self.rate.burst).saturating_mul(MICRO)
    }

    fn refill(&mut self, now: Instant) {
        let passed = i64::try_from(now.saturating_duration_since(self.at).as_micros()).unwrap_or(i64::MAX);
        self.at = now;
        let gained = passed.saturating_mul(i64::from(self.rate.per_second));
        let top = i64::from(self.rate.burst).saturating_mul(MICRO);
        self.level = self.level.saturating_add(gained).min(top);
    }

    fn debt(&self) -> Duration {
        if self.level >= 0 || self.rate.per_second == 0 {
            return Duration::ZERO;
        }
        let micros = self.level.unsigned_abs() / u64::from(self.rate.per_second);
        Duration::from_micros(micros)
    }
}

/// Whether a bucket granted what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    Granted,
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 100, burst: 50 };

    #[test]
    fn a_burst_is_free_and_a_debt_is_waited_for() {
        let start = Instant::now();
        let mut bucket = Bucket::full(RATE, start);
        assert_eq!(bucket.spend(50, start), Duration::ZERO);
        assert_eq!(bucket.spend(100, start), Duration::from_secs(1));
        assert_eq!(bucket.spend(0, start + Duration::from_millis(500)), Duration::from_millis(500));
        assert_eq!(bucket.spend(0, start + Duration::from_secs(1)), Duration::ZERO);
    }

    #[test]
    fn the_level_never_passes_the_burst() {
        let start = Instant::now();
        let mut bucket = Bucket::full(RATE, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!(bucket.try_spend(51, later), Spent::Refused);
        assert_eq!(bucket.try_spend(50, later), Spent::Granted);
        assert_eq!(bucket.try_spend(1, later), Spent::Refused);
        assert!(!bucket.is_full(later));
        assert!(bucket.is_full(later + Duration::from_secs(1)));
    }

    #[test]
    fn a_clock_that_steps_back_changes_nothing() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut bucket = Bucket::full(RATE, start);
        bucket.spend(50, start);
        assert_eq!(bucket.spend(10, start - Duration::from_secs(5)), Duration::from_millis(100));
    }
}
