//! Presence of a loaded account: what its sessions broadcast, what others send it, and subscriptions (RFC 6121 §3, §4).

use crate::account::{Cell, Inherits, Session, State};
use crate::effects::Effects;
use crate::messages::{blocked_by_oneself, refuse};
use crate::roster::cancel;
use crate::route::planned;
use crate::{AccountError, Commits, Router, SessionId, Turn};
use std::sync::Arc;
use stonechat_im::plan::{PresencePlan, plan_presence};
use stonechat_im::presence::{DirectedPresence, ProbeAnswer, priority, probe_answer};
use stonechat_im::roster::RosterItem;
use stonechat_im::subscription::{Change, Consequence, Passage, Transition, inbound, outbound};
use stonechat_jid::{BareJid, Jid};
use stonechat_stanza::{PresenceType, Stanza, StanzaCondition, StanzaError, StanzaType};
use stonechat_store::Pending;
use tokio::sync::oneshot;
use tracing::error;

/// Characters kept of the status somebody left with.
const LAST_STATUS: usize = 1_024;

impl Router {
    /// Takes a presence from a bound session.
    pub(crate) fn presence_from_client(
        &self,
        cell: &Arc<Cell>,
        session: SessionId,
        stanza: Stanza,
        turn: &mut Turn,
        commits: &mut Commits,
    ) {
        let StanzaType::Presence(presence_type) = stanza.stanza_type() else { return };
        let mut effects = Effects::default();
        match (presence_type, stanza.to().cloned()) {
            (PresenceType::Available, None) => self.broadcast_available(cell, session, &stanza, turn, &mut effects),
            (PresenceType::Unavailable, None) => {
                let mut state = cell.lock();
                if let Some(index) = state.sessions.iter().position(|other| other.id == session) {
                    broadcast_unavailable(&mut state, index, &stanza, turn, &mut effects);
                }
            }
            // RFC 6121 §4.3: probes are the server's business; errors go to whom they are for.
            (PresenceType::Probe | PresenceType::Error, None) => {}
            (PresenceType::Available | PresenceType::Unavailable, Some(to)) => {
                directed(cell, session, presence_type, &to, stanza, turn, &mut effects);
            }
            (PresenceType::Probe | PresenceType::Error, Some(_)) => effects.route(stanza),
            (
                PresenceType::Subscribe
                | PresenceType::Subscribed
                | PresenceType::Unsubscribe
                | PresenceType::Unsubscribed,
                to,
            ) => match (Change::from_presence(presence_type), to) {
                (Some(change), Some(to)) => {
                    self.subscription_from_client(cell, change, to.to_bare(), stanza, turn, commits, &mut effects);
                }
                _ => effects.bounce(&stanza, &StanzaCondition::BadRequest.into()),
            },
        }
        self.follow(effects, turn, commits);
    }

    /// RFC 6121 §4.2, §4.4: initial and subsequent presence.
    fn broadcast_available(
        &self,
        cell: &Arc<Cell>,
        id: SessionId,
        stanza: &Stanza,
        turn: &mut Turn,
        effects: &mut Effects,
    ) {
        let priority = match priority(stanza) {
            Ok(priority) => priority,
            Err(error) => return effects.bounce(stanza, &error),
        };
        let mut state = cell.lock();
        if let Some(loaded) = state.loaded_mut() {
            // Somebody looks: what waits is counted anew.
            loaded.unseen = 0;
        }
        let Some(session) = state.session(id) else { return };
        let initial = session.presence.is_none();
        let eligible = !initial && session.priority >= 0;
        session.presence = Some(stanza.clone());
        session.priority = priority;
        let jid = session.jid.clone();
        let own: Jid = cell.jid.clone().into();
        // §4.2.2: to those who are subscribed, and to all of the user's own available resources, this one included.
        if let Some(loaded) = state.loaded() {
            for item in loaded.subscribers() {
                effects.route(stanza.to_recipient(item.jid.clone()));
            }
        }
        for other in state.sessions.iter_mut().filter(|other| other.presence.is_some()) {
            other.push(stanza, stanza.from(), Some(&own), turn);
        }
        if initial {
            // What the user's other resources have said, and what the contacts will say.
            let others: Vec<Stanza> = state
                .sessions
                .iter()
                .filter(|other| other.id != id)
                .filter_map(|other| other.presence.clone())
                .collect();
            let requests: Vec<Stanza> = match state.loaded() {
                Some(loaded) => {
                    for item in loaded.roster.values().filter(|item| item.subscription.to) {
                        let mut probe = Stanza::presence(PresenceType::Probe, []);
                        probe.head_mut().from = Some(jid.clone().into());
                        probe.head_mut().to = Some(item.jid.clone().into());
                        effects.route(probe);
                    }
                    // §3.1.3: requests that wait for an answer are delivered at each log-in.
                    loaded
                        .roster
                        .values()
                        .filter(|item| item.subscription.pending_in && !loaded.blocks(&item.jid.clone().into()))
                        .map(|item| request_of(item, &cell.jid))
                        .collect()
                }
                None => Vec::new(),
            };
            if let Some(session) = state.session(id) {
                for presence in &others {
                    session.push(presence, presence.from(), Some(&own), turn);
                }
                for request in &requests {
                    session.push(request, request.from(), request.to(), turn);
                }
            }
        }
        // XEP-0160 §2: a resource with a non-negative priority gets what was kept.
        if priority >= 0 && !eligible {
            self.start_drain(cell, &mut state, id, turn);
        }
    }

