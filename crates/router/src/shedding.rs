//! What the router gives up when memory is short (abuse case 149): see [`crate::Shortage`] for the order.
//!
//! A session that is ended here loses nothing that was kept: what its client has not acknowledged is dealt out by the delivery
//! plan, as when a session has waited too long, and the client that comes back is given it.
//!
//! Deliberately absent: when this is done, which the composition decides by what it measures.

use crate::account::Cell;
use crate::memory::FREE;
use crate::{Router, SessionId};
use std::cmp::Reverse;
use std::sync::Arc;

/// What was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// Sessions that were ended.
    pub sessions: usize,
    /// Bytes that they held.
    pub bytes: u64,
}

/// A session that holds more than it is free to.
struct Holder {
    bytes: usize,
    cell: Arc<Cell>,
    id: SessionId,
}

impl Router {
    /// Forgets the accounts in memory that nobody uses; they are read again when they are.
    pub fn forget_unused(&self) {
        self.inner.shards.take_out_unused();
    }

    /// Ends the sessions that hold the most, the largest first, until what they held makes up for what is too much
    /// ([`crate::Memory::excess`]). A session that holds little is never ended.
    pub fn shed(&self) -> Shed {
        let excess = self.memory().excess();
        let mut shed = Shed::default();
        if excess == 0 || self.memory().queued() == 0 {
            return shed;
        }
        let mut holders = self.holders();
        holders.sort_by_key(|holder| Reverse(holder.bytes));
        for holder in holders {
            if shed.bytes >= excess {
                break;
            }
            {
                let mut state = holder.cell.lock();
                let Some(session) = state.session(holder.id) else { continue };
                session.out.cut();
            }
            // One that waits to be resumed has no connection that would end it.
            self.expire(&holder.cell, holder.id);
            shed.sessions = shed.sessions.saturating_add(1);
            shed.bytes = shed.bytes.saturating_add(holder.bytes as u64);
        }
        shed
    }

    fn holders(&self) -> Vec<Holder> {
        let mut holders = Vec::new();
        for cell in self.inner.shards.all() {
            let state = cell.lock();
            let large = state.sessions.iter().map(|session| (session.out.queued_bytes(), session.id));
            holders.extend(large.filter(|(bytes, _)| *bytes > FREE).map(|(bytes, id)| Holder {
                bytes,
                cell: Arc::clone(&cell),
                id,
            }));
        }
        holders
    }
}
