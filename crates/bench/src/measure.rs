//! The window of a measurement: warm up, measure, wind down; what is counted in it, and the clock it is counted by.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Result;
use crate::process::{ProcessTree, own_cpu};
use crate::report::{Latency, Report};

/// How long to load a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Load that is not counted, while caches fill and collectors settle.
    pub(crate) warmup: Duration,
    /// Load that is counted.
    pub(crate) duration: Duration,
}

/// Where a measurement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Warmup,
    Measured,
    Winddown,
}

/// The phase and the clock, shared by all tasks of a measurement.
pub(crate) struct Stopwatch {
    origin: Instant,
    phase: AtomicU8,
    /// Operations counted in the measured phase.
    operations: AtomicU64,
    errors: AtomicU64,
}

impl Stopwatch {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            phase: AtomicU8::new(0),
            operations: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }
    }

    /// Nanoseconds since this stopwatch was made.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Warmup,
            1 => Phase::Measured,
            _ => Phase::Winddown,
        }
    }

    /// Counts operations if the measured phase is on; says whether it is.
    pub(crate) fn count(&self, operations: u64) -> Phase {
        let phase = self.phase();
        if phase == Phase::Measured {
            self.operations.fetch_add(operations, Ordering::Relaxed);
        }
        phase
    }

    pub(crate) fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Goes through the phases while other tasks make the load; leaves the stopwatch in the last one.
    pub(crate) async fn run(&self, window: Window, servers: &[ProcessTree]) -> Result<Report> {
        tokio::time::sleep(window.warmup).await;
        let meter = Meter::start(servers)?;
        self.phase.store(1, Ordering::Relaxed);
        tokio::time::sleep(window.duration).await;
        self.phase.store(2, Ordering::Relaxed);
        let spent = meter.stop()?;
        Ok(spent.report(self.operations.load(Ordering::Relaxed)))
    }
}

/// Reads clocks at the beginning of what is measured.
pub(crate) struct Meter<'a> {
    servers: &'a [ProcessTree],
    server_cpu: Vec<Duration>,
    client_cpu: Duration,
    begun: Instant,
}

/// What was spent between a meter's start and stop.
pub(crate) struct Spent {
    elapsed: Duration,
    server_cpu: Vec<Duration>,
    client_cpu: Duration,
}

impl<'a> Meter<'a> {
    pub(crate) fn start(servers: &'a [ProcessTree]) -> Result<Self> {
        let server_cpu = servers.iter().map(ProcessTree::cpu).collect::<Result<_>>()?;
        Ok(Self { servers, server_cpu, client_cpu: own_cpu(), begun: Instant::now() })
    }

    /// Ends at this instant.
    pub(crate) fn stop(self) -> Result<Spent> {
        let elapsed = self.begun.elapsed();
        let mut server_cpu = Vec::new();
        for (server, before) in self.servers.iter().zip(&self.server_cpu) {
            server_cpu.push(server.cpu()?.saturating_sub(*before));
        }
        Ok(Spent { elapsed, server_cpu, client_cpu: own_cpu().saturating_sub(self.client_cpu) })
    }

    /// Ends the wall-clock time now, and the CPU time when the servers have become quiet: work that a server does
    /// behind its answers is charged too.
    pub(crate) async fn stop_when_quiet(self) -> Result<Spent> {
        let elapsed = self.begun.elapsed();
        let deadline = Instant::now() + Duration::from_secs(10);
        let total = |servers: &[ProcessTree]| -> Result<Duration> { servers.iter().map(ProcessTree::cpu).sum() };
        let mut last = total(self.servers)?;
        while Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = total(self.servers)?;
            if now.saturating_sub(last) <= Duration::from_millis(10) {
                break;
            }
            last = now;
        }
        Ok(Spent { elapsed, ..self.stop()? })
    }
}

impl Spent {
    /// The expense divided by the operations it was for.
    pub(crate) fn report(self, operations: u64) -> Report {
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / operations.max(1) as f64;
        let seconds = self.elapsed.as_secs_f64();
        Report {
            operations,
            seconds,
            per_second: operations as f64 / seconds,
            server_cpu_us: self.server_cpu.into_iter().map(each).collect(),
            client_cpu_us: each(self.client_cpu),
            ..Report::default()
        }
    }
}

/// Latencies of one task; merged when the measurement is over.
pub(crate) struct Recorder(Mutex<Histogram<u64>>);

impl Recorder {
    pub(crate) fn new() -> Result<Self> {
        // Nanoseconds up to a minute, two digits: 1 % is far below the noise of a run.
        Ok(Self(Mutex::new(Histogram::new_with_bounds(1_000, 60_000_000_000, 2)?)))
    }

    pub(crate) fn record(&self, nanoseconds: u64) {
        self.histogram().saturating_record(nanoseconds);
    }

    fn histogram(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The percentiles over all recorders, or `None` when nothing was recorded.
    pub(crate) fn summary<'a>(recorders: impl IntoIterator<Item = &'a Recorder>) -> Result<Option<Latency>> {
        let mut all = Histogram::<u64>::new_with_bounds(1_000, 60_000_000_000, 2)?;
        for recorder in recorders {
            all.add(&*recorder.histogram())?;
        }
        let microseconds = |quantile: f64| all.value_at_quantile(quantile) as f64 / 1e3;
        Ok((!all.is_empty()).then(|| Latency {
            p50_us: microseconds(0.50),
            p99_us: microseconds(0.99),
            p999_us: microseconds(0.999),
            max_us: all.max() as f64 / 1e3,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_taken_over_all_recorders() {
        let (one, two) = (Recorder::new().unwrap(), Recorder::new().unwrap());
        for microsecond in 1..=500 {
            one.record(microsecond * 1000);
            two.record((500 + microsecond) * 1000);
        }
        let latency = Recorder::summary([&one, &two]).unwrap().unwrap();
        for (found, expected) in [(latency.p50_us, 500.0), (latency.p99_us, 990.0), (latency.p999_us, 999.0)] {
            assert!((found / expected - 1.0).abs() < 0.01, "{found} instead of {expected}");
        }
        assert!(Recorder::summary([]).unwrap().is_none());
    }

    #[test]
    fn only_the_measured_phase_counts() {
        let stopwatch = Stopwatch::new();
        assert_eq!(stopwatch.count(5), Phase::Warmup);
        stopwatch.phase.store(1, Ordering::Relaxed);
        assert_eq!(stopwatch.count(3), Phase::Measured);
        stopwatch.phase.store(2, Ordering::Relaxed);
        assert_eq!(stopwatch.count(7), Phase::Winddown);
        assert_eq!(stopwatch.operations.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn costs_are_per_operation() {
        let spent = Spent {
            elapsed: Duration::from_secs(2),
            server_cpu: vec![Duration::from_secs(1), Duration::from_millis(500)],
            client_cpu: Duration::from_millis(100),
        };
        let report = spent.report(1000);
        assert_eq!(report.server_cpu_us, [1000.0, 500.0]);
        assert!((report.per_second - 500.0).abs() < 1e-9);
        assert!((report.client_cpu_us - 100.0).abs() < 1e-9);
    }
}