    /// RFC 6121 §3: a session manages a subscription.
    #[expect(clippy::too_many_arguments, reason = "one step's parts, lent one by one")]
    fn subscription_from_client(
        &self,
        cell: &Arc<Cell>,
        change: Change,
        contact: BareJid,
        mut stanza: Stanza,
        turn: &mut Turn,
        commits: &mut Commits,
        effects: &mut Effects,
    ) {
        let max = self.settings().max_roster;
        let mut state = cell.lock();
        let Some(loaded) = state.loaded_mut() else { return };
        // Abuse case 82: nobody subscribes to themselves.
        if contact == cell.jid {
            return effects.bounce(&stanza, &StanzaCondition::NotAllowed.into());
        }
        let known = loaded.roster.get(&contact).cloned();
        if known.is_none() && loaded.roster.len() >= max {
            let error = StanzaError::new(StanzaCondition::ResourceConstraint).with_text("the roster is full");
            return effects.bounce(&stanza, &error);
        }
        // §3.1.2: from the bare address, to the bare address. What is refused is answered to the session that sent it.
        stanza.head_mut().from = Some(cell.jid.clone().into());
        stanza.head_mut().to = Some(contact.clone().into());
        let item = known.clone().unwrap_or_else(|| RosterItem::new(contact.clone()));
        let Transition { state: next, passage, consequence } = outbound(item.subscription, change);
        let listed = item.listed || next.to || next.from || next.pending_out || next.approved;
        let request = if next.pending_in { item.request.clone() } else { None };
        let changed = RosterItem { subscription: next, listed, request, ..item.clone() };
        if changed != item || (known.is_none() && listed) {
            let visible = listed && (changed.subscription.visible() != item.subscription.visible() || !item.listed);
            let element = changed.to_element();
            let written = loaded.put(self, changed);
            commit_quietly(written, commits);
            if visible {
                state.push_roster(self, element, turn);
            }
        }
        // §3.2.1: unavailable presence arrives while the contact is still subscribed; presence after it is.
        if consequence == Consequence::SendUnavailable {
            follow(consequence, cell, &state, &contact, effects);
        }
        if passage == Passage::Passed {
            effects.route(stanza);
        }
        if consequence != Consequence::SendUnavailable {
            follow(consequence, cell, &state, &contact, effects);
        }
    }

    /// A stream has ended: its session leaves.
    pub(crate) fn unbind(&self, cell: &Arc<Cell>, id: SessionId, turn: &mut Turn) {
        let session = {
            let mut state = cell.lock();
            let Some(index) = state.sessions.iter().position(|session| session.id == id) else { return };
            state.sessions.remove(index)
        };
        self.left(cell, session, turn);
    }

