//! Presence of one account to all its contacts (RFC 6121 §4.4.2), and the subscriptions that it needs (§3).
//!
//! One fan-out is in flight: the sender changes its status when all contacts have seen the last one. Account 1 sends,
//! the contacts follow.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::chat::escape;
use crate::endpoint::{Endpoint, Protocol};
use crate::framing::{Frame, attribute, descendants, name, text_of};
use crate::measure::{Phase, Recorder, Stopwatch, Window};
use crate::process::ProcessTree;
use crate::relay::Place;
use crate::report::Report;
use crate::session::{Entry, Session, Stream, Until, enter_all};
use crate::{Error, Result};

const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(60);

/// Loads the server with fan-outs. The report counts copies; its latency is that of a single copy.
pub(crate) async fn run(endpoint: &Endpoint, contacts: u32, window: Window, servers: &[ProcessTree]) -> Result<Report> {
    if endpoint.protocol == Protocol::Xmpp {
        subscribe(endpoint, contacts).await?;
    }
    let places = (1..=contacts + 1).map(|number| {
        let place = if number == 1 { Place::FanSender } else { Place::FanMember };
        (endpoint.clone(), Entry::simple(number, place, Until::Present))
    });
    let mut sessions = enter_all(places).await?.into_iter();
    let sender = sessions.next().ok_or("no sender")?;

    let stopwatch = Arc::new(Stopwatch::new());
    let arrived = Arc::new(AtomicU32::new(0));
    let complete = Arc::new(Notify::new());
    let link = Arc::clone(&sender.link);
    let mut recorders = Vec::new();
    let mut tasks = JoinSet::<Result<()>>::new();
    tasks.spawn(ignore(sender));
    for mut session in sessions {
        let recorder = Arc::new(Recorder::new()?);
        recorders.push(Arc::clone(&recorder));
        let (stopwatch, arrived, complete) = (Arc::clone(&stopwatch), Arc::clone(&arrived), Arc::clone(&complete));
        tasks.spawn(async move {
            loop {
                if session.receive().await? == Stream::Closed {
                    return Err::<_, Error>("the server closed the connection".into());
                }
                while let Some(frame) = session.framer.next_frame() {
                    let Frame::Element(element) = frame else { continue };
                    let Some(sent) = timestamp(element) else { continue };
                    if stopwatch.count(1) == Phase::Measured {
                        recorder.record(stopwatch.now().saturating_sub(sent));
                    }
                    if arrived.fetch_add(1, Ordering::AcqRel) + 1 == contacts {
                        complete.notify_one();
                    }
                }
            }
        });
    }

    let source = {
        let (stopwatch, arrived) = (Arc::clone(&stopwatch), Arc::clone(&arrived));
        async move {
            while stopwatch.phase() != Phase::Winddown {
                arrived.store(0, Ordering::Release);
                let presence = format!("<presence><status>t{:016x}</status></presence>", stopwatch.now());
                link.send(presence.as_bytes())?;
                complete.notified().await;
            }
            Ok::<_, Error>(())
        }
    };
    let source = tokio::spawn(source);
    let report = tokio::select! {
        report = stopwatch.run(window, servers) => report?,
        Some(ended) = tasks.join_next() => {
            ended??;
            return Err("a connection was closed during the measurement".into());
        }
    };
    // The last fan-out is whole, or its missing copies are lost.
    let lost = match tokio::time::timeout(Duration::from_secs(5), source).await {
        Ok(ended) => {
            ended??;
            0
        }
        Err(_) => u64::from(contacts.saturating_sub(arrived.load(Ordering::Acquire))),
    };
    tasks.shutdown().await;
    let latency = Recorder::summary(recorders.iter().map(Arc::as_ref))?;
    Ok(Report { latency, lost, ..report }.named("presence", "copy"))
}

fn timestamp(element: &[u8]) -> Option<u64> {
    if name(element) != b"presence" {
        return None;
    }
    let status = text_of(element, "status")?.strip_prefix(b"t")?;
    u64::from_str_radix(std::str::from_utf8(status).ok()?, 16).ok()
}

/// Reads and forgets: the sender is told of its own presence as well.
async fn ignore(mut session: Session) -> Result<()> {
    loop {
        if session.receive().await? == Stream::Closed {
            return Err("the server closed the connection".into());
        }
        while session.framer.next_frame().is_some() {}
    }
}

