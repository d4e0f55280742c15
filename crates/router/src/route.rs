//! The pipeline: from an accepted stanza to everything that follows from it.
//!
//! One stanza may cause others (answers, probes, errors); they are worked off in order from a queue, never by recursion,
//! and an error is never answered, so the queue runs empty.

use crate::account::{Cell, Load, Loaded, Overfull, Session, State};
use crate::effects::Effects;
use crate::presence::InboundPresence;
use crate::{Commits, Delivery, Outbox, Outward, Pushed, Router, SessionId, Turn};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use stonechat_im::classify::{Classification, IqOrigin, message_type};
use stonechat_im::plan::{
    Address, Archiving, Carbons, Counting, DeliveryPlan, IqPlan, Kept, Recipient, SessionState, plan, plan_iq,
};
use stonechat_jid::{BareJid, FullJid};
use stonechat_stanza::{IqType, Kind, Stanza, StanzaCondition, StanzaError, StanzaType};
use stonechat_store::{AccountId, OfflineStored};
use tokio::sync::oneshot;
use tracing::{debug, error, warn};

impl Router {
    /// Loads an account that was just put into the table, and then works off what waited for it.
    pub(crate) fn load(&self, cell: &Arc<Cell>) {
        let (router, cell) = (self.clone(), Arc::clone(cell));
        tokio::spawn(async move {
            let load = match router.read_account(&cell.jid).await {
                Ok(Some(loaded)) => Load::Present(Box::new(loaded)),
                Ok(None) => Load::Absent,
                Err(source) => {
                    error!(event = "account.load_failed", account = %cell.jid, %source, "an account could not be loaded");
                    router.inner.shards.forget(&cell.jid);
                    Load::Failed
                }
            };
            let mut turn = Turn::new();
            let mut effects = Effects::default();
            {
                // Under one lock, so that nothing that arrives now overtakes what waited (P3).
                let mut state = cell.lock();
                for entry in state.finish_loading(load, router.inner.clock.monotonic()) {
                    let mut commits = Commits::new();
                    router.process(&cell, &mut state, entry.stanza, &mut turn, &mut commits, &mut effects);
                    tokio::spawn(async move {
                        commits.settle().await;
                        // Nobody waits when the stream has ended meanwhile.
                        let _ = entry.done.send(());
                    });
                }
            }
            cell.announce_loaded();
            for stanza in effects.route {
                router.route(stanza, &mut turn, &mut Commits::new());
            }
        });
    }

    async fn read_account(&self, jid: &BareJid) -> Result<Option<Loaded>, stonechat_store::Error> {
        let Some(account) = self.inner.store.account(jid).await? else { return Ok(None) };
        let roster = self.inner.store.roster(account.id).await?;
        Ok(Some(Loaded::new(account.id, roster)))
    }

    /// The cell of an account that exists, once it is loaded.
    pub(crate) async fn loaded(&self, jid: &BareJid) -> Option<Arc<Cell>> {
        let cell = self.cell(jid);
        cell.wait_loaded().await;
        let present = cell.lock().loaded().is_some();
        present.then_some(cell)
    }

    /// Takes a stanza from a bound session.
    #[expect(clippy::too_many_arguments, reason = "they are the session's own fields, lent one by one")]
    pub(crate) async fn accept_from_client(
        &self,
        cell: &Arc<Cell>,
        session: SessionId,
        jid: &FullJid,
        outbox: &Arc<dyn Outbox>,
        mut stanza: Stanza,
        turn: &mut Turn,
        commits: &mut Commits,
    ) {
        match stanza.stanza_type() {
            StanzaType::Message(_) => {
                // RFC 6120 §10.3.1: without a recipient it is for the account itself.
                if stanza.to().is_none() {
                    stanza.head_mut().to = Some(cell.jid.clone().into());
                }
                self.route(stanza, turn, commits);
            }
            StanzaType::Presence(_) => self.presence_from_client(cell, session, stanza, turn, commits),
            StanzaType::Iq(iq_type) => {
                let for_server = stanza.to().is_none_or(|to| to.is_bare() && self.serves_address(to));
                match iq_type {
                    IqType::Get | IqType::Set if for_server => {
                        // An answer tells the client that what it sent before was accepted: so it waits for the commits.
                        turn.flush();
                        commits.settle().await;
                        // Boxed: a slow path must not be room in every connection's task.
                        for reply in Box::pin(self.answer(cell, Some(session), jid.as_jid(), &stanza, turn)).await {
                            turn.push(outbox, Delivery::of(&reply));
                        }
                        if cell.lock().doomed {
                            turn.flush();
                            cell.close_sessions(stonechat_stanza::StreamCondition::NotAuthorized);
                        }
                    }
                    // RFC 6120 §8.2.3: a result or error that nobody asked for ends here.
                    IqType::Result | IqType::Error if for_server => {}
                    _ => self.route(stanza, turn, commits),
                }
            }
        }
    }

