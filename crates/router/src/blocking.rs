//! Block lists (XEP-0191): what changes with them. What they keep out is kept out where stanzas enter an account.

use crate::account::State;
use crate::archive::{Covered, covers};
use crate::effects::Effects;
use crate::{Commits, Router, SessionId, Turn};
use stonechat_jid::{BareJid, Jid};
use stonechat_stanza::{IqType, PresenceType, Stanza, StanzaCondition, StanzaError, ns};
use stonechat_xml::Element;
use tracing::error;

/// A change of a block list (XEP-0191 §3.2 to §3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockChange {
    /// These addresses are blocked.
    Block(Vec<Jid>),
    /// These are no longer.
    Unblock(Vec<Jid>),
    /// None is.
    UnblockAll,
}

impl Router {
    /// The block list of an account; the session that asks is told of changes from now on.
    pub async fn block_list(&self, account: &BareJid, session: Option<SessionId>) -> Vec<Jid> {
        let Some(cell) = self.loaded(account).await else { return Vec::new() };
        let mut state = cell.lock();
        if let Some(session) = session.and_then(|id| state.session(id)) {
            session.told_of_blocks = true;
        }
        state.loaded().map(|loaded| loaded.blocked.clone()).unwrap_or_default()
    }

    /// Changes the block list of an account: committed, then in force, then told to the sessions that asked for the list.
    ///
    /// # Errors
    /// `resource-constraint` for a list that is full or cannot be written.
    pub async fn change_blocks(&self, account: &BareJid, change: BlockChange) -> Result<(), StanzaError> {
        let cell = self.loaded(account).await.ok_or(StanzaCondition::ItemNotFound)?;
        let (id, add, remove) = {
            let state = cell.lock();
            let loaded = state.loaded().ok_or(StanzaCondition::ItemNotFound)?;
            let known = |jid: &&Jid| loaded.blocked.contains(jid);
            match &change {
                BlockChange::Block(jids) => {
                    (loaded.id, jids.iter().filter(|jid| !known(jid)).cloned().collect::<Vec<_>>(), Vec::new())
                }
                BlockChange::Unblock(jids) => (loaded.id, Vec::new(), jids.iter().filter(known).cloned().collect()),
                BlockChange::UnblockAll => (loaded.id, Vec::new(), loaded.blocked.clone()),
            }
        };
        let most = self.settings().max_blocked;
        self.inner.store.change_blocked(id, add.clone(), remove.clone(), most).await.map_err(|source| {
            if !matches!(source, stonechat_store::Error::Full(_)) {
                error!(event = "blocking.write_failed", %source, "a block list could not be written");
            }
            StanzaError::new(StanzaCondition::ResourceConstraint).with_text("the block list is full")
        })?;
        let mut effects = Effects::default();
        let mut turn = Turn::new();
        {
            let mut state = cell.lock();
            // §3.3: whoever is blocked sees the user leave, while it may still be told.
            tell(&mut state, &add, PresenceType::Unavailable, &mut effects);
            if let Some(loaded) = state.loaded_mut() {
                loaded.blocked.retain(|jid| !remove.contains(jid));
                loaded.blocked.extend(add);
            }
            // §3.4: and whoever is not any more sees the user come.
            tell(&mut state, &remove, PresenceType::Available, &mut effects);
            let push = match &change {
                BlockChange::Block(jids) => list("block", jids),
                BlockChange::Unblock(jids) => list("unblock", jids),
                BlockChange::UnblockAll => list("unblock", &[]),
            };
            for session in state.sessions.iter_mut().filter(|session| session.told_of_blocks) {
                let mut iq = Stanza::iq(IqType::Set, &self.random_token(), push.clone());
                iq.head_mut().from = Some(account.clone().into());
                iq.head_mut().to = Some(session.jid.clone().into());
                session.push(&iq, iq.from(), iq.to(), &mut turn);
            }
        }
        self.follow(effects, &mut turn, &mut Commits::new());
        Ok(())
    }
}

fn list(name: &'static str, jids: &[Jid]) -> Element {
    let item = |jid: &Jid| Element::new("item", ns::BLOCKING).with_attribute("jid", jid.as_str());
    Element::new(name, ns::BLOCKING).with_children(jids.iter().map(item))
}

/// Presence of the available sessions, or their end, for those contacts with a subscription that the entries cover, and for
/// whoever had directed presence.
fn tell(state: &mut State, entries: &[Jid], presence_type: PresenceType, effects: &mut Effects) {
    let covered = |jid: &Jid| entries.iter().any(|entry| covers(entry, jid) == Covered::Yes);
    let contacts: Vec<Jid> = state
        .loaded()
        .iter()
        .flat_map(|loaded| loaded.roster.values())
        .filter(|item| item.subscription.from)
        .map(|item| Jid::from(item.jid.clone()))
        .filter(|jid| covered(jid))
        .collect();
    for session in &mut state.sessions {
        let Some(presence) = &session.presence else { continue };
        let stanza = if presence_type == PresenceType::Unavailable {
            let mut unavailable = Stanza::presence(PresenceType::Unavailable, []);
            unavailable.head_mut().from = Some(session.jid.clone().into());
            unavailable
        } else {
            presence.clone()
        };
        for contact in &contacts {
            effects.route(stanza.to_recipient(contact.clone()));
        }
        if presence_type == PresenceType::Unavailable {
            let directed: Vec<Jid> = session.directed.iter().filter(|jid| covered(jid)).cloned().collect();
            for to in directed {
                session.directed.unavailable(&to);
                if !contacts.contains(&to) {
                    effects.route(stanza.to_recipient(to));
                }
            }
        }
    }
}
