//! The rows of the comparison: what each needs, how it is run, and which figures it gives.

use std::time::Duration;

use clap::ValueEnum;

use super::Subject;
use crate::Result;
use crate::endpoint::{Endpoint, Security};
use crate::load::chat::{Drive, Ends};
use crate::load::{chat, idle, login, offline, presence};
use crate::measure::Window;
use crate::process::ProcessTree;
use crate::report::Report;

/// One kind of load on all servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    /// Chat over TLS, 100 pairs with 1 message outstanding
    ChatTls1,
    /// Chat over TLS, 50 pairs with 10 messages outstanding
    ChatTls10,
    /// Chat without TLS, 50 pairs with 10 messages outstanding
    ChatPlain10,
    /// Chat over TLS at 2000 messages per second
    ChatOpen,
    /// Log-ins over direct TLS, 32 in flight
    LoginTls,
    /// Silent sessions over TLS
    IdleTls,
    /// Silent sessions without TLS
    IdlePlain,
    /// Messages to absent accounts, stored and drained
    Offline,
    /// Presence to 200 contacts
    Presence,
    /// Messages between two servers, 1 pair with 1 outstanding
    Federation1,
    /// Messages between two servers, 50 pairs with 10 outstanding
    Federation50,
}

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) window: Window,
    pub(crate) idle_sessions: u32,
    pub(crate) offline_messages: u32,
    pub(crate) contacts: u32,
}

/// What has to be there before a row runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    pub(crate) security: Security,
    pub(crate) pattern: &'static str,
    pub(crate) accounts: u32,
    /// How many instances of the server.
    pub(crate) sites: usize,
}

/// One line of the table, for one subject.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    pub(crate) label: String,
    pub(crate) value: f64,
    pub(crate) detail: String,
}

const BODY_BYTES: usize = 100;
const LOGIN_ACCOUNTS: u32 = 128;
const LOGINS_IN_FLIGHT: u32 = 32;
const SENDERS: u32 = 10;
const ABSENT: u32 = 100;

impl Sizes {
    pub(crate) fn full() -> Self {
        Self {
            window: Window { warmup: Duration::from_secs(2), duration: Duration::from_secs(6) },
            idle_sessions: 2000,
            offline_messages: 10_000,
            contacts: 200,
        }
    }

    pub(crate) fn quick() -> Self {
        Self {
            window: Window { warmup: Duration::from_millis(500), duration: Duration::from_millis(1500) },
            idle_sessions: 200,
            offline_messages: 2000,
            contacts: 50,
        }
    }
}

impl Row {
    pub(crate) fn needs(self, sizes: &Sizes) -> Needs {
        let (security, pattern, accounts, sites) = match self {
            Self::ChatTls1 => (Security::Direct, "chat{n}", 200, 1),
            Self::ChatTls10 | Self::ChatOpen => (Security::Direct, "chat{n}", 100, 1),
            Self::ChatPlain10 => (Security::Plain, "chat{n}", 100, 1),
            Self::LoginTls => (Security::Direct, "chat{n}", LOGIN_ACCOUNTS, 1),
            Self::IdleTls => (Security::Direct, "idle{n}", sizes.idle_sessions, 1),
            Self::IdlePlain => (Security::Plain, "idle{n}", sizes.idle_sessions, 1),
            Self::Offline => (Security::Direct, "away{n}", SENDERS + ABSENT, 1),
            Self::Presence => (Security::Direct, "fan{n}", sizes.contacts + 1, 1),
            Self::Federation1 => (Security::Direct, "chat{n}", 1, 2),
            Self::Federation50 => (Security::Direct, "chat{n}", 50, 2),
        };
        Needs { security, pattern, accounts, sites }
    }

    /// A relay does not keep messages.
    pub(crate) fn has_floor(self) -> bool {
        self != Self::Offline
    }

    pub(crate) async fn run(
        self,
        sizes: &Sizes,
        subject: Subject,
        endpoints: &[Endpoint],
        servers: &[ProcessTree],
    ) -> Result<Vec<Report>> {
        let here = endpoints.first().ok_or("no server")?;
        let window = sizes.window;
        let plan = |pairs, drive| chat::Plan { pairs, drive, body_bytes: BODY_BYTES, window };
        let closed = |outstanding| Drive::Closed { outstanding };
        // The floor of federation is one relay hop; the table doubles it.
        let ends = || match endpoints.get(1) {
            Some(there) if subject != Subject::Floor => Ends::Two(here, there),
            _ => Ends::One(here),
        };
        let report = match self {
            Self::ChatTls1 => chat::run(Ends::One(here), plan(100, closed(1)), servers).await?,
            Self::ChatTls10 | Self::ChatPlain10 => chat::run(Ends::One(here), plan(50, closed(10)), servers).await?,
            Self::ChatOpen => chat::run(Ends::One(here), plan(50, Drive::Open { rate: 2000.0 }), servers).await?,
            Self::LoginTls => login::run(here, LOGIN_ACCOUNTS, LOGINS_IN_FLIGHT, window, servers).await?,
            Self::IdleTls | Self::IdlePlain => idle::run(here, sizes.idle_sessions, window, servers).await?,
            Self::Offline => {
                let plan = offline::Plan {
                    senders: SENDERS,
                    absent: ABSENT,
                    messages: sizes.offline_messages,
                    body_bytes: BODY_BYTES,
                };
                return Ok(offline::run(here, plan, servers).await?.to_vec());
            }
            Self::Presence => presence::run(here, sizes.contacts, window, servers).await?,
            Self::Federation1 => chat::run(ends(), plan(1, closed(1)), servers).await?,
            Self::Federation50 => chat::run(ends(), plan(50, closed(10)), servers).await?,
        };
        Ok(vec![report])
    }

