//! Documents, block lists, registrations for push.

use super::MemoryStore;
use crate::{AccountId, AccountXml, BlockLists, Error, Pending, PushRegistration, PushRegistrations, XmlKind};
use std::collections::BTreeSet;
use stonechat_jid::Jid;

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

impl BlockLists for MemoryStore {
    fn blocked(&self, account: AccountId) -> Pending<Vec<Jid>> {
        self.read(|state| {
            state.accounts.get(&account).map(|kept| kept.blocked.iter().cloned().collect()).unwrap_or_default()
        })
    }

    fn change_blocked(&self, account: AccountId, add: Vec<Jid>, remove: Vec<Jid>, most: usize) -> Pending<()> {
        self.write(|state| {
            let blocked = &mut state.kept(account)?.blocked;
            let mut changed: BTreeSet<Jid> = blocked.iter().filter(|jid| !remove.contains(jid)).cloned().collect();
            changed.extend(add);
            if changed.len() > most && changed.len() > blocked.len() {
                return Err(Error::Full("the account's block list is at its bound".into()));
            }
            *blocked = changed;
            Ok(())
        })
    }
}

impl PushRegistrations for MemoryStore {
    fn push_registrations(&self, account: AccountId) -> Pending<Vec<PushRegistration>> {
        self.read(|state| {
            state.accounts.get(&account).map(|kept| kept.push.values().cloned().collect()).unwrap_or_default()
        })
    }

    fn put_push(&self, account: AccountId, registration: PushRegistration, most: usize) -> Pending<()> {
        self.write(|state| {
            let push = &mut state.kept(account)?.push;
            let place = (registration.service.clone(), registration.node.clone());
            if !push.contains_key(&place) && push.len() >= most {
                return Err(Error::Full("the account's registrations for push are at their bound".into()));
            }
            push.insert(place, registration);
            Ok(())
        })
    }

    fn remove_push(&self, account: AccountId, service: Jid, node: Option<String>) -> Pending<()> {
        self.write(|state| {
            if let Some(kept) = state.accounts.get_mut(&account) {
                kept.push.retain(|(other, registered), _| {
                    *other != service || node.as_ref().is_some_and(|node| node != registered)
                });
            }
            Ok(())
        })
    }
}
