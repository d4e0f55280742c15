//! The spool, seen by those who come first and by sessions; counts and saved sessions.

use super::MemoryStore;
use crate::{
    AccountId, Archives, Claim, Half, Holder, Offline, OfflineId, OfflineMessage, OfflineStored, Others, Pending,
    Place, SavedSession, Sessions, Share, SmId, SpoolRow,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use stonechat_jid::BareJid;

#[derive(Default)]
pub(super) struct Spool {
    pub(super) rows: BTreeMap<OfflineId, SpoolRow>,
    last: i64,
    /// Counts of sessions, and when each was written.
    pub(super) counts: HashMap<SmId, (u32, u64)>,
    /// Sessions whose clients came and said what they have.
    claimed: HashSet<SmId>,
}

/// Whether a row is of a share.
fn is_of(row: &SpoolRow, share: Share) -> bool {
    match row.holder {
        Holder::Anybody => share.has_anybodys(),
        Holder::Session { id, place: Place::Inherited, .. } => share.heir() == Some(id),
        Holder::Session { .. } => false,
    }
}

/// Whether other sessions got it.
fn others(row: &SpoolRow) -> Others {
    match row.holder {
        Holder::Anybody => Others::None,
        Holder::Session { others, .. } => others,
    }
}

impl Spool {
    /// All rows or none.
    pub(super) fn append(&mut self, rows: Vec<SpoolRow>, limits: (u64, u64)) -> Option<OfflineStored> {
        if rows.is_empty() {
            return None;
        }
        let messages = self.rows.len().saturating_add(rows.len());
        let bytes = self.rows.values().chain(&rows).fold(0, |sum: usize, row| sum.saturating_add(row.stanza.len()));
        if messages as u64 > limits.0 || bytes as u64 > limits.1 {
            return Some(OfflineStored::Full);
        }
        let first = OfflineId(self.last.saturating_add(1));
        for row in rows {
            self.last = self.last.saturating_add(1);
            self.rows.insert(OfflineId(self.last), row);
        }
        Some(OfflineStored::Stored(first))
    }

    /// Sessions that hold rows, in the order of the oldest row of each.
    pub(super) fn holders(&self) -> Vec<(SmId, Claim)> {
        let mut holders = Vec::new();
        for row in self.rows.values() {
            if let Holder::Session { id, .. } = row.holder
                && !holders.iter().any(|(known, _)| *known == id)
            {
                holders.push((id, if self.claimed.contains(&id) { Claim::Made } else { Claim::Open }));
            }
        }
        holders
    }

    fn of(&self, share: Share) -> impl Iterator<Item = (&OfflineId, &SpoolRow)> {
        self.rows.iter().filter(move |(_, row)| is_of(row, share))
    }

    fn acknowledge(&mut self, id: SmId, number: u64) {
        self.rows.retain(|_, row| match row.holder {
            Holder::Session { id: holder, place: Place::Sent(given), .. } => holder != id || given > number,
            _ => true,
        });
    }

    /// The rows of a session.
    fn held_by(&mut self, id: SmId) -> impl Iterator<Item = (&mut Place, &mut SmId)> {
        self.rows.values_mut().filter_map(move |row| match &mut row.holder {
            Holder::Session { id: holder, place, .. } if *holder == id => Some((place, holder)),
            _ => None,
        })
    }
}

impl Offline for MemoryStore {
    fn append_offline(
        &self,
        id: AccountId,
        at: u64,
        stanza: Vec<u8>,
        max_messages: u64,
        max_bytes: u64,
    ) -> Pending<OfflineStored> {
        let row = SpoolRow { at, stanza, archive: None, holder: Holder::Anybody };
        let recorded = self.record(id, Half { at, spool: vec![row], ..Half::default() }, (max_messages, max_bytes));
        Box::pin(async { Ok(recorded.await?.spool.unwrap_or(OfflineStored::Full)) })
    }

    fn offline(
        &self,
        id: AccountId,
        share: Share,
        after: Option<OfflineId>,
        limit: usize,
    ) -> Pending<Vec<OfflineMessage>> {
        self.read(|state| {
            let Some(kept) = state.accounts.get(&id) else { return Vec::new() };
            let wanted = kept.spool.of(share).filter(|(id, _)| after.is_none_or(|after| **id > after));
            let message = |(id, row): (&OfflineId, &SpoolRow)| OfflineMessage {
                id: *id,
                at: row.at,
                stanza: row.stanza.clone(),
                archive: row.archive,
                others: others(row),
            };
            wanted.take(limit).map(message).collect()
        })
    }

    fn remove_offline(&self, id: AccountId, share: Share, up_to: OfflineId) -> Pending<()> {
        self.write(|state| {
            if let Some(kept) = state.accounts.get_mut(&id) {
                kept.spool.rows.retain(|id, row| *id > up_to || !is_of(row, share));
            }
            Ok(())
        })
    }

    fn count_offline(&self, id: AccountId) -> Pending<u64> {
        self.read(|state| state.accounts.get(&id).map_or(0, |kept| kept.spool.of(Share::Anybodys).count() as u64))
    }
}

impl Sessions for MemoryStore {
    fn save_sessions(&self, account: AccountId, sessions: Vec<SavedSession>) -> Pending<()> {
        self.write(|state| {
            state.kept(account)?.sessions = sessions;
            Ok(())
        })
    }

    fn take_sessions(&self, account: AccountId) -> Pending<Vec<SavedSession>> {
        self.write(|state| {
            Ok(state.accounts.get_mut(&account).map(|kept| std::mem::take(&mut kept.sessions)).unwrap_or_default())
        })
    }

    fn accounts_with_sessions(&self) -> Pending<Vec<BareJid>> {
        self.read(|state| {
            let saved = state.accounts.values().filter(|kept| !kept.sessions.is_empty());
            saved.map(|kept| kept.account.jid.clone()).collect()
        })
    }

    fn committed_count(&self, account: AccountId, id: SmId) -> Pending<Option<u32>> {
        self.read(|state| state.accounts.get(&account)?.spool.counts.get(&id).map(|(count, _)| *count))
    }

    fn spool_holders(&self, account: AccountId) -> Pending<Vec<(SmId, Claim)>> {
        self.read(|state| state.accounts.get(&account).map(|kept| kept.spool.holders()).unwrap_or_default())
    }

    fn acknowledge_spool(&self, account: AccountId, id: SmId, number: u64) -> Pending<()> {
        self.write(|state| {
            if let Some(kept) = state.accounts.get_mut(&account) {
                kept.spool.acknowledge(id, number);
            }
            Ok(())
        })
    }

    fn forget_spool(&self, account: AccountId, id: SmId) -> Pending<()> {
        self.write(|state| {
            if let Some(kept) = state.accounts.get_mut(&account) {
                kept.spool.counts.remove(&id);
                let of_it = |row: &SpoolRow| matches!(row.holder, Holder::Session { id: holder, .. } if holder == id);
                kept.spool.rows.retain(|_, row| !of_it(row));
            }
            Ok(())
        })
    }

    fn give_spool(&self, account: AccountId, share: Share, up_to: OfflineId, id: SmId, number: u64) -> Pending<()> {
        self.write(|state| {
            let rows = state.kept(account)?.spool.rows.range_mut(..=up_to);
            let free = rows.map(|(_, row)| row).filter(|row| is_of(row, share));
            for (number, row) in (number..).zip(free) {
                row.holder = Holder::Session { id, place: Place::Sent(number), others: others(row) };
            }
            Ok(())
        })
    }

    fn number_spool(&self, account: AccountId, id: SmId, numbers: Vec<(u64, u64)>) -> Pending<()> {
        self.write(|state| {
            let numbers: HashMap<u64, u64> = numbers.into_iter().collect();
            for (place, _) in state.kept(account)?.spool.held_by(id) {
                if let Place::Behind(own) = place
                    && let Some(number) = numbers.get(own)
                {
                    *place = Place::Sent(*number);
                }
            }
            Ok(())
        })
    }

    fn claim_spool(&self, account: AccountId, id: SmId, number: u64) -> Pending<()> {
        self.write(|state| {
            if let Some(kept) = state.accounts.get_mut(&account) {
                kept.spool.acknowledge(id, number);
                kept.spool.claimed.insert(id);
            }
            Ok(())
        })
    }

    fn inherit_spool(&self, account: AccountId, from: SmId, to: SmId) -> Pending<()> {
        self.write(|state| {
            if let Some(kept) = state.accounts.get_mut(&account) {
                kept.spool.counts.remove(&from);
                for (place, holder) in kept.spool.held_by(from) {
                    (*place, *holder) = (Place::Inherited, to);
                }
            }
            Ok(())
        })
    }

    fn release_spool(&self, account: AccountId, id: SmId, keep: Others) -> Pending<()> {
        self.write(|state| {
            let Some(kept) = state.accounts.get_mut(&account) else { return Ok(()) };
            kept.spool.counts.remove(&id);
            kept.spool.rows.retain(|_, row| match row.holder {
                Holder::Session { id: holder, others, .. } if holder == id => {
                    row.holder = Holder::Anybody;
                    keep == Others::Served || others == Others::None
                }
                _ => true,
            });
            Ok(())
        })
    }
}