    /// Takes a stanza from another server. `from` and `to` were verified: the sender's domain was proved on the stream, the
    /// recipient's is ours.
    pub async fn accept_remote(&self, stanza: Stanza, turn: &mut Turn, commits: &mut Commits) {
        let asks_server = matches!(stanza.stanza_type(), StanzaType::Iq(IqType::Get | IqType::Set))
            && stanza.to().is_some_and(|to| to.is_bare());
        if asks_server {
            let (Some(from), Some(to)) = (stanza.from().cloned(), stanza.to().cloned()) else { return };
            let cell = self.cell(&to.to_bare());
            for reply in Box::pin(self.answer(&cell, None, &from, &stanza, turn)).await {
                self.route(reply, turn, commits);
            }
        } else {
            self.route(stanza, turn, commits);
        }
        if !commits.is_empty() {
            turn.flush();
            commits.make_room().await;
        }
    }

    /// Tells the sender of a stanza that it could not be delivered. Nothing happens for stanzas that are never answered.
    pub fn accept_bounce(&self, original: &Stanza, error: &StanzaError) {
        if let Some(reply) = original.error_reply(error) {
            self.route(reply, &mut Turn::new(), &mut Commits::new());
        }
    }

    /// Routes a stanza that originates here or whose sender was verified, and everything that follows from it.
    pub fn route(&self, stanza: Stanza, turn: &mut Turn, commits: &mut Commits) {
        let mut effects = self.route_one(stanza, turn, commits);
        if effects.route.is_empty() {
            return;
        }
        let mut queue: VecDeque<Stanza> = effects.route.drain(..).collect();
        while let Some(next) = queue.pop_front() {
            queue.extend(self.route_one(next, turn, commits).route);
        }
    }

    fn route_one(&self, stanza: Stanza, turn: &mut Turn, commits: &mut Commits) -> Effects {
        let mut effects = Effects::default();
        let Some(to) = stanza.to() else {
            warn!(event = "route.no_recipient", "a stanza without a recipient reached the router");
            return effects;
        };
        if !self.serves_address(to) {
            let remote = to.to_domain();
            if let Some(from) = stanza.from().filter(|from| self.serves_address(from)) {
                let local = from.to_domain();
                self.inner.remote.send(self, local, remote, Outward::unkept(stanza));
            } else {
                // Never relayed between two other servers.
                debug!(event = "route.not_relayed", "a stanza between two remote domains was dropped");
            }
            return effects;
        }
        if to.local().is_none() {
            self.to_domain(&stanza, &mut effects);
            return effects;
        }
        let cell = self.cell(&to.to_bare());
        self.to_account(&cell, stanza, turn, commits, &mut effects);
        effects
    }

    /// A stanza for a served domain itself that is not an IQ for a handler.
    fn to_domain(&self, stanza: &Stanza, effects: &mut Effects) {
        match stanza.kind() {
            // Presence to a server means nothing here (abuse case 82: nor does a subscription to it).
            Kind::Presence => {}
            Kind::Iq if !stanza.stanza_type().is_answerable() => self.take_answer(stanza),
            Kind::Message | Kind::Iq => effects.bounce(stanza, &StanzaCondition::ServiceUnavailable.into()),
        }
    }

    fn to_account(
        &self,
        cell: &Arc<Cell>,
        stanza: Stanza,
        turn: &mut Turn,
        commits: &mut Commits,
        effects: &mut Effects,
    ) {
        let mut state = cell.lock();
        let stanza = match state.wait(stanza) {
            Ok(done) => {
                commits.add(done);
                return;
            }
            Err(refused) => match *refused {
                (stanza, Overfull::No) => stanza,
                (stanza, Overfull::Yes) => {
                    effects.bounce(&stanza, &StanzaCondition::ResourceConstraint.into());
                    return;
                }
            },
        };
        self.process(cell, &mut state, stanza, turn, commits, effects);
    }

    /// One step of a loaded account.
    fn process(
        &self,
        cell: &Arc<Cell>,
        state: &mut State,
        stanza: Stanza,
        turn: &mut Turn,
        commits: &mut Commits,
        effects: &mut Effects,
    ) {
        if matches!(state.load, Load::Failed) {
            effects.bounce(&stanza, &StanzaCondition::ResourceConstraint.into());
            return;
        }
        state.touch(self.inner.clock.monotonic());
        match stanza.stanza_type() {
            StanzaType::Message(_) => {
                if let Some((id, kept)) = deliver_message(state, stanza, turn, effects) {
                    self.keep_offline(id, kept, commits);
                }
            }
            StanzaType::Presence(presence_type) => {
                let inbound = InboundPresence { router: self, cell, presence_type, stanza };
                inbound.accept(state, turn, commits, effects);
            }
            StanzaType::Iq(iq_type) => deliver_iq(state, iq_type, &stanza, turn, effects),
        }
    }

