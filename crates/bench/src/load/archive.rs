//! Pages of an archive (XEP-0313): the newest messages, read backwards a page at a time, as a client that catches up does.
//!
//! Account 1 has the archive; what is missing in it is sent by account 2 first. One page is asked for at a time by each
//! reader, which all are devices of account 1.

use std::fmt::Write as _;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::chat::escape;
use super::login::leave_all;
use crate::endpoint::Endpoint;
use crate::framing::{Frame, attribute, contains, name, text_of};
use crate::measure::{Phase, Recorder, Stopwatch, Window};
use crate::process::ProcessTree;
use crate::relay::Place;
use crate::report::Report;
use crate::session::{Entry, Session, Stream, Until, enter_all};
use crate::{Error, Result};

/// Messages between two pings while the archive is filled.
const BATCH: u32 = 50;
const READERS: [&str; 4] = ["bench", "second", "third", "fourth"];

/// An archive measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// The newest so many are read.
    pub(crate) messages: u32,
    pub(crate) page: u32,
    pub(crate) body_bytes: usize,
    pub(crate) window: Window,
}

/// Loads the server with readings. The report counts messages; its latency is that of a page.
pub(crate) async fn run(endpoint: &Endpoint, plan: Plan, servers: &[ProcessTree]) -> Result<Report> {
    fill(endpoint, plan).await?;
    let readers =
        READERS.map(|resource| (endpoint.clone(), Entry { resource, ..Entry::simple(1, Place::Idle, Until::Present) }));
    let stopwatch = Arc::new(Stopwatch::new());
    let mut recorders = Vec::new();
    let mut tasks = JoinSet::<Result<()>>::new();
    for mut session in enter_all(readers).await? {
        let recorder = Arc::new(Recorder::new()?);
        recorders.push(Arc::clone(&recorder));
        let stopwatch = Arc::clone(&stopwatch);
        tasks.spawn(async move {
            while stopwatch.phase() != Phase::Winddown {
                let mut before = String::new();
                let mut read = 0;
                while read < plan.messages {
                    let begun = stopwatch.now();
                    let page = read_page(&mut session, &before, plan.page.min(plan.messages - read)).await?;
                    if page.messages == 0 {
                        return Err(format!("the archive ends after {read} messages").into());
                    }
                    if stopwatch.count(u64::from(page.messages)) == Phase::Measured {
                        recorder.record(stopwatch.now().saturating_sub(begun));
                    }
                    read += page.messages;
                    before = page.first;
                }
            }
            Ok::<_, Error>(())
        });
    }
    let report = tokio::select! {
        report = stopwatch.run(plan.window, servers) => report?,
        Some(ended) = tasks.join_next() => {
            ended??;
            return Err("a reader ended during the measurement".into());
        }
    };
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let latency = Recorder::summary(recorders.iter().map(Arc::as_ref))?;
    Ok(Report { latency, ..report }.named("archive pages", "message"))
}

/// What a page brought.
struct Page {
    messages: u32,
    /// The identifier of its oldest message.
    first: String,
}

/// The page that ends before that identifier; the newest one when there is none.
async fn read_page(session: &mut Session, before: &str, most: u32) -> Result<Page> {
    let request = format!(
        "<iq type='set' id='page'><query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'>\
         <max>{most}</max><before>{before}</before></set></query></iq>"
    );
    session.link.send(request.as_bytes())?;
    let mut messages = 0;
    loop {
        if let Some(frame) = session.framer.next_frame() {
            let Frame::Element(element) = frame else { continue };
            match name(element) {
                b"message" if contains(element, "urn:xmpp:mam:2") => messages += 1,
                b"iq" if attribute(element, "id") == Some(b"page") => {
                    if attribute(element, "type") != Some(b"result") {
                        return Err(format!("no page: {}", String::from_utf8_lossy(element)).into());
                    }
                    let first = text_of(element, "first").unwrap_or_default();
                    return Ok(Page { messages, first: String::from_utf8(first.to_vec())? });
                }
                _ => {}
            }
        } else if session.receive().await? == Stream::Closed {
            return Err("the server closed the connection".into());
        }
    }
}

/// How many messages the archive of account `number` has, as far as its newest page of `most` tells.
pub(crate) async fn newest(endpoint: &Endpoint, number: u32, most: u32) -> Result<u32> {
    let mut session = Session::enter(endpoint, Entry::simple(number, Place::Idle, Until::Roster)).await?;
    let page = read_page(&mut session, "", most).await?;
    session.close().await?;
    Ok(page.messages)
}

/// Sends what is missing in the archive.
async fn fill(endpoint: &Endpoint, plan: Plan) -> Result<()> {
    let entry = |number| (endpoint.clone(), Entry::simple(number, Place::Idle, Until::Present));
    let mut sessions = enter_all([entry(1), entry(2)]).await?.into_iter();
    let (Some(mut owner), Some(mut sender)) = (sessions.next(), sessions.next()) else {
        return Err("no sessions".into());
    };
    let mut there = 0;
    let mut before = String::new();
    while there < plan.messages {
        let page = read_page(&mut owner, &before, plan.page).await?;
        if page.messages == 0 {
            break;
        }
        there += page.messages;
        before = page.first;
    }
    let draining = tokio::spawn(async move {
        while owner.receive().await? == Stream::Open {
            while owner.framer.next_frame().is_some() {}
        }
        Ok::<_, Error>(())
    });
    let to = escape(&endpoint.bare_jid(1));
    let body = "x".repeat(plan.body_bytes);
    let mut batch = String::new();
    for number in there..plan.messages {
        write!(batch, "<message to='{to}' type='chat' id='m{number}'><body>{body}</body></message>")?;
        if number % BATCH == BATCH - 1 || number + 1 == plan.messages {
            write!(batch, "<iq type='get' to='{}' id='batch'><ping xmlns='urn:xmpp:ping'/></iq>", endpoint.domain)?;
            sender.query("batch", &std::mem::take(&mut batch)).await?;
        }
    }
    draining.abort();
    leave_all(endpoint, vec![sender]).await
}
