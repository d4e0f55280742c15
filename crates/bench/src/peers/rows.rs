//! The rows of the comparison: what each needs, how it is run, and which figures it gives.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::ValueEnum;

use super::Subject;
use crate::Result;
use crate::endpoint::{Endpoint, Security};
use crate::load::chat::{Drive, Ends, Style};
use crate::load::login::Way;
use crate::load::{archive, chat, idle, login, offline, presence};
use crate::measure::Window;
use crate::process::ProcessTree;
use crate::report::Report;
use crate::session::Continuity;

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
    /// Chat with stream management, an acknowledgement asked for behind each message
    ChatCounted,
    /// The same with carbons to two devices of each account
    ChatCarbons,
    /// Chat with stream management between sessions that may be resumed
    ChatResumable,
    /// Chat whose messages are archived before they are delivered, 1 outstanding
    Archived1,
    /// The same with 10 outstanding
    Archived10,
    /// The same, delivered before they are archived, 1 outstanding
    Relaxed1,
    /// The same with 10 outstanding
    Relaxed10,
    /// The newest 1000 messages of an archive in pages of 250
    ArchivePages,
    /// Log-ins over direct TLS, 32 in flight
    LoginTls,
    /// The same by SASL2 with Bind 2
    LoginSasl2,
    /// The same by token
    LoginToken,
    /// Resumption of a session, step by step
    Resume,
    /// Resumption within SASL2, by token
    ResumeToken,
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

/// How a server is set up for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Flavour {
    /// Without an archive, and without what rows before stream management did not know.
    Plain,
    /// With stream management and carbons.
    Managed,
    /// With an archive too, durable.
    Archived,
    /// With an archive that is written behind the delivery.
    Relaxed,
}

impl Flavour {
    /// Part of the name of an instance's directory: those that keep different things share none.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Managed => "managed",
            Self::Archived => "archived",
            Self::Relaxed => "relaxed",
        }
    }
}

/// What has to be there before a row runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    pub(crate) security: Security,
    pub(crate) pattern: &'static str,
    pub(crate) accounts: u32,
    /// How many instances of the server.
    pub(crate) sites: usize,
    pub(crate) flavour: Flavour,
}

/// One line of the table, for one subject.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    pub(crate) label: String,
    pub(crate) value: f64,
    pub(crate) detail: String,
    pub(crate) budget: Option<Budget>,
}

/// What Stonechat's figure must reach (docs/performance.md).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Budget {
    AtMost(f64),
    /// So many times the floor at most, and so many times better than the rival at least.
    Ratios {
        floor: f64,
        rival: f64,
    },
}

