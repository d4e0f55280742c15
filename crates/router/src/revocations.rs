//! What was revoked lately, so that no log-in under way escapes it.
//!
//! Whoever revokes notes it here first and then ends what is there; a log-in takes effect first and then looks here for
//! what was noted since it began. Whichever of the two comes second sees the other.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use stonechat_jid::BareJid;

/// Revocations remembered. A log-in during which there were more is refused.
const RECENT: usize = 1024;

/// A moment before anything of a log-in was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginStart(u64);

/// What was revoked lately.
#[derive(Default)]
pub(crate) struct Revocations {
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    /// The number of the last one.
    last: u64,
    /// The number of the last one that is not remembered any more.
    forgotten: u64,
    kept: VecDeque<Revocation>,
}

struct Revocation {
    number: u64,
    account: BareJid,
    /// `None`: everything of the account.
    device: Option<String>,
}

impl Revocations {
    fn lock(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment before whatever is revoked next.
    pub(crate) fn now(&self) -> LoginStart {
        LoginStart(self.lock().last)
    }

    /// Of a device, or of the whole account. To be called before what is there is ended.
    pub(crate) fn add(&self, account: &BareJid, device: Option<&str>) {
        let mut recent = self.lock();
        recent.last = recent.last.saturating_add(1);
        let number = recent.last;
        recent.kept.push_back(Revocation { number, account: account.clone(), device: device.map(str::to_owned) });
        if recent.kept.len() > RECENT
            && let Some(oldest) = recent.kept.pop_front()
        {
            recent.forgotten = oldest.number;
        }
    }

    /// Whether a log-in is concerned that began then. To be asked after it took effect.
    pub(crate) fn since(&self, start: LoginStart, account: &BareJid, device: Option<&str>) -> Revoked {
        let recent = self.lock();
        let meant = |revocation: &Revocation| {
            revocation.account == *account && (revocation.device.is_none() || revocation.device.as_deref() == device)
        };
        let later = recent.kept.iter().rev().take_while(|revocation| revocation.number > start.0);
        if recent.forgotten > start.0 || later.into_iter().any(meant) { Revoked::Yes } else { Revoked::No }
    }
}

/// Whether something was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revoked {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> BareJid {
        BareJid::parse(text).unwrap()
    }

    #[test]
    fn a_revocation_holds_for_log_ins_that_began_before_it() {
        let revocations = Revocations::default();
        let start = || revocations.now();
        let (juliet, romeo) = (jid("juliet@a.example"), jid("romeo@a.example"));
        let before = start();
        revocations.add(&juliet, Some("phone"));
        let between = start();
        revocations.add(&romeo, None);
        let table = [
            (before, &juliet, Some("phone"), Revoked::Yes),
            (before, &juliet, Some("laptop"), Revoked::No),
            (before, &juliet, None, Revoked::No),
            (between, &juliet, Some("phone"), Revoked::No),
            (before, &romeo, Some("phone"), Revoked::Yes),
            (between, &romeo, None, Revoked::Yes),
            (start(), &romeo, None, Revoked::No),
        ];
        for (start, account, device, expected) in table {
            assert_eq!(revocations.since(start, account, device), expected, "{start:?} {account} {device:?}");
        }
    }

    #[test]
    fn a_log_in_that_lasted_over_more_than_is_remembered_is_refused() {
        let revocations = Revocations::default();
        let juliet = jid("juliet@a.example");
        let begun = LoginStart(0);
        for _ in 0..RECENT {
            revocations.add(&jid("romeo@a.example"), None);
        }
        assert_eq!(revocations.since(begun, &juliet, None), Revoked::No);
        revocations.add(&jid("romeo@a.example"), None);
        assert_eq!(revocations.since(begun, &juliet, None), Revoked::Yes);
        assert_eq!(revocations.since(LoginStart(1), &juliet, None), Revoked::No);
        assert_eq!(revocations.lock().kept.len(), RECENT);
    }
}