    /// The lines of the table that the reports of this row give for a subject.
    pub(crate) fn figures(self, sizes: &Sizes, subject: Subject, reports: &[Report]) -> Vec<Figure> {
        let mut figures = Vec::new();
        for report in reports {
            let hops = if subject == Subject::Floor && self.needs(sizes).sites == 2 { 2.0 } else { 1.0 };
            let cpu = report.total_cpu_us().unwrap_or_default() * hops;
            let rate = format!("{:.0}/s", report.per_second);
            let latency = report.latency;
            let mut line = |label: String, value: f64, detail: String| figures.push(Figure { label, value, detail });
            match self {
                Self::ChatTls1 => line("chat, TLS, 100 pairs, 1 outstanding: CPU µs per message".into(), cpu, rate),
                Self::ChatTls10 => line("chat, TLS, 50 pairs, 10 outstanding: CPU µs per message".into(), cpu, rate),
                Self::ChatPlain10 => {
                    line("chat, plaintext, 50 pairs, 10 outstanding: CPU µs per message".into(), cpu, rate);
                }
                Self::ChatOpen => {
                    line("chat, TLS, open loop 2000/s: CPU µs per message".into(), cpu, rate);
                    if let Some(latency) = latency {
                        let detail = format!("p50 {:.0}, p99.9 {:.0}", latency.p50_us, latency.p999_us);
                        line("the same: latency p99, µs".into(), latency.p99_us, detail);
                    }
                }
                Self::LoginTls => line("log-in, direct TLS, SCRAM-SHA-1: CPU ms".into(), cpu / 1000.0, rate),
                Self::IdleTls | Self::IdlePlain => {
                    let how = if self == Self::IdleTls { "TLS" } else { "plaintext" };
                    let label = format!("idle, {how}, {} sessions: KiB each", sizes.idle_sessions);
                    line(label, report.memory_kib.unwrap_or_default(), String::new());
                }
                Self::Offline => line(format!("{}: CPU µs per message", report.mode), cpu, rate),
                Self::Presence => {
                    line(format!("presence to {} contacts: CPU µs per copy", sizes.contacts), cpu, rate);
                }
                Self::Federation1 | Self::Federation50 => {
                    let load =
                        if self == Self::Federation1 { "1 pair, 1 outstanding" } else { "50 pairs, 10 outstanding" };
                    line(format!("federation, {load}: CPU µs per message, both sides"), cpu, rate);
                    if let Some(latency) = latency.filter(|_| self == Self::Federation1) {
                        let detail = format!("p99 {:.0}", latency.p99_us * hops);
                        line("the same: latency p50, µs".into(), latency.p50_us * hops, detail);
                    }
                }
            }
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Latency;

    #[test]
    fn federation_adds_both_sides_and_doubles_the_floors_single_hop() {
        let latency = Some(Latency { p50_us: 70.0, p99_us: 90.0, p999_us: 0.0, max_us: 0.0 });
        let one = Report { server_cpu_us: vec![32.0], latency, ..Report::default() };
        let two = Report { server_cpu_us: vec![40.0, 41.0], latency, ..Report::default() };
        let values = |subject, report: Report| -> Vec<f64> {
            let figures = Row::Federation1.figures(&Sizes::quick(), subject, &[report]);
            figures.iter().map(|figure| figure.value).collect()
        };
        assert_eq!(values(Subject::Floor, one), [64.0, 140.0]);
        assert_eq!(values(Subject::Prosody, two), [81.0, 70.0]);
    }

    #[test]
    fn every_row_gives_figures_for_what_it_measures() {
        for row in Row::value_variants() {
            let report = Report { server_cpu_us: vec![1.0], memory_kib: Some(1.0), ..Report::default() };
            assert!(!row.figures(&Sizes::full(), Subject::Stonechat, &[report]).is_empty(), "{row:?}");
        }
    }
}
