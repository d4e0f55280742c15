//! Reaching another server for a link, or for a question about a dialback key: one target after the other, until the
//! domain is proved (RFC 6120 §3.2).
//!
//! [`connect`] finds the addresses and connects; [`stream`] negotiates on what was connected; [`carry`] sends what waits
//! and answers for it. Here is the order of the attempts, how long all of them may take, and which failure is told.
//!
//! Deliberately absent: pauses after failures and what becomes of the queue then, which are the link's.

mod carry;
mod connect;
mod stream;

use self::connect::{connect, endpoints};
use self::stream::{Served, Stream};
use crate::Federation;
use crate::link::{Link, note};
use std::sync::Arc;
use stonechat_router::Router;
use stonechat_stanza::StanzaCondition;
use stonechat_stream::Dialback;
use stonechat_stream::s2s_out::{Ended, External, Purpose, Question};

/// Why a domain was not reached.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the domain says that it has no such service")]
    NoService,
    #[error("it has no address")]
    NoAddress,
    #[error("it has private addresses only")]
    Private,
    #[error("its records name no port of XMPP")]
    Port,
    #[error("{0}")]
    Dns(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("it did not answer in time")]
    Late,
    #[error("it ends its streams before it takes anything")]
    Fruitless,
    #[error("{0}")]
    Refused(String),
}

/// Whether anything was delivered on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Some,
    None,
}

/// Opens a stream for a link and sends what waits, until the stream is quiet for long or ends. `Err` when the domain was
/// not proved in time; what waits is still in the queue then.
pub(crate) async fn deliver(federation: &Federation, router: &Router, link: &Arc<Link>) -> Result<Progress, Failure> {
    let settings = &federation.inner.settings;
    // Abuse case 132: however many records and addresses there are, a sender hears of it in this time.
    let until = tokio::time::Instant::now().checked_add(settings.patience).ok_or(Failure::Late)?;
    let late = |_| Failure::Late;
    let resolved = tokio::time::timeout_at(until, endpoints(federation, router, &link.remote));
    let mut left = resolved.await.map_err(late)??;
    let mut external = External::WhenOffered;
    let mut last = None;
    while !left.is_empty() {
        if tokio::time::Instant::now() >= until {
            return Err(last.unwrap_or(Failure::Late));
        }
        let connected = tokio::time::timeout_at(until, connect(federation, router, &link.remote, &mut left)).await;
        let (channel, endpoint) = match connected.map_err(late).and_then(|connected| connected) {
            Ok(connected) => connected,
            // What an earlier endpoint said is more than that the rest did not answer.
            Err(failure) => return Err(last.unwrap_or(failure)),
        };
        let mut stream =
            Stream::new(federation, router, &link.local, &link.remote, channel, endpoint, external, Purpose::Stanzas);
        match stream.serve(link, until.into_std()).await {
            Served::Proved(progress) => return Ok(progress),
            Served::Failed(Ended::ExternalRefused { condition }) if external == External::WhenOffered => {
                note(federation, router, &link.remote, format!("again without certificate ({condition})"));
                external = External::Never;
                left.insert(0, endpoint);
            }
            Served::Failed(Ended::Timeout) => {
                note(federation, router, &link.remote, Ended::Timeout.to_string());
                last = last.or(Some(Failure::Late));
            }
            Served::Failed(ended) => {
                note(federation, router, &link.remote, ended.to_string());
                last = Some(Failure::Refused(ended.to_string()));
            }
        }
    }
    Err(last.unwrap_or(Failure::NoAddress))
}

/// Asks about a dialback key on a stream of its own.
pub(crate) async fn verify(federation: &Federation, router: &Router, question: Question) -> Dialback {
    let (local, remote) = (question.from.clone(), question.to.clone());
    let asked = async {
        let mut left = endpoints(federation, router, &remote).await.ok()?;
        while !left.is_empty() {
            let (channel, endpoint) = connect(federation, router, &remote, &mut left).await.ok()?;
            let mut stream = Stream::new(
                federation,
                router,
                &local,
                &remote,
                channel,
                endpoint,
                External::Never,
                Purpose::Verification,
            );
            if let Some(answer) = stream.ask(question.clone()).await {
                return Some(answer);
            }
        }
        None
    };
    match tokio::time::timeout(federation.inner.settings.patience, asked).await {
        Ok(Some(answer)) => answer,
        Ok(None) => Dialback::Failed(StanzaCondition::RemoteServerNotFound),
        Err(_) => Dialback::Failed(StanzaCondition::RemoteServerTimeout),
    }
}
