//! The spool, seen by those who come first and by sessions; counts and saved sessions.

use super::MemoryStore;
use crate::{
    AccountId, Archives, Half, Holder, Offline, OfflineId, OfflineMessage, OfflineStored, Others, Pending,
    SavedSession, Sessions, SmId, SpoolRow,
};
use std::collections::{BTreeMap, HashMap};
use stonechat_jid::BareJid;

#[derive(Default)]
pub(super) struct Spool {
    pub(super) rows: BTreeMap<OfflineId, SpoolRow>,
    last: i64,
    /// Counts of sessions, and when each was written.
    pub(super) counts: HashMap<SmId, (u32, u64)>,
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
    pub(super) fn holders(&self) -> Vec<SmId> {
        let mut holders = Vec::new();
        for row in self.rows.values() {
            if let Holder::Session { id, .. } = row.holder
                && !holders.contains(&id)
            {
                holders.push(id);
            }
        }
        holders
    }

    fn of_anybody(&self) -> impl Iterator<Item = (&OfflineId, &SpoolRow)> {
        self.rows.iter().filter(|(_, row)| row.holder == Holder::Anybody)
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

    fn offline(&self, id: AccountId, after: Option<OfflineId>, limit: usize) -> Pending<Vec<OfflineMessage>> {
        self.read(|state| {
            let Some(kept) = state.accounts.get(&id) else { return Vec::new() };
            let wanted = kept.spool.of_anybody().filter(|(id, _)| after.is_none_or(|after| **id > after));
            let message = |(id, row): (&OfflineId, &SpoolRow)| OfflineMessage {
                id: *id,
                at: row.at,
                stanza: row.stanza.clone(),
                archive: row.archive,
            };
            wanted.take(limit).map(message).collect()
        })
    }

    fn remove_offline(&self, id: AccountId, up_to: OfflineId) -> Pending<()> {
        self.write(|state| {
            if let Some(kept) = state.accounts.get_mut(&id) {
                kept.spool.rows.retain(|id, row| *id > up_to || row.holder != Holder::Anybody);
            }
            Ok(())
        })
    }

    fn count_offline(&self, id: AccountId) -> Pending<u64> {
        self.read(|state| state.accounts.get(&id).map_or(0, |kept| kept.spool.of_anybody().count() as u64))
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

    fn spool_holders(&self, account: AccountId) -> Pending<Vec<SmId>> {
        self.read(|state| state.accounts.get(&account).map(|kept| kept.spool.holders()).unwrap_or_default())
    }

    fn acknowledge_spool(&self, account: AccountId, id: SmId, number: u64) -> Pending<()> {
        self.write(|state| {
            if let Some(kept) = state.accounts.get_mut(&account) {
                kept.spool.rows.retain(|_, row| match row.holder {
                    Holder::Session { id: holder, number: given, .. } => holder != id || given > number,
                    Holder::Anybody => true,
                });
            }
            Ok(())
        })
    }

    fn give_spool(&self, account: AccountId, up_to: OfflineId, id: SmId, number: u64) -> Pending<()> {
        self.write(|state| {
            let rows = state.kept(account)?.spool.rows.range_mut(..=up_to);
            let free = rows.map(|(_, row)| row).filter(|row| row.holder == Holder::Anybody);
            for (number, row) in (number..).zip(free) {
                row.holder = Holder::Session { id, number, others: Others::None };
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
