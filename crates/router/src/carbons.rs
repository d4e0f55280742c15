//! Copies of messages for the other sessions of an account (XEP-0280 §7, §8).
//!
//! Who gets one is the delivery plan's to say; the `private` mark and its kin never come here, because the plan makes no copies
//! of what carries them. Here they are made and put where they belong: in the session's line; or, when the store holds
//! messages for a session that it is given with its presence, behind those, lest newer ones overtake them (P3).

use crate::account::State;
use crate::outflow::{Facts, Shared, Spooled, Ticket};
use crate::{Delivery, Pushed, SessionId, Turn};
use stonechat_jid::{BareJid, Jid};
use stonechat_stanza::{Stanza, ns};
use stonechat_store::{ArchiveId, Half, Holder, Others, Place, SpoolRow};

/// What is to be copied.
pub(crate) struct Copies<'a> {
    /// The message as it is shown.
    pub(crate) of: &'a Stanza,
    /// Which way it went: the name of the wrapper.
    pub(crate) direction: &'static str,
    /// Whose sessions get copies: they come from the account itself.
    pub(crate) own: &'a BareJid,
    /// When it was accepted: milliseconds since the Unix epoch.
    pub(crate) at: u64,
    /// Its row in the account's archive, when it is there.
    pub(crate) archived: Option<ArchiveId>,
}

impl Copies<'_> {
    /// Takes out of `sessions` those that are given theirs later, and adds what the store is to hold for them to `half`.
    pub(crate) fn keep(&self, state: &State, sessions: &mut smallvec::SmallVec<[usize; 4]>, half: &mut Half) {
        sessions.retain(|index| {
            let Some(session) = state.sessions.get(*index) else { return false };
            let Some(id) = session.awaits_inheritance() else { return true };
            let mut copy = self.wrapped();
            copy.head_mut().from = Some(self.own.clone().into());
            copy.head_mut().to = Some(session.jid.clone().into());
            half.spool.push(SpoolRow {
                at: self.at,
                stanza: copy.to_xml(),
                archive: self.archived,
                holder: Holder::Session { id, place: Place::Inherited, others: Others::Served },
            });
            false
        });
    }

    /// Puts a copy into the line of each session; `overflowing` is told which of them had no room.
    pub(crate) fn give(
        &self,
        state: &mut State,
        sessions: &[usize],
        gate: Option<Ticket>,
        turn: &mut Turn,
        mut overflowing: impl FnMut(SessionId),
    ) {
        if sessions.is_empty() {
            return;
        }
        let copy = self.wrapped();
        let own = Jid::from(self.own.clone());
        let facts = Facts { at: self.at, archived: self.archived, spooled: Spooled::No, shared: Shared::Copied };
        for &index in sessions {
            let Some(session) = state.sessions.get_mut(index) else { continue };
            let to = session.jid.as_jid().clone();
            let delivery = Delivery { stanza: &copy, from: Some(&own), to: Some(&to) };
            if let Pushed::Overflow = session.out.place(gate, facts, delivery, turn) {
                overflowing(session.id);
            }
        }
    }

    fn wrapped(&self) -> Stanza {
        let stanza = self.of;
        let mut copy = Stanza::wrapping(stanza.stanza_type(), self.direction, ns::CARBONS, &[], None, &stanza.to_xml());
        copy.head_mut().id = None;
        copy
    }
}
