//! The roster of a loaded account: get, set, pushes, and what is written of it (RFC 6121 §2).

use crate::account::{Cell, Loaded, State};
use crate::effects::Effects;
use crate::{Commits, Relation, Router, SessionId, Turn};
use smallvec::SmallVec;
use std::sync::Arc;
use stonechat_im::roster::{
    RosterItem, RosterSet, VersionAnswer, changes, parse_set, removed_element, version_answer, version_text,
};
use stonechat_im::subscription::{Change, Subscription, removal};
use stonechat_jid::BareJid;
use stonechat_stanza::{IqType, PresenceType, Stanza, StanzaCondition, StanzaError, ns};
use stonechat_store::{Pending, RosterRecord, StoredSubscription};
use stonechat_xml::Element;
use tracing::error;

/// Removals remembered in memory for roster versioning; the store keeps its own bound.
const MAX_REMOVED: usize = 1_000;

pub(crate) fn item_from_record(record: RosterRecord) -> RosterItem {
    let stored = record.subscription;
    RosterItem {
        jid: record.jid,
        name: record.name,
        groups: record.groups,
        subscription: Subscription {
            to: stored.to,
            from: stored.from,
            pending_out: stored.pending_out,
            pending_in: stored.pending_in,
            approved: stored.approved,
        },
        listed: record.listed,
        version: record.version,
        request: record.request,
    }
}

fn record_from_item(item: &RosterItem) -> RosterRecord {
    let subscription = item.subscription;
    RosterRecord {
        jid: item.jid.clone(),
        name: item.name.clone(),
        groups: item.groups.clone(),
        subscription: StoredSubscription {
            to: subscription.to,
            from: subscription.from,
            pending_out: subscription.pending_out,
            pending_in: subscription.pending_in,
            approved: subscription.approved,
        },
        request: item.request.clone(),
        listed: item.listed,
        version: item.version,
    }
}

impl Cell {
    /// What somebody is to this account.
    pub(crate) fn relation(&self, other: &BareJid) -> Relation {
        if *other == self.jid {
            return Relation::Owner;
        }
        let state = self.lock();
        match state.loaded().and_then(|loaded| loaded.roster.get(other)) {
            Some(item) if item.subscription.from => Relation::Subscriber,
            _ => Relation::Stranger,
        }
    }
}

impl Loaded {
    /// Puts an item into the roster with a new version, and queues its write.
    pub(crate) fn put(&mut self, router: &Router, mut item: RosterItem) -> Pending<()> {
        if item.subscription.is_blank() && !item.listed {
            return self.remove(router, &item.jid);
        }
        self.roster_version = self.roster_version.saturating_add(1);
        item.version = self.roster_version;
        self.removed.retain(|(jid, _)| *jid != item.jid);
        let write = router.inner.store.put_roster_entry(self.id, record_from_item(&item));
        self.roster.insert(item.jid.clone(), item);
        write
    }

    /// Takes an item out with a new version, and queues the write.
    pub(crate) fn remove(&mut self, router: &Router, jid: &BareJid) -> Pending<()> {
        self.roster_version = self.roster_version.saturating_add(1);
        self.roster.remove(jid);
        self.removed.retain(|(other, _)| other != jid);
        self.removed.push((jid.clone(), self.roster_version));
        if self.removed.len() > MAX_REMOVED {
            let (_, version) = self.removed.remove(0);
            self.horizon = self.horizon.max(version);
        }
        router.inner.store.remove_roster_entry(self.id, jid, self.roster_version)
    }
}

impl State {
    /// A roster push to every session that asked for the roster (RFC 6121 §2.1.6).
    pub(crate) fn push_roster(&mut self, router: &Router, item: Element, turn: &mut Turn) {
        let Some(version) = self.loaded().map(|loaded| version_text(loaded.roster_version)) else { return };
        for session in self.sessions.iter_mut().filter(|session| session.interested) {
            let push = roster_push(router, item.clone(), &version, &session.jid);
            session.push(&push, push.from(), push.to(), turn);
        }
    }
}

fn roster_push(router: &Router, item: Element, version: &str, to: &stonechat_jid::FullJid) -> Stanza {
    let query = Element::new("query", ns::ROSTER).with_attribute("ver", version).with_child(item);
    let mut push = Stanza::iq(IqType::Set, &router.random_token(), query);
    // RFC 6121 §2.1.6: from the bare address (clients take a push without a `from` as well).
    push.head_mut().from = Some(to.to_bare().into());
    push.head_mut().to = Some(to.clone().into());
    push
}