    /// Queues a message for the offline store. The write is queued before this returns, so the order of messages is the
    /// order of calls; the sender hears of a failure once it is known.
    fn keep_offline(&self, id: AccountId, stanza: Stanza, commits: &mut Commits) {
        let limits = self.inner.settings.load().offline;
        let at = u64::try_from(self.inner.clock.unix().as_millis()).unwrap_or(u64::MAX);
        let written = self.inner.store.append_offline(id, at, stanza.to_xml(), limits.messages, limits.bytes);
        let (sender, receiver) = oneshot::channel();
        let router = self.clone();
        tokio::spawn(async move {
            match written.await {
                Ok(OfflineStored::Stored(_)) => {}
                // XEP-0160 §2: a full store is service-unavailable.
                Ok(OfflineStored::Full) => {
                    let error = StanzaError::new(StanzaCondition::ServiceUnavailable)
                        .with_text("no more messages are kept for the recipient");
                    router.accept_bounce(&stanza, &error);
                }
                Err(source) => {
                    error!(event = "offline.write_failed", %source, "a message could not be kept");
                    let error = StanzaError::new(StanzaCondition::ResourceConstraint)
                        .with_text("the message could not be kept; try again later");
                    router.accept_bounce(&stanza, &error);
                }
            }
            let _ = sender.send(());
        });
        commits.add(receiver);
    }
}

fn session_states(sessions: &[Session]) -> SmallVec<[SessionState; 4]> {
    sessions
        .iter()
        .map(|session| SessionState {
            priority: session.presence.as_ref().map(|_| session.priority),
            carbons: Carbons::Disabled,
            counting: Counting::No,
        })
        .collect()
}

fn address_of(sessions: &[Session], stanza: &Stanza) -> Address {
    match stanza.to() {
        Some(to) if !to.is_bare() => {
            sessions.iter().position(|session| session.jid.as_jid() == to).map_or(Address::NoSession, Address::Session)
        }
        _ => Address::Bare,
    }
}

/// Does what the plan says. Returns the message when it is to be kept, and for whom.
fn deliver_message(
    state: &mut State,
    stanza: Stanza,
    turn: &mut Turn,
    effects: &mut Effects,
) -> Option<(AccountId, Stanza)> {
    let kind = message_type(&stanza);
    let classification = Classification::of(&stanza);
    let mut states = session_states(&state.sessions);
    let mut address = address_of(&state.sessions, &stanza);
    let id = state.loaded().map(|loaded| loaded.id);
    // A session whose connection turns out to have ended, or that reads too slowly, is planned without.
    for _ in 0..=states.len() {
        let recipient = match id {
            Some(_) => Recipient::Account { sessions: &states, address, archiving: Archiving::Off },
            None => Recipient::Absent,
        };
        let decision: DeliveryPlan = plan(kind, classification, recipient);
        let mut delivered = 0usize;
        for &index in &decision.deliver {
            let Some(session) = state.sessions.get_mut(index) else { continue };
            match session.push(&stanza, stanza.from(), stanza.to(), turn) {
                Pushed::First | Pushed::Queued => delivered = delivered.saturating_add(1),
                Pushed::Overflow | Pushed::Closed => {
                    if let Some(gone) = states.get_mut(index) {
                        gone.priority = None;
                    }
                    if address == Address::Session(index) {
                        address = Address::NoSession;
                    }
                }
            }
        }
        if delivered == 0 && !decision.deliver.is_empty() {
            continue;
        }
        if let Some(condition) = decision.bounce {
            effects.bounce(&stanza, &condition.into());
        }
        return match (decision.kept, id) {
            (Kept::Offline, Some(id)) => Some((id, stanza)),
            _ => None,
        };
    }
    None
}

/// Does what the plan of an IQ says. IQ requests to the account itself have been answered before.
fn deliver_iq(state: &mut State, iq_type: IqType, stanza: &Stanza, turn: &mut Turn, effects: &mut Effects) {
    let unavailable = StanzaError::new(StanzaCondition::ServiceUnavailable);
    match planned(state, stanza, |recipient| plan_iq(iq_type, IqOrigin::of(stanza), recipient)) {
        IqPlan::Deliver(index, _) => {
            let pushed = state
                .sessions
                .get_mut(index)
                .map_or(Pushed::Closed, |session| session.push(stanza, stanza.from(), stanza.to(), turn));
            match pushed {
                Pushed::First | Pushed::Queued => {}
                // `error_reply` leaves results and errors unanswered.
                Pushed::Overflow | Pushed::Closed => effects.bounce(stanza, &unavailable),
            }
        }
        IqPlan::Bounce(condition, _) => effects.bounce(stanza, &condition.into()),
        IqPlan::Act(_) => effects.bounce(stanza, &unavailable),
        IqPlan::Nothing(_) => {}
    }
}

/// Asks a plan about the stanza's recipient as it is now.
pub(crate) fn planned<T>(state: &State, stanza: &Stanza, ask: impl FnOnce(Recipient<'_>) -> T) -> T {
    match state.loaded() {
        Some(_) => ask(Recipient::Account {
            sessions: &session_states(&state.sessions),
            address: address_of(&state.sessions, stanza),
            archiving: Archiving::Off,
        }),
        None => ask(Recipient::Absent),
    }
}
