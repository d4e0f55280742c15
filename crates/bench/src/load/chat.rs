//! Messages between pairs, on one server or across two.
//!
//! Closed loop: a number of messages is kept in flight in each pair; who receives one answers it with the next, so
//! none waits for the client's own coordination. Every message is a write and a TLS record of its own, as a real
//! client's: with one outstanding it is a wake-up of the server, with several the server may find some together. Open
//! loop: a thread of its own sends at a fixed rate whatever comes back; latency is counted from the send, and a send never
//! waits.
//!
//! With several devices a side, those that do not converse count the carbons that they are sent of both directions.

use std::io::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::endpoint::Endpoint;
use crate::framing::{Frame, attribute, contains, name};
use crate::link::Link;
use crate::measure::{Phase, Recorder, Stopwatch, Window};
use crate::process::ProcessTree;
use crate::relay::Place;
use crate::report::Report;
use crate::session::{Continuity, Entry, Extras, Kind, Session, Stream, Until, enter_all, request};
use crate::{Error, Result};

/// How long messages may still be under way when the load has ended: a server that syncs its disk for each is slow.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// What drives the messages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Drive {
    /// So many messages in flight in each pair.
    Closed { outstanding: u32 },
    /// So many messages per second over all pairs.
    Open { rate: f64 },
}

/// A chat measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) pairs: u32,
    pub(crate) drive: Drive,
    pub(crate) body_bytes: usize,
    pub(crate) style: Style,
    pub(crate) window: Window,
}

/// What the sessions use beside messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Stream management, the client asking for an acknowledgement behind so many messages.
    pub(crate) acknowledged: Option<NonZeroU32>,
    /// Whether the sessions may be resumed, where they count.
    pub(crate) continuity: Continuity,
    /// Devices of each account beside the one that converses; with any, all have carbons.
    pub(crate) watching: u32,
}

/// The names of those that watch.
const WATCHERS: [&str; 4] = ["second", "third", "fourth", "fifth"];

impl Default for Style {
    fn default() -> Self {
        Self { acknowledged: None, continuity: Continuity::EndsWithItsLink, watching: 0 }
    }
}

impl Style {
    fn extras(self) -> Extras {
        Extras { counting: self.acknowledged.map(|_| self.continuity), carbons: self.watching > 0 }
    }

    /// How often a message is delivered: to its recipient, and to whoever watches on either side.
    fn deliveries(self) -> u64 {
        1 + 2 * u64::from(self.watching)
    }
}

/// The two ends of the pairs.
pub(crate) enum Ends<'a> {
    /// Both on one server: accounts 1 to 2 × pairs.
    One(&'a Endpoint),
    /// One on each: accounts 1 to pairs of either.
    Two(&'a Endpoint, &'a Endpoint),
}

/// Everything the tasks of a run share.
struct Shared {
    stopwatch: Stopwatch,
    sent: AtomicU64,
    received: AtomicU64,
    drive: Drive,
    style: Style,
}

/// The bytes around the identifier of a message.
struct Template {
    before: Vec<u8>,
    after: Vec<u8>,
}