const BODY_BYTES: usize = 100;
/// The newest messages of an archive that are read, and so many at a time.
const NEWEST: u32 = 1000;
const PAGE: u32 = 250;
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
            Self::ChatCounted | Self::ChatCarbons | Self::ChatResumable => (Security::Direct, "chat{n}", 100, 1),
            Self::Archived1 | Self::Relaxed1 => (Security::Direct, "chat{n}", 200, 1),
            Self::Archived10 | Self::Relaxed10 => (Security::Direct, "chat{n}", 100, 1),
            Self::ArchivePages => (Security::Direct, "read{n}", 2, 1),
            Self::LoginTls | Self::LoginSasl2 | Self::LoginToken | Self::Resume | Self::ResumeToken => {
                (Security::Direct, "chat{n}", LOGIN_ACCOUNTS, 1)
            }
            Self::IdleTls => (Security::Direct, "idle{n}", sizes.idle_sessions, 1),
            Self::IdlePlain => (Security::Plain, "idle{n}", sizes.idle_sessions, 1),
            Self::Offline => (Security::Direct, "away{n}", SENDERS + ABSENT, 1),
            Self::Presence => (Security::Direct, "fan{n}", sizes.contacts + 1, 1),
            Self::Federation1 => (Security::Direct, "chat{n}", 1, 2),
            Self::Federation50 => (Security::Direct, "chat{n}", 50, 2),
        };
        Needs { security, pattern, accounts, sites, flavour: self.flavour() }
    }

    fn flavour(self) -> Flavour {
        match self {
            Self::ChatCounted | Self::ChatCarbons | Self::ChatResumable | Self::Resume | Self::ResumeToken => {
                Flavour::Managed
            }
            Self::Archived1 | Self::Archived10 | Self::ArchivePages => Flavour::Archived,
            Self::Relaxed1 | Self::Relaxed10 => Flavour::Relaxed,
            _ => Flavour::Plain,
        }
    }

    /// Whether the subject has what the row measures. A relay keeps nothing and copies for nobody, and its floor for one
    /// way of delivery is that for the others; Prosody has no archive that is written behind the delivery, and its SASL2
    /// (`mod_sasl2` in Debian's prosody-modules) asks functions of the connection that 0.12 does not have.
    pub(crate) fn is_for(self, subject: Subject) -> bool {
        match subject {
            Subject::Floor => !matches!(
                self,
                Self::Offline
                    | Self::ChatCarbons
                    | Self::ChatResumable
                    | Self::Relaxed1
                    | Self::Relaxed10
                    | Self::ArchivePages
            ),
            Subject::Prosody => !matches!(
                self,
                Self::Relaxed1 | Self::Relaxed10 | Self::LoginSasl2 | Self::LoginToken | Self::ResumeToken
            ),
            Subject::Stonechat => true,
        }
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
        let plan = |pairs, drive| chat::Plan { pairs, drive, body_bytes: BODY_BYTES, style: Style::default(), window };
        let closed = |outstanding| Drive::Closed { outstanding };
        let counted = |watching, continuity| {
            // The relay hands on every byte, and nobody asks it for anything.
            let acknowledged = Some(NonZeroU32::MIN).filter(|_| subject != Subject::Floor);
            chat::Plan { style: Style { acknowledged, continuity, watching }, ..plan(50, closed(10)) }
        };
        let log_in = |way| login::Plan { way, accounts: LOGIN_ACCOUNTS, in_flight: LOGINS_IN_FLIGHT, window };
        // The floor of federation is one relay hop; the table doubles it.
        let ends = || match endpoints.get(1) {
            Some(there) if subject != Subject::Floor => Ends::Two(here, there),
            _ => Ends::One(here),
        };
        let report = match self {
            Self::ChatTls1 => chat::run(Ends::One(here), plan(100, closed(1)), servers).await?,
            Self::ChatTls10 | Self::ChatPlain10 => chat::run(Ends::One(here), plan(50, closed(10)), servers).await?,
            Self::ChatOpen => chat::run(Ends::One(here), plan(50, Drive::Open { rate: 2000.0 }), servers).await?,
            Self::ChatCounted => chat::run(Ends::One(here), counted(0, Continuity::EndsWithItsLink), servers).await?,
            Self::ChatCarbons => chat::run(Ends::One(here), counted(1, Continuity::EndsWithItsLink), servers).await?,
            Self::ChatResumable => chat::run(Ends::One(here), counted(0, Continuity::Resumable), servers).await?,
            Self::Archived1 | Self::Relaxed1 => {
                let report = chat::run(Ends::One(here), plan(100, closed(1)), servers).await?;
                is_archived(subject, here).await?;
                report
            }
            Self::Archived10 | Self::Relaxed10 => {
                let report = chat::run(Ends::One(here), plan(50, closed(10)), servers).await?;
                is_archived(subject, here).await?;
                report
            }
            Self::ArchivePages => {
                let plan = archive::Plan { messages: NEWEST, page: PAGE, body_bytes: BODY_BYTES, window };
                archive::run(here, plan, servers).await?
            }
            Self::LoginTls => login::run(here, log_in(Way::Steps), servers).await?,
            Self::LoginSasl2 => login::run(here, log_in(Way::Sasl2), servers).await?,
            Self::LoginToken => login::run(here, log_in(Way::Token), servers).await?,
            Self::Resume => login::run(here, log_in(Way::Resume), servers).await?,
            Self::ResumeToken => login::run(here, log_in(Way::ResumeToken), servers).await?,
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

    /// The budget of one of the lines that [`Row::figures`] gives, in its unit.
    fn budget(self, line: usize) -> Option<Budget> {
        let most = match (self, line) {
            (Self::ChatTls1, 0) => return Some(Budget::Ratios { floor: 1.6, rival: 5.0 }),
            (Self::ChatTls10, 0) => 10.0,
            (Self::ChatOpen, 1) => 500.0,
            (Self::ChatCarbons, 0) => 14.0,
            (Self::Archived1 | Self::Archived10, 0) => 70.0,
            (Self::ArchivePages, 0) => 8.0,
            (Self::LoginTls, 0) => 0.4,
            (Self::IdleTls, 0) => 9.0,
            (Self::IdlePlain, 0) => 5.0,
            (Self::Offline, 0) => 40.0,
            (Self::Presence, 0) => 8.0,
            (Self::Federation1, 0) => 90.0,
            _ => return None,
        };
        Some(Budget::AtMost(most))
    }

    /// The lines of the table that the reports of this row give for a subject.
    pub(crate) fn figures(self, sizes: &Sizes, subject: Subject, reports: &[Report]) -> Vec<Figure> {
        let mut figures = Vec::new();
        for report in reports {
            let hops = if subject == Subject::Floor && self.needs(sizes).sites == 2 { 2.0 } else { 1.0 };
            let cpu = report.total_cpu_us().unwrap_or_default() * hops;
            let rate = format!("{:.0}/s", report.per_second);
            let latency = report.latency;
            let mut line = |label: String, value: f64, detail: String| {
                let budget = self.budget(figures.len());
                figures.push(Figure { label, value, detail, budget });
            };
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
                Self::ChatCounted => {
                    line(
                        "chat, TLS, stream management, 50 pairs, 10 outstanding: CPU µs per message".into(),
                        cpu,
                        rate,
                    );
                }
                Self::ChatCarbons => {
                    line("the same with carbons, 2 devices a side: CPU µs per delivery".into(), cpu, rate);
                }
                Self::ChatResumable => {
                    line(
                        "chat, TLS, resumable sessions, 50 pairs, 10 outstanding: CPU µs per message".into(),
                        cpu,
                        rate,
                    );
                }
                Self::Archived1 | Self::Archived10 | Self::Relaxed1 | Self::Relaxed10 => {
                    let load = match self {
                        Self::Archived1 | Self::Relaxed1 => "100 pairs, 1 outstanding",
                        _ => "50 pairs, 10 outstanding",
                    };
                    let how = match self.flavour() {
                        Flavour::Relaxed => "archived, `durability = \"relaxed\"`",
                        _ => "archived",
                    };
                    let p99 = latency.map(|latency| format!(", p99 {:.1} ms", latency.p99_us / 1000.0));
                    let detail = format!("{rate}{}", p99.unwrap_or_default());
                    line(format!("chat, TLS, {how}, {load}: CPU µs per message"), cpu, detail);
                }
                Self::ArchivePages => {
                    line(format!("archive, newest {NEWEST} in pages of {PAGE}: CPU µs per message"), cpu, rate);
                    if let Some(latency) = latency {
                        let detail = format!("p99 {:.1}", latency.p99_us / 1000.0);
                        line("the same: latency p50 of a page, ms".into(), latency.p50_us / 1000.0, detail);
                    }
                }
                Self::LoginTls | Self::LoginSasl2 | Self::LoginToken | Self::Resume | Self::ResumeToken => {
                    let what = match self {
                        Self::LoginSasl2 => "log-in by SASL2, direct TLS, SCRAM-SHA-1",
                        Self::LoginToken => "log-in by token, direct TLS",
                        Self::Resume => "resumption, direct TLS, SCRAM-SHA-1",
                        Self::ResumeToken => "resumption by token, direct TLS",
                        _ => "log-in, direct TLS, SCRAM-SHA-1",
                    };
                    let trips = report.round_trips.map(|trips| format!(", {trips:.0} round trips"));
                    let detail = format!("{rate}{}", trips.unwrap_or_default());
                    line(format!("{what}: CPU ms"), cpu / 1000.0, detail);
                }
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

/// A row about an archive means nothing when there is none.
async fn is_archived(subject: Subject, endpoint: &Endpoint) -> Result<()> {
    if subject == Subject::Floor || archive::newest(endpoint, 1, 1).await? == 1 {
        Ok(())
    } else {
        Err("nothing was archived".into())
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
