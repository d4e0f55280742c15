//! What one account's step wants done elsewhere, done after its lock is released.

use smallvec::SmallVec;
use stonechat_stanza::{Stanza, StanzaError};

/// Stanzas to route, in order. A step never reaches into another account: it leaves these.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) route: SmallVec<[Stanza; 4]>,
}

impl Effects {
    pub(crate) fn route(&mut self, stanza: Stanza) {
        self.route.push(stanza);
    }
    /// An error for the sender, when the stanza may be answered at all.
    pub(crate) fn bounce(&mut self, stanza: &Stanza, error: &StanzaError) {
        if let Some(reply) = stanza.error_reply(error) {
            self.route.push(reply);
        }
    }
}
