//! A store that keeps everything in memory: for tests of what stands on a store, and as the plainest statement of what
//! the traits ask for.
//!
//! Every future it returns is ready at once. Deliberately absent: durability, and speed with large rosters or queues.

use crate::{
    Account, AccountId, AccountState, AccountXml, Accounts, Error, NewAccount, Offline, OfflineId, OfflineMessage,
    OfflineStored, Pending, ROSTER_REMOVALS_KEPT, Result, RosterRecord, Rosters, Secrets, Store, StoredRoster, XmlKind,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use stonechat_jid::BareJid;
use stonechat_sasl::Credentials;

/// The store. See the module.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: bool,
    failure: Option<fn() -> Error>,
    last_id: i64,
    accounts: BTreeMap<AccountId, Kept>,
    /// Names that were deleted, and when.
    tombstones: HashMap<BareJid, u64>,
    secrets: HashMap<String, [u8; 32]>,
}

/// An account, and all that goes with it.
struct Kept {
    account: Account,
    roster: StoredRoster,
    offline: Vec<OfflineMessage>,
    last_offline: i64,
    documents: HashMap<(XmlKind, String), Vec<u8>>,
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Lets every write that is called from now on fail with what the function makes, and change nothing; `None` ends it.
    pub fn fail_writes_with(&self, failure: Option<fn() -> Error>) {
        self.state().failure = failure;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T: Send + 'static>(&self, work: impl FnOnce(&mut State) -> Result<T>) -> Pending<T> {
        let mut state = self.state();
        let result = match state.failure {
            _ if state.closed => Err(Error::Closed),
            Some(failure) => Err(failure()),
            None => work(&mut state),
        };
        Box::pin(std::future::ready(result))
    }

    fn read<T: Send + 'static>(&self, work: impl FnOnce(&State) -> T) -> Pending<T> {
        let state = self.state();
        let result = if state.closed { Err(Error::Closed) } else { Ok(work(&state)) };
        Box::pin(std::future::ready(result))
    }
}

impl State {
    fn kept(&mut self, id: AccountId) -> Result<&mut Kept> {
        self.accounts.get_mut(&id).ok_or(Error::NotFound)
    }

    fn of_domain(&self, domain: &str) -> impl Iterator<Item = &Account> {
        self.accounts.values().map(|kept| &kept.account).filter(move |account| account.jid.domain() == domain)
    }
}

impl Accounts for MemoryStore {
    fn create_account(&self, account: NewAccount, tombstone_seconds: u64) -> Pending<AccountId> {
        self.write(|state| {
            let buried = |deleted: &u64| deleted.saturating_add(tombstone_seconds) > account.now;
            if state.tombstones.get(&account.jid).is_some_and(buried)
                || state.accounts.values().any(|kept| kept.account.jid == account.jid)
            {
                return Err(Error::Conflict);
            }
            state.tombstones.remove(&account.jid);
            state.last_id = state.last_id.saturating_add(1);
            let id = AccountId(state.last_id);
            let account = Account {
                id,
                jid: account.jid,
                state: AccountState::Active,
                credentials: account.credentials,
                created: account.now,
                last_activity: None,
            };
            let kept = Kept {
                account,
                roster: StoredRoster::default(),
                offline: Vec::new(),
                last_offline: 0,
                documents: HashMap::new(),
            };
            state.accounts.insert(id, kept);
            Ok(id)
        })
    }

    fn account(&self, jid: &BareJid) -> Pending<Option<Account>> {
        self.read(|state| {
            state.accounts.values().map(|kept| &kept.account).find(|account| account.jid == *jid).cloned()
        })
    }

    fn accounts(&self, domain: &str, after: Option<&str>, limit: usize) -> Pending<Vec<Account>> {
        self.read(|state| {
            let mut found: Vec<_> = state
                .of_domain(domain)
                .filter(|account| after.is_none_or(|after| account.jid.as_str() > after))
                .cloned()
                .collect();
            found.sort_by(|one, other| one.jid.as_str().cmp(other.jid.as_str()));
            found.truncate(limit);
            found
        })
    }

    fn count_accounts(&self, domain: &str) -> Pending<u64> {
        self.read(|state| state.of_domain(domain).count() as u64)
    }

    fn set_credentials(&self, id: AccountId, credentials: Credentials) -> Pending<()> {
        self.write(|state| {
            state.kept(id)?.account.credentials = credentials;
            Ok(())
        })
    }

    fn set_account_state(&self, id: AccountId, new: AccountState) -> Pending<()> {
        self.write(|state| {
            state.kept(id)?.account.state = new;
            Ok(())
        })
    }

    fn set_last_activity(&self, id: AccountId, at: u64, status: String) -> Pending<()> {
        self.write(|state| {
            state.kept(id)?.account.last_activity = Some((at, status));
            Ok(())
        })
    }

    fn delete_account(&self, id: AccountId, now: u64) -> Pending<()> {
        self.write(|state| {
            let kept = state.accounts.remove(&id).ok_or(Error::NotFound)?;
            state.tombstones.insert(kept.account.jid, now);
            Ok(())
        })
    }
}

impl Rosters for MemoryStore {
    fn roster(&self, id: AccountId) -> Pending<StoredRoster> {
        self.read(|state| state.accounts.get(&id).map(|kept| kept.roster.clone()).unwrap_or_default())
    }