/// Makes the sender and each contact see each other, through XMPP itself; what is there already stays.
pub(crate) async fn subscribe(endpoint: &Endpoint, contacts: u32) -> Result<()> {
    let sender = Session::enter(endpoint, Entry::simple(1, Place::Idle, Until::Present)).await?;
    let missing: Vec<u32> = {
        let present: HashSet<String> = items(&sender.roster).filter(|(_, both)| *both).map(|(jid, _)| jid).collect();
        (2..=contacts + 1).filter(|number| !present.contains(&endpoint.bare_jid(*number))).collect()
    };
    let sender_jid = endpoint.bare_jid(1);
    let granting = tokio::spawn(grant(sender));
    // In portions: the sender's stream carries the other half of each.
    for portion in missing.chunks(32) {
        let entering = portion.iter().map(|number| Entry::simple(*number, Place::Idle, Until::Present));
        let sessions = enter_all(entering.map(|entry| (endpoint.clone(), entry))).await?;
        let mut asking = JoinSet::new();
        for session in sessions {
            asking.spawn(ask(session, sender_jid.clone()));
        }
        while let Some(asked) = asking.join_next().await {
            asked??;
        }
    }
    granting.abort();
    Ok(())
}

/// The sender's side: grants what is asked for and asks for the same.
async fn grant(mut session: Session) -> Result<()> {
    let mut asked = HashSet::new();
    loop {
        let element = session.next_element().await?;
        acknowledge_push(&session, &element)?;
        if name(&element) == b"presence"
            && attribute(&element, "type") == Some(b"subscribe")
            && let Some(from) = attribute(&element, "from")
        {
            let contact = String::from_utf8(from.to_vec())?;
            session.link.send(format!("<presence to='{contact}' type='subscribed'/>").as_bytes())?;
            if asked.insert(contact.clone()) {
                session.link.send(format!("<presence to='{contact}' type='subscribe'/>").as_bytes())?;
            }
        }
    }
}

/// A contact's side: asks, grants, and is done when its roster says both.
async fn ask(mut session: Session, sender: String) -> Result<()> {
    let work = async {
        session.link.send(format!("<presence to='{}' type='subscribe'/>", escape(&sender)).as_bytes())?;
        loop {
            let element = session.next_element().await?;
            acknowledge_push(&session, &element)?;
            if name(&element) == b"presence" && attribute(&element, "type") == Some(b"subscribe") {
                let grant = format!("<presence to='{}' type='subscribed'/>", escape(&sender));
                session.link.send(grant.as_bytes())?;
            }
            if name(&element) == b"iq" && items(&element).any(|(jid, both)| both && jid == sender) {
                return Ok::<_, Error>(());
            }
        }
    };
    tokio::time::timeout(SUBSCRIBE_LIMIT, work)
        .await
        .map_err(|_| format!("no mutual subscription with {sender} after {SUBSCRIBE_LIMIT:?}"))??;
    session.close().await
}

/// RFC 6121 §2.1.6: a roster push is answered.
fn acknowledge_push(session: &Session, element: &[u8]) -> Result<()> {
    if name(element) == b"iq"
        && attribute(element, "type") == Some(b"set")
        && let Some(id) = attribute(element, "id")
    {
        let id = String::from_utf8_lossy(id);
        let quote = if id.contains('\'') { '"' } else { '\'' };
        session.link.send(format!("<iq type='result' id={quote}{id}{quote}/>").as_bytes())?;
    }
    Ok(())
}

/// The addresses in a roster result or push, and whether both sides are subscribed.
fn items(roster: &[u8]) -> impl Iterator<Item = (String, bool)> {
    descendants(roster, "item").filter_map(|item| {
        let jid = String::from_utf8(attribute(item, "jid")?.to_vec()).ok()?;
        Some((jid, attribute(item, "subscription") == Some(b"both")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6121_2_1_2_5_only_both_is_mutual() {
        let roster = b"<iq type='set'><query xmlns='jabber:iq:roster'><item subscription='both' jid='a@x'/>\
            <item jid='b@x' subscription='to' ask='subscribe'/></query></iq>";
        let found: Vec<_> = items(roster).collect();
        assert_eq!(found, [("a@x".to_owned(), true), ("b@x".to_owned(), false)]);
    }

    #[test]
    fn only_presence_with_our_status_is_a_copy() {
        assert_eq!(timestamp(b"<presence from='a'><status>t00000000000000ff</status></presence>"), Some(255));
        assert_eq!(timestamp(b"<presence from='a'/>"), None);
        assert_eq!(timestamp(b"<message><status>t00000000000000ff</status></message>"), None);
    }
}