    /// A session has left the account's list: its contacts are told, and what it was sent and did not acknowledge goes
    /// elsewhere.
    pub(crate) fn left(&self, cell: &Arc<Cell>, mut session: Session, turn: &mut Turn) {
        let mut effects = Effects::default();
        let last = {
            let mut state = cell.lock();
            if session.presence.take().is_some() {
                state.last_status.clear();
                // RFC 6121 §4.5.3
                let mut unavailable = Stanza::presence(PresenceType::Unavailable, []);
                unavailable.head_mut().from = Some(session.jid.clone().into());
                tell_unavailable(&mut state, &cell.jid, &mut session.directed, &unavailable, turn, &mut effects);
            } else {
                for to in session.directed.take() {
                    let mut unavailable = Stanza::presence(PresenceType::Unavailable, []);
                    unavailable.head_mut().from = Some(session.jid.clone().into());
                    effects.route(unavailable.to_recipient(to));
                }
            }
            // The kept messages that this session did not get go to the next one that may have them.
            if state.draining == Some(session.id) {
                state.draining = None;
                state.kept_lately = true;
            }
            self.drain_what_is_kept(cell, &mut state, turn);
            state.touch(self.inner.clock.monotonic());
            if state.sessions.is_empty() {
                let status = std::mem::take(&mut state.last_status);
                state.loaded().map(|loaded| (loaded.id, status))
            } else {
                None
            }
        };
        if let Inherits::Of(gone) = session.inherits {
            // It never came to be available: what was kept for the session before it is anybody's.
            self.let_go(cell, gone, stonechat_store::Others::None);
        }
        self.deal_out(cell, session, turn, &mut effects);
        self.follow(effects, turn, &mut Commits::new());
        if let Some((account, status)) = last {
            // XEP-0012: when the last session ended.
            self.departed(account, self.inner.clock.unix().as_secs(), status);
        }
    }

    /// Deletes an account and ends its streams.
    pub async fn delete_account(&self, jid: &BareJid) -> Result<(), AccountError> {
        let cell = self.doom_account(jid).await?;
        cell.close_sessions(stonechat_stanza::StreamCondition::NotAuthorized);
        self.end_abandoned(&cell);
        Ok(())
    }

    /// Deletes an account: its contacts are told (XEP-0077 §3.2), everything it kept goes. Its streams are the caller's to
    /// end.
    pub(crate) async fn doom_account(&self, jid: &BareJid) -> Result<Arc<Cell>, AccountError> {
        let cell = self.loaded(jid).await.ok_or(AccountError::NotFound)?;
        let id = cell.account_id().ok_or(AccountError::NotFound)?;
        self.inner.store.delete_account(id, self.inner.clock.unix().as_secs()).await?;
        let mut effects = Effects::default();
        {
            let mut state = cell.lock();
            let items: Vec<RosterItem> =
                state.loaded().map(|loaded| loaded.roster.values().cloned().collect()).unwrap_or_default();
            for item in &items {
                cancel(&cell, &state, item, &mut effects);
            }
            for session in &mut state.sessions {
                session.presence = None;
            }
            state.load = crate::account::Load::Absent;
            state.doomed = true;
        }
        self.inner.shards.forget(jid);
        let mut turn = Turn::new();
        self.follow(effects, &mut turn, &mut Commits::new());
        Ok(cell)
    }
}

/// A pending request as it is delivered.
fn request_of(item: &RosterItem, own: &BareJid) -> Stanza {
    let mut stanza = item
        .request
        .as_deref()
        .and_then(|xml| Stanza::parse(xml).ok())
        .unwrap_or_else(|| Stanza::presence(PresenceType::Subscribe, []));
    stanza.head_mut().from = Some(item.jid.clone().into());
    stanza.head_mut().to = Some(own.clone().into());
    stanza
}

/// A write whose failure nobody can be told of any more: it is logged, and the stream's later answers wait for it.
fn commit_quietly(written: Pending<()>, commits: &mut Commits) {
    let (done, receiver) = oneshot::channel();
    tokio::spawn(async move {
        if let Err(source) = written.await {
            error!(event = "roster.write_failed", %source, "a roster could not be written");
        }
        let _ = done.send(());
    });
    commits.add(receiver);
}

