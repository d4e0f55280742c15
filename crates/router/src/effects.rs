//! What one account's step wants done elsewhere, done after its lock is released.

use crate::SessionId;
use crate::account::Cell;
use smallvec::SmallVec;
use std::sync::Arc;
use stonechat_stanza::{Stanza, StanzaError};

/// Stanzas to route, in order, and what else follows. A step never reaches into another account: it leaves these.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) route: SmallVec<[Stanza; 4]>,
    /// Accounts whose devices are to be woken.
    pub(crate) wake: SmallVec<[Arc<Cell>; 1]>,
    /// Sessions that passed their bounds while they waited to be resumed: nobody else would end them.
    pub(crate) end: SmallVec<[(Arc<Cell>, SessionId); 1]>,
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
    pub(crate) fn wake(&mut self, cell: &Arc<Cell>) {
        self.wake.push(Arc::clone(cell));
    }
    pub(crate) fn end(&mut self, cell: &Arc<Cell>, session: SessionId) {
        self.end.push((Arc::clone(cell), session));
    }
}