impl Router {
    pub(crate) fn roster_get(
        &self,
        cell: &Arc<Cell>,
        session: SessionId,
        query: &Element,
        follow: &mut SmallVec<[Stanza; 1]>,
    ) -> Result<Option<Element>, StanzaError> {
        let mut state = cell.lock();
        let loaded = state.loaded().ok_or(StanzaCondition::ItemNotFound)?;
        let version = version_text(loaded.roster_version);
        let answer = match query.attribute("ver") {
            None => VersionAnswer::Whole,
            client => version_answer(client, loaded.roster_version, loaded.horizon),
        };
        let mut pushes: Vec<(u64, Element)> = Vec::new();
        let result = match answer {
            VersionAnswer::Unchanged => None,
            VersionAnswer::Changes { since } => {
                pushes = changes(since, loaded.roster.values(), &loaded.removed)
                    .iter()
                    .map(|change| (change.version(), change.to_element()))
                    .collect();
                None
            }
            VersionAnswer::Whole => Some(
                Element::new("query", ns::ROSTER)
                    .with_attribute("ver", version)
                    .with_children(loaded.roster.values().filter(|item| item.listed).map(RosterItem::to_element)),
            ),
        };
        if let Some(session) = state.session(session) {
            session.interested = true;
            // RFC 6121 §2.6.3: after the empty result, pushes in order of version.
            for (version, item) in pushes {
                follow.push(roster_push(self, item, &version_text(version), &session.jid));
            }
        }
        Ok(result)
    }

    pub(crate) async fn roster_set(
        &self,
        cell: &Arc<Cell>,
        query: &Element,
        turn: &mut Turn,
    ) -> Result<Option<Element>, StanzaError> {
        let set = parse_set(query)?;
        let mut effects = Effects::default();
        let written = {
            let mut state = cell.lock();
            match set {
                RosterSet::Update { jid, name, groups } => {
                    self.roster_update(cell, &mut state, jid, name, groups, turn)?
                }
                RosterSet::Remove { jid } => self.roster_remove(cell, &mut state, &jid, turn, &mut effects)?,
            }
        };
        self.follow(effects, turn, &mut Commits::new());
        turn.flush();
        written.await.map(|()| None).map_err(|source| {
            error!(event = "roster.write_failed", %source, "a roster could not be written");
            StanzaError::new(StanzaCondition::ResourceConstraint)
        })
    }

    fn roster_update(
        &self,
        cell: &Arc<Cell>,
        state: &mut State,
        jid: BareJid,
        name: Option<String>,
        groups: Vec<String>,
        turn: &mut Turn,
    ) -> Result<Pending<()>, StanzaError> {
        if jid == cell.jid {
            // RFC 6121 §2.1.3.3 lets the server refuse the user's own address.
            return Err(StanzaError::new(StanzaCondition::NotAllowed).with_text("that is your own address"));
        }
        let max = self.settings().max_roster;
        let loaded = state.loaded_mut().ok_or(StanzaCondition::ItemNotFound)?;
        let known = loaded.roster.get(&jid).cloned();
        if known.is_none() && loaded.roster.len() >= max {
            return Err(StanzaError::new(StanzaCondition::ResourceConstraint).with_text("the roster is full"));
        }
        let item = known.unwrap_or_else(|| RosterItem::new(jid));
        let item = RosterItem { name, groups, listed: true, ..item };
        let element = item.to_element();
        let written = loaded.put(self, item);
        state.push_roster(self, element, turn);
        Ok(written)
    }

    /// RFC 6121 §2.5: removal cancels the subscriptions in both directions.
    fn roster_remove(
        &self,
        cell: &Arc<Cell>,
        state: &mut State,
        jid: &BareJid,
        turn: &mut Turn,
        effects: &mut Effects,
    ) -> Result<Pending<()>, StanzaError> {
        let loaded = state.loaded_mut().ok_or(StanzaCondition::ItemNotFound)?;
        // RFC 6121 §2.5.3
        let item = loaded.roster.get(jid).filter(|item| item.listed).cloned().ok_or(StanzaCondition::ItemNotFound)?;
        let written = loaded.remove(self, jid);
        cancel(cell, state, &item, effects);
        state.push_roster(self, removed_element(jid), turn);
        Ok(written)
    }
}

/// The stanzas that cancel what an item says (RFC 6121 §2.5.2, and the end of an account).
pub(crate) fn cancel(cell: &Cell, state: &State, item: &RosterItem, effects: &mut Effects) {
    let removal = removal(item.subscription);
    crate::presence::follow(removal.consequence, cell, state, &item.jid, effects);
    for change in removal.changes {
        let presence_type = match change {
            Change::Subscribe => PresenceType::Subscribe,
            Change::Subscribed => PresenceType::Subscribed,
            Change::Unsubscribe => PresenceType::Unsubscribe,
            Change::Unsubscribed => PresenceType::Unsubscribed,
        };
        let mut presence = Stanza::presence(presence_type, []);
        presence.head_mut().from = Some(cell.jid.clone().into());
        presence.head_mut().to = Some(item.jid.clone().into());
        effects.route(presence);
    }
}