    fn put_roster_entry(&self, id: AccountId, entry: RosterRecord) -> Pending<()> {
        self.write(|state| {
            let roster = &mut state.kept(id)?.roster;
            roster.version = roster.version.max(entry.version);
            if entry.listed {
                roster.removed.retain(|(contact, _)| *contact != entry.jid);
            }
            match roster.entries.iter_mut().find(|other| other.jid == entry.jid) {
                Some(other) => *other = entry,
                None => roster.entries.push(entry),
            }
            Ok(())
        })
    }

    fn remove_roster_entry(&self, id: AccountId, contact: &BareJid, version: u64) -> Pending<()> {
        self.write(|state| {
            let roster = &mut state.kept(id)?.roster;
            roster.version = roster.version.max(version);
            roster.entries.retain(|entry| entry.jid != *contact);
            roster.removed.retain(|(other, _)| other != contact);
            roster.removed.push((contact.clone(), version));
            roster.removed.sort_by_key(|(_, version)| *version);
            while roster.removed.len() > ROSTER_REMOVALS_KEPT as usize {
                let (_, forgotten) = roster.removed.remove(0);
                roster.horizon = roster.horizon.max(forgotten);
            }
            Ok(())
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
        self.write(|state| {
            let kept = state.kept(id)?;
            let bytes: usize = kept.offline.iter().map(|message| message.stanza.len()).sum();
            if kept.offline.len() as u64 >= max_messages || bytes.saturating_add(stanza.len()) as u64 > max_bytes {
                return Ok(OfflineStored::Full);
            }
            kept.last_offline = kept.last_offline.saturating_add(1);
            let id = OfflineId(kept.last_offline);
            kept.offline.push(OfflineMessage { id, at, stanza });
            Ok(OfflineStored::Stored(id))
        })
    }

    fn offline(&self, id: AccountId, after: Option<OfflineId>, limit: usize) -> Pending<Vec<OfflineMessage>> {
        self.read(|state| {
            let messages = state.accounts.get(&id).map(|kept| kept.offline.as_slice()).unwrap_or_default();
            let wanted = messages.iter().filter(|message| after.is_none_or(|after| message.id > after));
            wanted.take(limit).cloned().collect()
        })
    }

    fn remove_offline(&self, id: AccountId, up_to: OfflineId) -> Pending<()> {
        self.write(|state| {
            if let Some(kept) = state.accounts.get_mut(&id) {
                kept.offline.retain(|message| message.id > up_to);
            }
            Ok(())
        })
    }

    fn count_offline(&self, id: AccountId) -> Pending<u64> {
        self.read(|state| state.accounts.get(&id).map_or(0, |kept| kept.offline.len() as u64))
    }
}

impl AccountXml for MemoryStore {
    fn xml(&self, id: AccountId, kind: XmlKind, key: &str) -> Pending<Option<Vec<u8>>> {
        self.read(|state| state.accounts.get(&id)?.documents.get(&(kind, key.to_owned())).cloned())
    }

    fn put_xml(
        &self,
        id: AccountId,
        kind: XmlKind,
        key: &str,
        document: Option<Vec<u8>>,
        max_bytes: u64,
    ) -> Pending<()> {
        self.write(|state| {
            let place = (kind, key.to_owned());
            let Some(document) = document else {
                if let Some(kept) = state.accounts.get_mut(&id) {
                    kept.documents.remove(&place);
                }
                return Ok(());
            };
            let documents = &mut state.kept(id)?.documents;
            let others = documents.iter().filter(|(other, _)| other.0 == kind && **other != place);
            let bytes = others.fold(document.len(), |sum, (_, other)| sum.saturating_add(other.len()));
            if bytes as u64 > max_bytes {
                return Err(Error::Full("the account's documents are at their bound".into()));
            }
            documents.insert(place, document);
            Ok(())
        })
    }
}

impl Secrets for MemoryStore {
    fn secret(&self, name: &str, fresh: [u8; 32]) -> Pending<[u8; 32]> {
        self.write(|state| Ok(*state.secrets.entry(name.to_owned()).or_insert(fresh)))
    }
}

impl Store for MemoryStore {
    fn close(&self) -> Pending<()> {
        self.state().closed = true;
        Box::pin(std::future::ready(Ok(())))
    }

    fn describe(&self) -> String {
        format!("memory, {} accounts, nothing is kept", self.state().accounts.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// The future's value, at the first poll.
    fn ready<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("a future of the store in memory is ready at once"),
        }
    }

    #[test]
    fn it_passes_the_suite_without_waiting() {
        ready(crate::suite::run(async || MemoryStore::new()));
    }

    #[test]
    fn writes_fail_on_demand_and_change_nothing() {
        let store = MemoryStore::new();
        let jid = BareJid::parse("juliet@example.org").unwrap();
        let new = NewAccount { jid: jid.clone(), credentials: Credentials::default(), now: 1 };
        let id = ready(store.create_account(new, 0)).unwrap();
        store.fail_writes_with(Some(|| Error::Full("no space".into())));
        assert!(matches!(ready(store.append_offline(id, 1, b"a".to_vec(), 10, 10)), Err(Error::Full(_))));
        assert!(matches!(ready(store.delete_account(id, 1)), Err(Error::Full(_))));
        assert_eq!(ready(store.count_offline(id)).unwrap(), 0);
        assert!(ready(store.account(&jid)).unwrap().is_some(), "reads go on");
        store.fail_writes_with(None);
        assert!(matches!(ready(store.append_offline(id, 1, b"a".to_vec(), 10, 10)), Ok(OfflineStored::Stored(_))));
    }
}
