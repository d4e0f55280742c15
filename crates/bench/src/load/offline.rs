//! Messages to accounts that are away: storing them, and handing them out when their owners come back (XEP-0160).
//!
//! A sender asks for a ping after each window of messages, which bounds what is in flight; the CPU of both parts is
//! counted until the server is quiet, since a server may store behind its answers. The log-ins come before the drain
//! is measured: only the presence that asks for the messages belongs to it. Order is checked per sender.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::chat::escape;
use super::login::leave_all;
use crate::endpoint::Endpoint;
use crate::framing::{attribute, name};
use crate::measure::Meter;
use crate::process::ProcessTree;
use crate::relay::Place;
use crate::report::Report;
use crate::session::{Entry, Session, Until, enter_all};
use crate::{Error, Result};

/// Messages a sender sends between two pings.
const BATCH: u32 = 20;
/// How long the drain may go without a message.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// An offline measurement: senders are accounts 1 to `senders`, the absent ones follow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) senders: u32,
    pub(crate) absent: u32,
    pub(crate) messages: u32,
    pub(crate) body_bytes: usize,
}

/// Returns the reports of the storing and of the drain.
pub(crate) async fn run(endpoint: &Endpoint, plan: Plan, servers: &[ProcessTree]) -> Result<[Report; 2]> {
    let absent = plan.senders + 1..=plan.senders + plan.absent;
    let run = {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| error.to_string())?;
        u64::from_ne_bytes(random)
    };
    // What an earlier run left is drained first.
    let mut sessions = present(endpoint, absent.clone(), Until::Present).await?;
    for session in &mut sessions {
        ping(session, &endpoint.domain, "emptied").await?;
    }
    leave_all(endpoint, sessions).await?;

    let senders = present(endpoint, 1..=plan.senders, Until::Present).await?;
    let meter = Meter::start(servers)?;
    let errors = Arc::new(AtomicU64::new(0));
    let mut sending = JoinSet::new();
    for (index, mut session) in (0_u32..).zip(senders) {
        let (endpoint, errors) = (endpoint.clone(), Arc::clone(&errors));
        sending.spawn(async move {
            let mine = (index..plan.messages).step_by(usize::try_from(plan.senders)?);
            let mut batch = String::new();
            let mut waiting = 0;
            let body = "x".repeat(plan.body_bytes);
            for sequence in mine {
                let to = endpoint.bare_jid(plan.senders + 1 + (sequence / plan.senders) % plan.absent);
                write!(
                    batch,
                    "<message to='{}' type='chat' id='o{run:016x}-{index}-{sequence}'><body>{body}</body></message>",
                    escape(&to)
                )?;
                waiting += 1;
                if waiting == BATCH {
                    flush(&mut session, &mut batch, &endpoint.domain, &errors).await?;
                    waiting = 0;
                }
            }
            flush(&mut session, &mut batch, &endpoint.domain, &errors).await?;
            Ok::<_, Error>(session)
        });
    }
    let mut senders = Vec::new();
    while let Some(sent) = sending.join_next().await {
        senders.push(sent??);
    }
    let stored = meter.stop_when_quiet().await?.report(u64::from(plan.messages));
    leave_all(endpoint, senders).await?;
    let stored = Report { errors: errors.load(Ordering::Relaxed), ..stored }.named("offline store", "message");

    let sessions = present(endpoint, absent, Until::Roster).await?;
    let meter = Meter::start(servers)?;
    let arrived = Arc::new(AtomicU64::new(0));
    let disorder = Arc::new(AtomicU64::new(0));
    let mut draining = JoinSet::<Result<()>>::new();
    for mut session in sessions {
        let (arrived, disorder) = (Arc::clone(&arrived), Arc::clone(&disorder));
        draining.spawn(async move {
            session.link.send(b"<presence/>")?;
            let mut last = HashMap::new();
            loop {
                let element = session.next_element().await?;
                let Some((sender, sequence)) = identify(&element, run) else { continue };
                arrived.fetch_add(1, Ordering::Relaxed);
                // A duplicate is out of order too.
                if last.insert(sender, sequence).is_some_and(|before| before >= sequence) {
                    disorder.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    let mut progress = (0, Instant::now());
    while progress.1.elapsed() < DRAIN_LIMIT {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let now = arrived.load(Ordering::Relaxed);
        if now >= u64::from(plan.messages) {
            break;
        }
        if now > progress.0 {
            progress = (now, Instant::now());
        }
        if let Some(ended) = draining.try_join_next() {
            ended??;
        }
    }
    let spent = meter.stop_when_quiet().await?;
    draining.shutdown().await;
    let arrived = arrived.load(Ordering::Relaxed);
    let drained = spent.report(arrived);
    let drained = Report {
        lost: u64::from(plan.messages).saturating_sub(arrived),
        errors: disorder.load(Ordering::Relaxed),
        ..drained
    }
    .named("offline drain", "message");
    Ok([stored, drained])
}

async fn present(endpoint: &Endpoint, numbers: impl IntoIterator<Item = u32>, until: Until) -> Result<Vec<Session>> {
    let entries = numbers.into_iter().map(|number| Entry::simple(number, Place::Idle, until));
    enter_all(entries.map(|entry| (endpoint.clone(), entry))).await
}

async fn flush(session: &mut Session, batch: &mut String, domain: &str, errors: &AtomicU64) -> Result<()> {
    write!(batch, "{}", ping_request(domain, "batch"))?;
    session.link.send(batch.as_bytes())?;
    batch.clear();
    session
        .response("batch", |other| {
            if name(other) == b"message" && attribute(other, "type") == Some(b"error") {
                errors.fetch_add(1, Ordering::Relaxed);
            }
        })
        .await?;
    Ok(())
}

async fn ping(session: &mut Session, domain: &str, id: &str) -> Result<()> {
    session.query(id, &ping_request(domain, id)).await?;
    Ok(())
}

fn ping_request(domain: &str, id: &str) -> String {
    format!("<iq type='get' to='{domain}' id='{id}'><ping xmlns='urn:xmpp:ping'/></iq>")
}

/// The sender and the sequence number of a message of this run.
fn identify(element: &[u8], run: u64) -> Option<(u32, u32)> {
    if name(element) != b"message" {
        return None;
    }
    let id = std::str::from_utf8(attribute(element, "id")?).ok()?;
    let rest = id.strip_prefix(&format!("o{run:016x}-"))?;
    let (sender, sequence) = rest.split_once('-')?;
    Some((sender.parse().ok()?, sequence.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_another_run_is_not_ours() {
        let message = b"<message id='o00000000000000ff-3-17'><body/></message>";
        assert_eq!(identify(message, 0xFF), Some((3, 17)));
        assert_eq!(identify(message, 0xFE), None);
        assert_eq!(identify(b"<presence id='o00000000000000ff-3-17'/>", 0xFF), None);
    }
}