/// RFC 6121 §4.6: directed presence.
fn directed(
    cell: &Arc<Cell>,
    id: SessionId,
    presence_type: PresenceType,
    to: &Jid,
    stanza: Stanza,
    turn: &mut Turn,
    effects: &mut Effects,
) {
    if cell.lock().loaded().is_some_and(|loaded| loaded.blocks(to)) {
        return refuse(cell, id, &stanza, &blocked_by_oneself(), turn);
    }
    let mut state = cell.lock();
    // Subscribers are told anyway when the session leaves; the others are remembered.
    let subscribed =
        state.loaded().and_then(|loaded| loaded.roster.get(&to.to_bare())).is_some_and(|item| item.subscription.from);
    let Some(session) = state.session(id) else { return };
    match presence_type {
        PresenceType::Available if !(subscribed && session.presence.is_some()) => {
            if let Err(error) = session.directed.available(to) {
                return effects.bounce(&stanza, &error);
            }
        }
        PresenceType::Unavailable => session.directed.unavailable(to),
        _ => {}
    }
    effects.route(stanza);
}

/// RFC 6121 §4.5: the session at `index` becomes unavailable by its own word.
fn broadcast_unavailable(state: &mut State, index: usize, stanza: &Stanza, turn: &mut Turn, effects: &mut Effects) {
    let Some(session) = state.sessions.get_mut(index) else { return };
    let was_available = session.presence.take().is_some();
    let mut directed = std::mem::take(&mut session.directed);
    let own = session.jid.to_bare();
    if was_available {
        let status = stanza.child("status", "").map(|status| status.text()).unwrap_or_default();
        state.last_status = status.chars().take(LAST_STATUS).collect();
        tell_unavailable(state, &own, &mut directed, stanza, turn, effects);
    } else {
        for to in directed.take() {
            effects.route(stanza.to_recipient(to));
        }
    }
}

fn tell_unavailable(
    state: &mut State,
    own: &BareJid,
    directed: &mut DirectedPresence,
    stanza: &Stanza,
    turn: &mut Turn,
    effects: &mut Effects,
) {
    let own_jid: Jid = own.clone().into();
    if let Some(loaded) = state.loaded() {
        for item in loaded.subscribers() {
            effects.route(stanza.to_recipient(item.jid.clone()));
        }
        // §4.5.2: and to those who got directed presence and are not subscribers.
        for to in directed.take() {
            let told = loaded.roster.get(&to.to_bare()).is_some_and(|item| item.subscription.from);
            if !(told && to.is_bare()) {
                effects.route(stanza.to_recipient(to));
            }
        }
    }
    for other in state.sessions.iter_mut().filter(|other| other.presence.is_some()) {
        other.push(stanza, stanza.from(), Some(&own_jid), turn);
    }
}

/// What else a change of subscription brings for the contact.
pub(crate) fn follow(consequence: Consequence, cell: &Cell, state: &State, contact: &BareJid, effects: &mut Effects) {
    match consequence {
        Consequence::Nothing => {}
        Consequence::SendPresence => {
            for presence in state.sessions.iter().filter_map(|session| session.presence.as_ref()) {
                effects.route(presence.to_recipient(contact.clone()));
            }
        }
        Consequence::SendUnavailable => {
            for session in state.sessions.iter().filter(|session| session.presence.is_some()) {
                let mut unavailable = Stanza::presence(PresenceType::Unavailable, []);
                unavailable.head_mut().from = Some(session.jid.clone().into());
                unavailable.head_mut().to = Some(contact.clone().into());
                effects.route(unavailable);
            }
        }
        Consequence::AnswerSubscribed => {
            let mut answer = Stanza::presence(PresenceType::Subscribed, []);
            answer.head_mut().from = Some(cell.jid.clone().into());
            answer.head_mut().to = Some(contact.clone().into());
            effects.route(answer);
            follow(Consequence::SendPresence, cell, state, contact, effects);
        }
    }
}

/// A presence that arrived for an account.
pub(crate) struct InboundPresence<'a> {
    pub(crate) router: &'a Router,
    pub(crate) cell: &'a Arc<Cell>,
    pub(crate) presence_type: PresenceType,
    pub(crate) stanza: Stanza,
}