pub(crate) async fn run(ends: Ends<'_>, plan: Plan, servers: &[ProcessTree]) -> Result<Report> {
    let watchers =
        WATCHERS.get(..usize::try_from(plan.style.watching)?).ok_or("more devices than there are names for")?;
    let list = (1..=plan.pairs).flat_map(|pair| {
        let ((left, left_number), (right, right_number)) = match ends {
            Ends::One(endpoint) => ((endpoint, 2 * pair - 1), (endpoint, 2 * pair)),
            Ends::Two(left, right) => ((left, pair), (right, pair)),
        };
        let entry = move |number, resource| {
            let extras = plan.style.extras();
            Entry { resource, extras, ..Entry::simple(number, Place::Pair(pair), Until::Present) }
        };
        std::iter::once("bench").chain(watchers.iter().copied()).flat_map(move |resource| {
            [(left.clone(), entry(left_number, resource)), (right.clone(), entry(right_number, resource))]
        })
    });
    let sessions = enter_all(list).await?;

    let shared = Arc::new(Shared {
        stopwatch: Stopwatch::new(),
        sent: AtomicU64::new(0),
        received: AtomicU64::new(0),
        drive: plan.drive,
        style: plan.style,
    });
    let mut recorders = Vec::new();
    let mut senders = Vec::new();
    let mut tasks = JoinSet::<Result<()>>::new();
    let mut sessions = sessions.into_iter();
    while let (Some(left), Some(right)) = (sessions.next(), sessions.next()) {
        let to_right = Template::new(&right.jid, plan.body_bytes);
        let to_left = Template::new(&left.jid, plan.body_bytes);
        senders.push((Arc::clone(&left.link), Template::new(&right.jid, plan.body_bytes)));
        for (session, template) in [(left, to_right), (right, to_left)] {
            let recorder = Arc::new(Recorder::new()?);
            recorders.push(Arc::clone(&recorder));
            tasks.spawn(converse(session, template, Arc::clone(&shared), recorder));
        }
        for session in sessions.by_ref().take(2 * watchers.len()) {
            tasks.spawn(watch(session, Arc::clone(&shared)));
        }
    }

    let pacer = match plan.drive {
        Drive::Closed { outstanding } => {
            for (link, template) in &senders {
                let mut bytes = Vec::new();
                for _ in 0..outstanding {
                    template.write(&mut bytes, shared.stopwatch.now())?;
                }
                shared.sent(u64::from(outstanding));
                link.send(&bytes)?;
            }
            None
        }
        Drive::Open { rate } => {
            let shared = Arc::clone(&shared);
            Some(std::thread::spawn(move || pace(&senders, rate, &shared)))
        }
    };

    let measured = async {
        let report = shared.stopwatch.run(plan.window, servers).await?;
        let deadline = Instant::now() + DRAIN_LIMIT;
        while shared.under_way() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok::<_, Error>(report)
    };
    let report = tokio::select! {
        report = measured => report?,
        Some(ended) = tasks.join_next() => {
            ended??;
            return Err("a connection was closed during the measurement".into());
        }
    };
    if let Some(pacer) = pacer {
        pacer.join().map_err(|_| "the pacing thread failed")??;
    }
    tasks.shutdown().await;
    Ok(Report {
        latency: Recorder::summary(recorders.iter().map(Arc::as_ref))?,
        lost: shared.under_way(),
        errors: shared.stopwatch.errors(),
        ..report
    }
    .named("chat", if plan.style.watching > 0 { "delivery" } else { "message" }))
}

impl Shared {
    /// So many messages were sent.
    fn sent(&self, messages: u64) {
        self.sent.fetch_add(messages * self.style.deliveries(), Ordering::Relaxed);
    }

    /// So many came, themselves or as carbons.
    fn received(&self, messages: u64) {
        self.stopwatch.count(messages);
        self.received.fetch_add(messages, Ordering::Relaxed);
    }

    fn under_way(&self) -> u64 {
        self.sent.load(Ordering::Relaxed).saturating_sub(self.received.load(Ordering::Relaxed))
    }
}

