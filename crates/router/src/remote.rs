//! The way out to other domains.

use crate::Router;
use stonechat_jid::Domain;
use stonechat_stanza::Stanza;
use stonechat_store::OutgoingId;
use tokio::sync::oneshot;

/// A stanza on its way to another domain.
#[derive(Debug)]
pub struct Outward {
    /// The stanza.
    pub stanza: Stanza,
    /// What is kept of it.
    pub record: Record,
}

/// What is kept of a stanza on its way out, so that the death of the server does not lose what was acknowledged (P1).
#[derive(Debug)]
pub enum Record {
    /// Nothing: nobody was told that it is safe.
    Unkept,
    /// It is being written, and must not leave before that. The number comes when it is; when the sender goes without one,
    /// the write failed, its sender has been told, and it must not leave at all.
    Pending(oneshot::Receiver<OutgoingId>),
    /// It is written under this number.
    Kept(OutgoingId),
}

impl Outward {
    /// A stanza of which nothing is kept.
    pub fn unkept(stanza: Stanza) -> Outward {
        Outward { stanza, record: Record::Unkept }
    }
}

/// Takes stanzas for domains that are not ours. Implemented by the federation crate.
///
/// It answers for each stanza it takes: delivered, or bounced to its sender exactly once through
/// [`Router::accept_bounce`]; then [`Router::outgoing_settled`] for what is kept. It never blocks; a full queue is a bounce.
/// Stanzas of one pair of domains leave in the order in which they were taken, whatever is kept of them.
pub trait Remote: Send + Sync + 'static {
    /// Takes a stanza whose `from` is at a local domain and whose `to` is at `remote`.
    fn send(&self, router: &Router, local: Domain, remote: Domain, outward: Outward);
}

/// A server that does not federate: everything bounces with `remote-server-not-found`.
#[derive(Debug, Default)]
pub struct NoRemote;

impl Remote for NoRemote {
    fn send(&self, router: &Router, _local: Domain, _remote: Domain, outward: Outward) {
        let Outward { stanza, record } = outward;
        match record {
            Record::Unkept => bounce(router, &stanza),
            Record::Kept(id) => {
                bounce(router, &stanza);
                router.outgoing_settled(id);
            }
            // Else its row would stay, and be sent at a later start, after its sender was told that it was not.
            Record::Pending(written) => {
                let router = router.clone();
                tokio::spawn(async move {
                    if let Ok(id) = written.await {
                        bounce(&router, &stanza);
                        router.outgoing_settled(id);
                    }
                });
            }
        }
    }
}

fn bounce(router: &Router, stanza: &Stanza) {
    router.accept_bounce(stanza, &stonechat_stanza::StanzaCondition::RemoteServerNotFound.into());
}

impl Router {
    /// A kept stanza was delivered, or its sender was told that it was not: nothing is kept of it any more.
    pub fn outgoing_settled(&self, id: OutgoingId) {
        let written = self.inner.store.remove_outgoing(vec![id]);
        tokio::spawn(async move {
            if let Err(source) = written.await {
                tracing::warn!(event = "outgoing.write_failed", %source, "a delivered stanza stays among those to be sent");
            }
        });
    }

    /// Hands what was on its way out when the server ended to the way out again, in order. Called once, at the start.
    ///
    /// # Errors
    /// The store's.
    pub async fn resend_outgoing(&self) -> Result<(), stonechat_store::Error> {
        const BATCH: usize = 256;
        let mut after = None;
        loop {
            let batch = self.inner.store.outgoing(after, BATCH).await?;
            let Some(last) = batch.last() else { return Ok(()) };
            after = Some(last.id);
            for message in batch {
                let stanza = Stanza::parse(&message.row.stanza).ok();
                let sender = stanza.and_then(|stanza| Some((stanza.from()?.to_domain(), stanza)));
                let Some((local, stanza)) = sender else {
                    // Nobody could be told, and it would come again at every start.
                    tracing::warn!(event = "outgoing.unreadable", remote = %message.row.remote, "a kept stanza without a sender is given up");
                    self.outgoing_settled(message.id);
                    continue;
                };
                let outward = Outward { stanza, record: Record::Kept(message.id) };
                self.inner.remote.send(self, local, message.row.remote, outward);
            }
        }
    }
}
