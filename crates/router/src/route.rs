//! The pipeline: from an accepted stanza to everything that follows from it.
//!
//! One stanza may cause others (answers, probes, errors); they are worked off in order from a queue, never by recursion,
//! and an error is never answered, so the queue runs empty.

use crate::account::{Cell, History, Load, Loaded, Overfull, Session, State};
use crate::effects::Effects;
use crate::messages::{Arrival, Counted, Sent, blocked_by_oneself, refuse};
use crate::presence::InboundPresence;
use crate::{Commits, Outward, Pushed, Router, SessionId, Turn};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use stonechat_im::classify::IqOrigin;
use stonechat_im::plan::{Address, Archiving, Counting, IqPlan, Recipient, SessionState, plan_iq};
use stonechat_jid::{BareJid, FullJid, Jid};
use stonechat_stanza::{IqType, Kind, Stanza, StanzaCondition, StanzaError, StanzaType};
use stonechat_store::{SavedSession, SmId};
use tracing::{debug, error, warn};

impl Router {
    /// Loads an account that was just put into the table, and then works off what waited for it.
    pub(crate) fn load(&self, cell: &Arc<Cell>) {
        let (router, cell) = (self.clone(), Arc::clone(cell));
        tokio::spawn(async move {
            let mut saved = Vec::new();
            let load = match router.read_account(&cell.jid).await {
                Ok(Some((loaded, sessions))) => {
                    saved = sessions;
                    Load::Present(Box::new(loaded))
                }
                Ok(None) => Load::Absent,
                Err(source) => {
                    error!(event = "account.load_failed", account = %cell.jid, %source, "an account could not be loaded");
                    router.inner.shards.forget(&cell.jid);
                    Load::Failed
                }
            };
            let mut turn = Turn::new();
            let mut effects = Effects::default();
            // Before anything is delivered: they are sessions like others.
            router.restore(&cell, saved);
            {
                // Under one lock, so that nothing that arrives now overtakes what waited (P3).
                let mut state = cell.lock();
                for entry in state.finish_loading(load, router.inner.clock.monotonic()) {
                    let mut commits = Commits::new();
                    router.process(&cell, &mut state, entry.arrival, &mut turn, &mut commits, &mut effects);
                    tokio::spawn(async move {
                        commits.settle().await;
                        // Nobody waits when the stream has ended meanwhile.
                        let _ = entry.done.send(());
                    });
                }
            }
            cell.announce_moved();
            router.follow(effects, &mut turn, &mut Commits::new());
        });
    }

    async fn read_account(&self, jid: &BareJid) -> Result<Option<(Loaded, Vec<SavedSession>)>, stonechat_store::Error> {
        let store = &self.inner.store;
        let Some(resident) = store.resident(jid, crate::archive::RECENT_LOADED).await? else { return Ok(None) };
        let sessions = match self.has_saved_sessions(jid) {
            crate::resumption::Saves::Some => store.take_sessions(resident.id).await?,
            crate::resumption::Saves::None => Vec::new(),
        };
        self.release_later(jid, resident.id, resident.holders.clone(), &sessions);
        let loaded = Loaded::new(resident);
        Ok(Some((loaded, sessions)))
    }

    /// The cell of an account that exists, once it is loaded.
    pub(crate) async fn loaded(&self, jid: &BareJid) -> Option<Arc<Cell>> {
        let cell = self.cell(jid);
        cell.wait_loaded().await;
        let present = cell.lock().loaded().is_some();
        present.then_some(cell)
    }