/// Receives, and in a closed loop answers.
async fn converse(
    mut session: Session,
    template: Template,
    shared: Arc<Shared>,
    recorder: Arc<Recorder>,
) -> Result<()> {
    let mut answer = Vec::new();
    // Of those of the first portion none is asked for: they are under way when this begins.
    let mut unasked = 0;
    loop {
        if session.receive().await? == Stream::Closed {
            return Err("the server closed the connection".into());
        }
        let now = shared.stopwatch.now();
        let (mut received, mut answered) = (0, 0);
        while let Some(frame) = session.framer.next_frame() {
            let element = match frame {
                Frame::Element(element) => element,
                Frame::Header(_) => continue,
                Frame::End => return Err("the server closed the stream".into()),
            };
            if let Some(counting) = &mut session.counting
                && counting.take(element, &session.link)? == Kind::Management
            {
                continue;
            }
            let Some(sent) = timestamp(element) else { continue };
            if attribute(element, "type") == Some(b"error") {
                shared.stopwatch.error();
                continue;
            }
            received += 1;
            match shared.stopwatch.phase() {
                Phase::Measured => recorder.record(now.saturating_sub(sent)),
                Phase::Warmup => {}
                Phase::Winddown => continue,
            }
            if matches!(shared.drive, Drive::Closed { .. }) {
                answer.clear();
                template.write(&mut answer, shared.stopwatch.now())?;
                if let Some(every) = shared.style.acknowledged {
                    unasked += 1;
                    if unasked >= every.get() {
                        answer.extend_from_slice(request().as_bytes());
                        unasked = 0;
                    }
                }
                session.link.send(&answer)?;
                answered += 1;
            }
        }
        if received > 0 {
            shared.sent(answered);
            shared.received(received);
        }
    }
}

/// Counts the carbons of one device.
async fn watch(mut session: Session, shared: Arc<Shared>) -> Result<()> {
    loop {
        if session.receive().await? == Stream::Closed {
            return Err("the server closed the connection".into());
        }
        let mut received = 0;
        while let Some(frame) = session.framer.next_frame() {
            let element = match frame {
                Frame::Element(element) => element,
                Frame::Header(_) => continue,
                Frame::End => return Err("the server closed the stream".into()),
            };
            if let Some(counting) = &mut session.counting
                && counting.take(element, &session.link)? == Kind::Management
            {
                continue;
            }
            received += u64::from(name(element) == b"message" && contains(element, "urn:xmpp:carbons:2"));
        }
        if received > 0 {
            shared.received(received);
        }
    }
}

/// Sends at a fixed rate, pair after pair, until the load ends.
fn pace(senders: &[(Arc<Link>, Template)], rate: f64, shared: &Shared) -> Result<()> {
    let begun = Instant::now();
    let mut bytes = Vec::new();
    for (count, (link, template)) in (0_u32..).zip(senders.iter().cycle()) {
        let due = begun + Duration::from_secs_f64(f64::from(count) / rate);
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        if shared.stopwatch.phase() == Phase::Winddown {
            break;
        }
        bytes.clear();
        template.write(&mut bytes, shared.stopwatch.now())?;
        shared.sent(1);
        if shared.style.acknowledged.is_some_and(|every| count % every == 0) {
            bytes.extend_from_slice(request().as_bytes());
        }
        link.send(&bytes)?;
    }
    Ok(())
}

impl Template {
    fn new(to: &str, body_bytes: usize) -> Self {
        Self {
            before: format!("<message to='{}' type='chat' id='t", escape(to)).into_bytes(),
            after: format!("'><body>{}</body></message>", "x".repeat(body_bytes)).into_bytes(),
        }
    }

    /// The time of sending is the identifier, which a server hands on as it is (RFC 6120 §8.1.3).
    fn write(&self, bytes: &mut Vec<u8>, now: u64) -> Result<()> {
        bytes.extend_from_slice(&self.before);
        write!(bytes, "{now:016x}")?;
        bytes.extend_from_slice(&self.after);
        Ok(())
    }
}

fn timestamp(message: &[u8]) -> Option<u64> {
    if name(message) != b"message" {
        return None;
    }
    let id = attribute(message, "id")?.strip_prefix(b"t")?;
    u64::from_str_radix(std::str::from_utf8(id).ok()?, 16).ok()
}

/// Escapes an address for an attribute in single quotes.
pub(crate) fn escape(address: &str) -> String {
    address.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_sending_comes_back_from_the_message() {
        let mut bytes = Vec::new();
        Template::new("o'neil@x/r", 3).write(&mut bytes, 0xABCD).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text, "<message to='o&apos;neil@x/r' type='chat' id='t000000000000abcd'><body>xxx</body></message>");
        assert_eq!(timestamp(text.as_bytes()), Some(0xABCD));
        assert_eq!(timestamp(b"<message id='other'/>"), None);
    }
}
