//! The way out to other domains.

use crate::Router;
use stonechat_jid::Domain;
use stonechat_stanza::Stanza;

/// Takes stanzas for domains that are not ours. Implemented by the federation crate.
///
/// It answers for each stanza it takes: delivered, or bounced to its sender exactly once through
/// [`Router::accept_bounce`]. It never blocks; a full queue is a bounce.
pub trait Remote: Send + Sync + 'static {
    /// Takes a stanza whose `from` is at a local domain and whose `to` is at `remote`.
    fn send(&self, router: &Router, local: Domain, remote: Domain, stanza: Stanza);
}

/// A server that does not federate: everything bounces with `remote-server-not-found`.
#[derive(Debug, Default)]
pub struct NoRemote;

impl Remote for NoRemote {
    fn send(&self, router: &Router, _local: Domain, _remote: Domain, stanza: Stanza) {
        router.accept_bounce(&stanza, &stonechat_stanza::StanzaCondition::RemoteServerNotFound.into());
    }
}
