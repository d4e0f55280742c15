//! What one account's step wants done elsewhere, done after its lock is released.

use smallvec::SmallVec;
use stonechat_stanza::Stanza;

/// Stanzas to route, in order. A step never reaches into another account: it leaves these.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) route: SmallVec<[Stanza; 4]>,
}

impl Effects {
    pub(crate) fn route(&mut self, stanza: Stanza) {
        self.route.push(stanza);
    }
}
