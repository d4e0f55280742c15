//! When accounts were there last (XEP-0012), on its way to the store.
//!
//! Nothing depends on it, so no commit is made for each session that ends: what ends within a moment is written together, and
//! an account that comes and goes is written once. Whoever asks meanwhile is told from here. A kill costs the last moment.

use crate::Router;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stonechat_store::{Account, AccountId};
use tracing::debug;

/// How long what ends is gathered.
const GATHER: Duration = Duration::from_secs(5);
/// Accounts that are written at a time: the store's queue is not theirs alone.
const BATCH: usize = 256;

/// What is not written yet.
#[derive(Default)]
pub(crate) struct Departures(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// By account: the time in seconds, and the status somebody left with.
    last: HashMap<AccountId, (u64, String)>,
    gathering: Gathering,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gathering {
    #[default]
    No,
    /// A task will write what is there.
    Yes,
}

impl Departures {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Router {
    /// An account's last session has ended.
    pub(crate) fn departed(&self, account: AccountId, at: u64, status: String) {
        let mut waiting = self.inner.departures.lock();
        waiting.last.insert(account, (at, status));
        if std::mem::replace(&mut waiting.gathering, Gathering::Yes) == Gathering::No {
            let router = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(GATHER).await;
                router.inner.departures.lock().gathering = Gathering::No;
                router.write_departures().await;
            });
        }
    }

    /// When an account was there last, in seconds since the Unix epoch, and with which status it left.
    pub fn last_activity(&self, account: &Account) -> Option<(u64, String)> {
        let waiting = self.inner.departures.lock().last.get(&account.id).cloned();
        waiting.or_else(|| account.last_activity.clone())
    }

    /// Writes what was gathered.
    pub(crate) async fn write_departures(&self) {
        loop {
            let written: Vec<_> = {
                let mut waiting = self.inner.departures.lock();
                let accounts: Vec<AccountId> = waiting.last.keys().copied().take(BATCH).collect();
                // Queued before anybody can ask for what is here no more: the store tells the newest that it was told.
                let write = |account| {
                    let (at, status) = waiting.last.remove(&account)?;
                    Some(self.inner.store.set_last_activity(account, at, status))
                };
                accounts.into_iter().filter_map(write).collect()
            };
            if written.is_empty() {
                return;
            }
            for end in written {
                if let Err(source) = end.await {
                    debug!(event = "account.last_activity_failed", %source, "the end of a session was not noted");
                }
            }
        }
    }
}