impl InboundPresence<'_> {
    pub(crate) fn accept(self, state: &mut State, turn: &mut Turn, commits: &mut Commits, effects: &mut Effects) {
        match planned(state, &self.stanza, |recipient| plan_presence(self.presence_type, recipient)) {
            PresencePlan::Deliver(sessions, _) => {
                for index in sessions {
                    if let Some(session) = state.sessions.get_mut(index) {
                        session.push(&self.stanza, self.stanza.from(), self.stanza.to(), turn);
                    }
                }
            }
            PresencePlan::Act(_) if self.presence_type == PresenceType::Probe => self.probe(state, effects),
            PresencePlan::Act(_) => self.subscription(state, turn, commits, effects),
            PresencePlan::Nothing(_) => {}
        }
    }

    /// RFC 6121 §4.3.2. An account that does not exist answers like one that does not know the asker.
    fn probe(&self, state: &State, effects: &mut Effects) {
        let Some(from) = self.stanza.from() else { return };
        let asker = from.to_bare();
        let own = asker == self.cell.jid;
        let subscription = state.loaded().and_then(|loaded| loaded.roster.get(&asker)).map(|item| item.subscription);
        if !own && probe_answer(subscription) == ProbeAnswer::Unsubscribed {
            let mut answer = Stanza::presence(PresenceType::Unsubscribed, []);
            answer.head_mut().from = Some(self.cell.jid.clone().into());
            answer.head_mut().to = Some(asker.into());
            return effects.route(answer);
        }
        let mut any = false;
        for presence in state.sessions.iter().filter_map(|session| session.presence.as_ref()) {
            any = true;
            effects.route(presence.to_recipient(from.clone()));
        }
        if !any {
            // §4.3.2.1 leaves it open; saying so spares the asker a stale presence after a lost connection.
            let mut answer = Stanza::presence(PresenceType::Unavailable, []);
            answer.head_mut().from = Some(self.cell.jid.clone().into());
            answer.head_mut().to = Some(from.clone());
            effects.route(answer);
        }
    }

    fn subscription(self, state: &mut State, turn: &mut Turn, commits: &mut Commits, effects: &mut Effects) {
        let Self { router, cell, presence_type, mut stanza } = self;
        let (Some(change), Some(contact)) = (Change::from_presence(presence_type), stanza.from().map(Jid::to_bare))
        else {
            return;
        };
        // RFC 6121 §3.1.2 and §8.5.1: subscriptions are between bare addresses; none with an account that is not there.
        stanza.head_mut().from = Some(contact.clone().into());
        stanza.head_mut().to = Some(cell.jid.clone().into());
        let max = router.settings().max_roster;
        let Some(loaded) = state.loaded_mut() else { return };
        if contact == cell.jid {
            return;
        }
        let known = loaded.roster.get(&contact).cloned();
        if known.is_none() && loaded.roster.len() >= max {
            return effects.bounce(&stanza, &StanzaCondition::ResourceConstraint.into());
        }
        let item = known.unwrap_or_else(|| RosterItem::new(contact.clone()));
        let Transition { state: next, passage, consequence } = inbound(item.subscription, change);
        let request = match (change, passage) {
            (Change::Subscribe, Passage::Passed) => Some(stanza.to_xml()),
            _ if next.pending_in => item.request.clone(),
            _ => None,
        };
        let listed = item.listed || next.to || next.from || next.pending_out;
        let changed = RosterItem { subscription: next, listed, request, ..item.clone() };
        let pushed = if changed == item {
            None
        } else {
            let visible = changed.listed && (next.visible() != item.subscription.visible() || !item.listed);
            let element = changed.to_element();
            commit_quietly(loaded.put(router, changed), commits);
            visible.then_some(element)
        };
        if passage == Passage::Passed {
            // §3.1.3: a request to every available resource; §3.1.6 and others: the rest to every interested one, the
            // stanza before the push.
            for session in &mut state.sessions {
                let wanted = match change {
                    Change::Subscribe => session.presence.is_some(),
                    Change::Subscribed | Change::Unsubscribe | Change::Unsubscribed => session.interested,
                };
                if wanted {
                    session.push(&stanza, stanza.from(), stanza.to(), turn);
                }
            }
        }
        if let Some(element) = pushed {
            state.push_roster(router, element, turn);
        }
        follow(consequence, cell, state, &contact, effects);
    }
}
