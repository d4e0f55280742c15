//! A store that keeps everything in memory: for tests of what stands on a store, and as the plainest statement of what
//! the traits ask for.
//!
//! Every future it returns is ready at once. Deliberately absent: durability, and speed with large rosters, queues or archives.

mod archive;
mod devices;
mod lists;
mod spool;

use crate::{
    Account, AccountId, AccountState, Accounts, Device, Error, NewAccount, OutgoingId, OutgoingMessage, Pending,
    PushRegistration, ROSTER_REMOVALS_KEPT, Resident, Residents, Result, RosterRecord, Rosters, SavedSession, Secrets,
    Store, StoredRoster, XmlKind,
};
use archive::Archive;
use spool::Spool;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use stonechat_jid::{BareJid, Jid};
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
    last_outgoing: i64,
    outgoing: BTreeMap<OutgoingId, OutgoingMessage>,
}

/// An account, and all that goes with it.
struct Kept {
    account: Account,
    roster: StoredRoster,
    documents: HashMap<(XmlKind, String), Vec<u8>>,
    archive: Archive,
    spool: Spool,
    sessions: Vec<SavedSession>,
    blocked: BTreeSet<Jid>,
    push: BTreeMap<(Jid, String), PushRegistration>,
    devices: Vec<Device>,
}

impl Kept {
    fn new(account: Account) -> Kept {
        Kept {
            account,
            roster: StoredRoster::default(),
            documents: HashMap::new(),
            archive: Archive::default(),
            spool: Spool::default(),
            sessions: Vec::new(),
            blocked: BTreeSet::new(),
            push: BTreeMap::new(),
            devices: Vec::new(),
        }
    }
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
        self.look(|state| Ok(work(state)))
    }

    /// A read that may fail.
    fn look<T: Send + 'static>(&self, work: impl FnOnce(&State) -> Result<T>) -> Pending<T> {
        let state = self.state();
        let result = if state.closed { Err(Error::Closed) } else { work(&state) };
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
            state.accounts.insert(id, Kept::new(account));
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
            state.outgoing.retain(|_, message| message.account != id);
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

impl Residents for MemoryStore {
    fn resident(&self, jid: &BareJid, marks: usize) -> Pending<Option<Resident>> {
        self.read(|state| {
            let kept = state.accounts.values().find(|kept| kept.account.jid == *jid)?;
            Some(Resident {
                id: kept.account.id,
                roster: kept.roster.clone(),
                last_archived: kept.archive.bounds().map(|(_, last)| last),
                marks: archive::recent_marks(&kept.archive, marks),
                archive_preferences: kept.documents.get(&(XmlKind::ArchivePreferences, String::new())).cloned(),
                blocked: kept.blocked.iter().cloned().collect(),
                push: kept.push.values().cloned().collect(),
                holders: kept.spool.holders(),
            })
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

    fn give_back(&self) {}

    fn describe(&self) -> String {
        format!("memory, {} accounts, nothing is kept", self.state().accounts.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Offline, OfflineStored};
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
