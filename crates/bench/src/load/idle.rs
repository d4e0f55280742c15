//! Sessions that are logged in, have their roster, are present and say nothing: memory of each, and what silence costs.

use std::time::Duration;

use crate::Result;
use crate::endpoint::Endpoint;
use crate::measure::{Meter, Window};
use crate::process::ProcessTree;
use crate::relay::Place;
use crate::report::Report;
use crate::session::{Entry, Until, enter_all};

/// Opens the sessions and holds them for the window. The report's operations are sessions; its CPU is that of the
/// silent time.
pub(crate) async fn run(endpoint: &Endpoint, sessions: u32, window: Window, servers: &[ProcessTree]) -> Result<Report> {
    let before = memory(servers)?;
    let entries = (1..=sessions).map(|number| Entry::simple(number, Place::Idle, Until::Present));
    let held = enter_all(entries.map(|entry| (endpoint.clone(), entry))).await?;
    tokio::time::sleep(window.warmup.max(Duration::from_secs(1))).await;
    let meter = Meter::start(servers)?;
    tokio::time::sleep(window.duration).await;
    let report = meter.stop()?.report(u64::from(sessions));
    let after = memory(servers)?;
    drop(held);
    let memory_kib = (!servers.is_empty()).then(|| (after as f64 - before as f64) / f64::from(sessions.max(1)));
    Ok(Report { memory_kib, ..report }.named("idle", "session"))
}

fn memory(servers: &[ProcessTree]) -> Result<u64> {
    servers.iter().map(ProcessTree::pss_kib).sum()
}