    /// Takes a stanza from a bound session.
    pub(crate) async fn accept_from_client(
        &self,
        from: From<'_>,
        stanza: Stanza,
        turn: &mut Turn,
        commits: &mut Commits,
    ) {
        let From { cell, session, jid, number } = from;
        match stanza.stanza_type() {
            StanzaType::Message(_) => {
                self.message_from_client(Sent { cell, session, number, stanza }, turn, commits);
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
                        let replies = Box::pin(self.answer(cell, Some(session), jid.as_jid(), &stanza, turn)).await;
                        let mut state = cell.lock();
                        for reply in replies {
                            if let Some(session) = state.session(session) {
                                session.push(&reply, reply.from(), reply.to(), turn);
                            }
                        }
                        let doomed = state.doomed;
                        drop(state);
                        if doomed {
                            turn.flush();
                            cell.close_sessions(stonechat_stanza::StreamCondition::NotAuthorized);
                        }
                    }
                    // RFC 6120 §8.2.3: a result or error that nobody asked for ends here.
                    IqType::Result | IqType::Error if for_server => self.take_answer(&stanza),
                    _ => {
                        let to = stanza.to().cloned();
                        let blocked =
                            to.is_some_and(|to| cell.lock().loaded().is_some_and(|loaded| loaded.blocks(&to)));
                        if blocked {
                            refuse(cell, session, &stanza, &blocked_by_oneself(), turn);
                        } else {
                            self.route(stanza, turn, commits);
                        }
                    }
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
        while commits.is_behind() {
            turn.flush();
            commits.catch_up().await;
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
        let effects = self.route_one(stanza, turn, commits);
        self.follow(effects, turn, commits);
    }

    /// Does what steps left to be done elsewhere, and what follows from that.
    pub(crate) fn follow(&self, effects: Effects, turn: &mut Turn, commits: &mut Commits) {
        let mut queue: VecDeque<Effects> = VecDeque::new();
        let mut next = Some(effects);
        while let Some(effects) = next {
            for stanza in effects.route {
                queue.push_back(self.route_one(stanza, turn, commits));
            }
            for cell in effects.wake {
                self.wake_devices(&cell);
            }
            for (cell, session) in effects.end {
                self.expire(&cell, session);
            }
            next = queue.pop_front();
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
        let arrival = Arrival { stanza, counted: Counted::No };
        self.to_account(&cell, arrival, turn, commits, &mut effects);
        effects
    }

    /// A stanza for a served domain itself that is not an IQ for a handler.
    pub(crate) fn to_domain(&self, stanza: &Stanza, effects: &mut Effects) {
        match stanza.kind() {
            // Presence to a server means nothing here (abuse case 82: nor does a subscription to it).
            Kind::Presence => {}
            Kind::Iq if !stanza.stanza_type().is_answerable() => self.take_answer(stanza),
            Kind::Message | Kind::Iq => effects.bounce(stanza, &StanzaCondition::ServiceUnavailable.into()),
        }
    }

    pub(crate) fn to_account(
        &self,
        cell: &Arc<Cell>,
        arrival: Arrival,
        turn: &mut Turn,
        commits: &mut Commits,
        effects: &mut Effects,
    ) {
        let mut state = cell.lock();
        let arrival = match state.wait(arrival) {
            Ok(done) => {
                commits.add_unqueued(done);
                return;
            }
            Err(refused) => match *refused {
                (arrival, Overfull::No) => arrival,
                (arrival, Overfull::Yes) => {
                    effects.bounce(&arrival.stanza, &StanzaCondition::ResourceConstraint.into());
                    return;
                }
            },
        };
        self.process(cell, &mut state, arrival, turn, commits, effects);
    }

    /// One step of a loaded account.
    fn process(
        &self,
        cell: &Arc<Cell>,
        state: &mut State,
        arrival: Arrival,
        turn: &mut Turn,
        commits: &mut Commits,
        effects: &mut Effects,
    ) {
        if matches!(state.load, Load::Failed) {
            effects.bounce(&arrival.stanza, &StanzaCondition::ResourceConstraint.into());
            return;
        }
        let stanza = &arrival.stanza;
        state.touch(self.inner.clock.monotonic());
        match stanza.stanza_type() {
            StanzaType::Message(_) => self.deliver_message(cell, state, arrival, turn, commits, effects),
            // XEP-0191 §3.2: presence of whom the account blocks is not seen, and an IQ finds nobody.
            StanzaType::Presence(_) if is_blocked(state, stanza) => {}
            StanzaType::Iq(_) if is_blocked(state, stanza) => {
                effects.bounce(stanza, &StanzaCondition::ServiceUnavailable.into());
            }
            StanzaType::Presence(presence_type) => {
                let inbound = InboundPresence { router: self, cell, presence_type, stanza: arrival.stanza };
                inbound.accept(state, turn, commits, effects);
            }
            // It may answer a request that was made for the account (a notification's, XEP-0357 §6).
            StanzaType::Iq(IqType::Result | IqType::Error) if stanza.to().is_some_and(Jid::is_bare) => {
                self.take_answer(stanza);
            }
            StanzaType::Iq(iq_type) => deliver_iq(state, iq_type, stanza, turn, effects),
        }
    }
}

/// Whom a stanza comes from, among the bound sessions.
pub(crate) struct From<'a> {
    pub(crate) cell: &'a Arc<Cell>,
    pub(crate) session: SessionId,
    pub(crate) jid: &'a FullJid,
    /// The stream's number of this stanza, when it counts and may be resumed (XEP-0198).
    pub(crate) number: Option<(SmId, u32)>,
}

fn is_blocked(state: &State, stanza: &Stanza) -> bool {
    state.loaded().zip(stanza.from()).is_some_and(|(loaded, from)| loaded.blocks(from))
}

pub(crate) fn session_states(sessions: &[Session]) -> SmallVec<[SessionState; 4]> {
    sessions
        .iter()
        .map(|session| SessionState {
            priority: session.presence.as_ref().map(|_| session.priority),
            carbons: session.carbons,
            counting: match (session.out.resumable(), session.out.link(), session.history) {
                (None, ..) => Counting::No,
                (Some(_), None, History::Sent) => Counting::Waiting,
                (Some(_), ..) => Counting::Resumable,
            },
        })
        .collect()
}

pub(crate) fn address_of(sessions: &[Session], stanza: &Stanza) -> Address {
    match stanza.to() {
        Some(to) if !to.is_bare() => {
            sessions.iter().position(|session| session.jid.as_jid() == to).map_or(Address::NoSession, Address::Session)
        }
        _ => Address::Bare,
    }
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
