//! Messages, in two steps: the recipient's half in the recipient's account, the sender's half in the sender's.
//!
//! Each step asks the delivery plan, queues what the account keeps as one write, and gives the sessions what they get. What
//! is kept is shown to nobody before it is committed (P1); what is not kept is shown at once, behind what waits.
//!
//! The recipient's half is queued first. So when the server dies between the two, the message is there and was not
//! acknowledged: its sender sends it again, and it is recognised (XEP-0359 §4, cross-feature rule 1). Had the sender's half
//! been first, its count (XEP-0198) would have vouched for a message that nobody has.

use crate::account::{Cell, History, State};
use crate::archive::{mark, stanza_id};
use crate::carbons::Copies;
use crate::committer::{Job, WhenFailed, WhenFull};
use crate::effects::Effects;
use crate::outflow::{Facts, Shared, Spooled};
use crate::route::{address_of, session_states};
use crate::{Commits, Delivery, Durability, Outward, Pushed, Record, Router, SessionId, Turn};
use smallvec::SmallVec;
use std::sync::Arc;
use stonechat_im::classify::{Classification, Room, message_type};
use stonechat_im::plan::{
    Address, Archive, Archiving, Carbons, DeliveryPlan, Kept, Recipient, SentPlan, SessionState, Wake, plan, plan_own,
    plan_sent,
};
use stonechat_jid::Jid;
use stonechat_stanza::{Keep, MessageType, Stanza, StanzaCondition, StanzaError, StanzaType, ns};
use stonechat_store::{AccountId, ArchiveRow, Half, Holder, Mark, Others, OutgoingRow, SmId, SpoolRow};
use stonechat_xml::Element;
use tokio::sync::oneshot;

/// A stanza that comes to an account.
pub(crate) struct Arrival {
    pub(crate) stanza: Stanza,
    pub(crate) counted: Counted,
}

/// Whether the sender of a message waits for an acknowledgement, and will send it again without one (XEP-0198).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Counted {
    Yes,
    #[default]
    No,
}

/// Where a message goes, seen from its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To the sender's own account: a note to oneself, which is received, and that is all its archive and its other devices
    /// need.
    Home,
    /// To somebody or something else here.
    Here,
    /// To another domain.
    Abroad,
}

/// A message from a bound session.
pub(crate) struct Sent<'a> {
    pub(crate) cell: &'a Arc<Cell>,
    pub(crate) session: SessionId,
    /// The stream's number of this stanza, when it counts and may be resumed.
    pub(crate) number: Option<(SmId, u32)>,
    pub(crate) stanza: Stanza,
}

impl Router {
    pub(crate) fn message_from_client(&self, sent: Sent<'_>, turn: &mut Turn, commits: &mut Commits) {
        let Sent { cell, session, number, mut stanza } = sent;
        // RFC 6120 §10.3.1: without a recipient it is for the account itself.
        let to = match stanza.to() {
            Some(to) => to.clone(),
            None => Jid::from(cell.jid.clone()),
        };
        stanza.head_mut().to = Some(to.clone());
        let mut effects = Effects::default();
        let blocked = cell.lock().loaded().is_some_and(|loaded| loaded.blocks(&to));
        if blocked {
            return refuse(cell, session, &stanza, &blocked_by_oneself(), turn);
        }
        let counted = if number.is_some() { Counted::Yes } else { Counted::No };
        let way = match self.serves_address(&to) {
            false => Way::Abroad,
            true if to.to_bare() == cell.jid => Way::Home,
            true => Way::Here,
        };
        match (way, to.local()) {
            (Way::Abroad, _) => {}
            (_, None) => self.to_domain(&stanza, &mut effects),
            (_, Some(_)) => {
                let recipient = self.cell(&to.to_bare());
                let arrival = Arrival { stanza: stanza.clone(), counted };
                self.to_account(&recipient, arrival, turn, commits, &mut effects);
            }
        }
        self.keep_sent(Sent { cell, session, number, stanza }, &to, way, turn, commits);
        self.follow(effects, turn, commits);
    }

    /// The sender's half, and the way out to another domain.
    fn keep_sent(&self, sent: Sent<'_>, to: &Jid, way: Way, turn: &mut Turn, commits: &mut Commits) {
        let Sent { cell, session, number, stanza } = sent;
        let kind = message_type(&stanza);
        let settings = self.inner.settings.load();
        let now = self.millis();
        let mark = mark(&stanza);
        let mut guard = cell.lock();
        let state = &mut *guard;
        let states = session_states(&state.sessions);
        let sender = state.sessions.iter().position(|other| other.id == session);
        let Some(loaded) = state.loaded_mut() else { return };
        let id = loaded.id;
        let classification = loaded.classify(&stanza);
        let repeated = way != Way::Home && loaded.has_seen(mark);
        let fresh = way != Way::Home && !repeated;
        let sent = if fresh {
            plan_sent(kind, classification, &states, sender, loaded.archiving(&settings, to))
        } else {
            SentPlan { carbons: SmallVec::new(), archive: Archive::Skipped }
        };
        let mut half = Half { at: now, ..Half::default() };
        let mut shown = stanza.clone();
        let mut archived = None;
        if sent.archive == Archive::Stored {
            let row = loaded.next_archive_id(now, self.random_u32());
            archived = Some(row);
            half.archive = Some(ArchiveRow { id: row, with: to.clone(), stanza: stanza.to_xml(), mark });
            shown = shown.with_appended(stanza_id(&cell.jid, row));
        } else if number.is_some() && fresh {
            half.mark = recognised(mark);
        }
        if fresh {
            loaded.remember(mark);
            if classification.is_copied(kind) {
                loaded.remember_eligible(&stanza, mark);
            }
        }
        // Promised to a sender that counts or has an archive; else it is as safe as the connection that it came by.
        let kept_outside =
            way == Way::Abroad && fresh && classification.is_kept(kind) && (number.is_some() || half.archive.is_some());
        if kept_outside {
            half.outgoing = Some(OutgoingRow { at: now, remote: to.to_domain(), stanza: stanza.to_xml() });
        }
        // A count may lag behind, never run ahead: see the module.
        if let Some((session, number)) = number {
            let safe = if commits.waits_unqueued() { commits.settled_before() } else { Some(number) };
            half.counted = safe.map(|safe| (session, safe));
        }
        // What is worth keeping for its recipient is worth being counted: else it would be sent again after a crash.
        let counts = half.counted.is_some() && classification.is_kept(kind);
        let mut carbons = sent.carbons;
        let copies = Copies { of: &shown, direction: "sent", own: &cell.jid, at: now, archived };
        if classification.is_kept(kind) {
            copies.keep(state, &mut carbons, &mut half);
        }
        let worth = half.archive.is_some()
            || half.mark.is_some()
            || half.outgoing.is_some()
            || !half.spool.is_empty()
            || counts;
        let gate = match settings.durability {
            Durability::Full if worth => Some(state.next_ticket()),
            _ => None,
        };
        copies.give(state, &carbons, gate, turn, |_| {});
        let mut record = Record::Unkept;
        if worth {
            let (outgoing, awaited) = oneshot::channel();
            let outgoing = if kept_outside {
                record = Record::Pending(awaited);
                Some(outgoing)
            } else {
                None
            };
            let (done, waiting) = oneshot::channel();
            let limits = (settings.offline.messages, settings.offline.bytes);
            let written = self.inner.store.record(id, half, limits);
            let job = Job {
                cell: Arc::clone(cell),
                written,
                ticket: gate,
                stanza: stanza.clone(),
                when_full: WhenFull::Ignore,
                when_failed: if kept_outside { WhenFailed::Bounce } else { WhenFailed::Ignore },
                outgoing,
                wake: Wake::No,
                done,
            };
            self.inner.committer.take(self, job);
            match settings.durability {
                Durability::Full => commits.add(waiting),
                Durability::Relaxed => commits.add_behind(waiting),
            }
        }
        let retraction = stonechat_im::reference::retraction(&stanza);
        drop(guard);
        if let (Some(target), Archive::Stored) = (&retraction, sent.archive) {
            self.bury(cell, id, &stanza, to, target.id());
        }
        if way == Way::Abroad && fresh {
            let from = stanza.from().map(Jid::to_domain);
            if let Some(from) = from {
                self.inner.remote.send(self, from, to.to_domain(), Outward { stanza, record });
            }
        }
    }

    /// The recipient's half: one step of a loaded account.
    pub(crate) fn deliver_message(
        &self,
        cell: &Arc<Cell>,
        state: &mut State,
        arrival: Arrival,
        turn: &mut Turn,
        commits: &mut Commits,
        effects: &mut Effects,
    ) {
        let Arrival { stanza, counted } = arrival;
        let kind = message_type(&stanza);
        let settings = self.inner.settings.load();
        let mark = mark(&stanza);
        let (states, address) = living(state, &stanza);
        let Some(loaded) = state.loaded() else {
            let absent = plan(kind, Classification::of(&stanza), Recipient::Absent);
            if let Some(condition) = absent.bounce {
                effects.bounce(&stanza, &condition.into());
            }
            return;
        };
        let id = loaded.id;
        let classification = loaded.classify(&stanza);
        if let Some(from) = stanza.from() {
            if loaded.blocks(from) {
                // XEP-0191 §3.2: as if nobody were there; nothing of it is seen or kept.
                return effects.bounce(&stanza, &StanzaCondition::ServiceUnavailable.into());
            }
            if loaded.has_seen(mark) {
                return;
            }
        }
        let archiving = match stanza.from() {
            Some(from) => loaded.archiving(&settings, from),
            None => Archiving::Off,
        };
        let own = stanza.from().is_some_and(|from| from.to_bare() == cell.jid);
        let decision = if own {
            let sender = state.sessions.iter().position(|session| Some(session.jid.as_jid()) == stanza.from());
            plan_own(kind, classification, &states, address, sender, archiving)
        } else {
            plan(kind, classification, Recipient::Account { sessions: &states, address, archiving })
        };
        if let Some(condition) = decision.bounce {
            effects.bounce(&stanza, &condition.into());
        } else if classification.is_copied(kind)
            && classification.room == Room::No
            && let Some(loaded) = state.loaded_mut()
        {
            loaded.remember_eligible(&stanza, mark);
        }
        self.carry_out(
            Step { cell, id, kind, classification, stanza, mark, decision, counted },
            state,
            turn,
            commits,
            effects,
        );
    }

    fn carry_out(
        &self,
        step: Step<'_>,
        state: &mut State,
        turn: &mut Turn,
        commits: &mut Commits,
        effects: &mut Effects,
    ) {
        let Step { cell, id, kind, classification, stanza, mark, decision, counted } = step;
        let DeliveryPlan { deliver, mut carbons, archive, wake, kept, .. } = decision;
        if deliver.is_empty() && carbons.is_empty() && archive == Archive::Skipped && kept == Kept::Nowhere {
            return;
        }
        let settings = self.inner.settings.load();
        let now = self.millis();
        let mut half = Half { at: now, ..Half::default() };
        let mut shown = stanza.clone();
        if shown.has_child("private", ns::CARBONS) {
            // XEP-0280 §9: it is meant for the server, and has done its work.
            shown = shown.without_children(
                |_, child| {
                    if child.is("private", ns::CARBONS) { Keep::Removed } else { Keep::Kept }
                },
            );
        }
        if archive == Archive::Stored
            && let (Some(from), Some(loaded)) = (stanza.from(), state.loaded_mut())
        {
            let row = loaded.next_archive_id(now, self.random_u32());
            half.archive = Some(ArchiveRow { id: row, with: from.clone(), stanza: stanza.to_xml(), mark });
            shown = shown.with_appended(stanza_id(&cell.jid, row));
        }
        let archived = half.archive.as_ref().map(|row| row.id);
        // To whom it goes now, and in which of their queues it is kept.
        let shared = if deliver.len().saturating_add(carbons.len()) > 1 { Shared::WithOthers } else { Shared::Alone };
        let mut now_for: SmallVec<[(usize, Spooled); 4]> = SmallVec::new();
        for &index in &deliver {
            let Some(session) = state.sessions.get_mut(index) else { continue };
            let place = match (kept, session.out.link(), session.history) {
                (Kept::UntilAcknowledged, ..) | (Kept::WhileWaiting, None, History::Sent) => session.out.next_place(),
                _ => None,
            };
            if let Some((id, place)) = place {
                let others = if shared == Shared::WithOthers { Others::Served } else { Others::None };
                let holder = Holder::Session { id, place, others };
                half.spool.push(SpoolRow { at: now, stanza: shown.to_xml(), archive: archived, holder });
            }
            now_for.push((index, place.map_or(Spooled::No, |(_, place)| Spooled::from(place))));
        }
        let copies = Copies { of: &shown, direction: "received", own: &cell.jid, at: now, archived };
        let copied = !carbons.is_empty();
        if classification.is_kept(kind) {
            copies.keep(state, &mut carbons, &mut half);
        }
        if kept == Kept::Offline {
            half.spool.push(SpoolRow { at: now, stanza: shown.to_xml(), archive: archived, holder: Holder::Anybody });
            state.kept_lately = true;
        }
        let delivered = !now_for.is_empty() || copied;
        if half.archive.is_none() && (!half.spool.is_empty() || (counted == Counted::Yes && delivered)) {
            half.mark = recognised(mark);
        }
        if let Some(loaded) = state.loaded_mut() {
            loaded.remember(mark);
        }
        let worth = half.archive.is_some() || half.mark.is_some() || !half.spool.is_empty();
        let gate = match settings.durability {
            Durability::Full if worth => Some(state.next_ticket()),
            _ => None,
        };
        let facts = Facts { at: now, archived, spooled: Spooled::No, shared };
        let mut given = 0usize;
        for (index, spooled) in now_for {
            let Some(session) = state.sessions.get_mut(index) else { continue };
            let facts = Facts { spooled, ..facts };
            let delivery = Delivery { stanza: &shown, from: shown.from(), to: shown.to() };
            match session.out.place(gate, facts, delivery, turn) {
                Pushed::First | Pushed::Queued => given = given.saturating_add(1),
                Pushed::Overflow | Pushed::Closed => effects.end(cell, session.id),
            }
        }
        copies.give(state, &carbons, gate, turn, |session| effects.end(cell, session));
        let lost = given == 0 && !deliver.is_empty() && half.archive.is_none() && half.spool.is_empty();
        if lost && !matches!(kind, MessageType::Error | MessageType::Headline) {
            // The only connection turned out to be gone or full in this very moment.
            effects.bounce(&stanza, &StanzaCondition::RecipientUnavailable.into());
        }
        if !worth {
            if wake == Wake::Yes {
                effects.wake(cell);
            }
            return;
        }
        let when_full = if archived.is_some() || delivered { WhenFull::Ignore } else { WhenFull::Bounce };
        let (done, waiting) = oneshot::channel();
        let limits = (settings.offline.messages, settings.offline.bytes);
        let retraction = stonechat_im::reference::retraction(&stanza).filter(|_| archived.is_some());
        let written = self.inner.store.record(id, half, limits);
        if let (Some(target), Some(from)) = (retraction, stanza.from().cloned()) {
            self.bury(cell, id, &stanza, &from, target.id());
        }
        let job = Job {
            cell: Arc::clone(cell),
            written,
            ticket: gate,
            stanza,
            when_full,
            // Whoever was shown it has it, whatever becomes of the write.
            when_failed: if gate.is_none() && delivered { WhenFailed::Ignore } else { WhenFailed::Bounce },
            outgoing: None,
            wake,
            done,
        };
        self.inner.committer.take(self, job);
        match settings.durability {
            Durability::Full => commits.add(waiting),
            Durability::Relaxed => commits.add_behind(waiting),
        }
    }

    /// XEP-0424 §5: what its sender retracts leaves a tombstone in the archive, under the same id.
    fn bury(&self, cell: &Cell, id: AccountId, retraction: &Stanza, with: &Jid, target: &str) {
        let (Some(from), Some(to)) = (retraction.from(), retraction.to()) else { return };
        let Some(reference) = crate::archive::retracted(retraction, target) else { return };
        let mut retracted =
            Element::new("retracted", ns::MESSAGE_RETRACT).with_attribute("stamp", crate::time::utc(self.millis()));
        if let Some(id) = retraction.id() {
            retracted = retracted.with_attribute("id", &**id);
        }
        let mut tombstone = Stanza::build(StanzaType::Message(MessageType::Chat), [retracted]);
        tombstone.head_mut().from = Some(from.to_bare().into());
        tombstone.head_mut().to = Some(to.to_bare().into());
        tombstone.head_mut().id = Some(target.into());
        let written = self.inner.store.replace_archived(id, with.to_bare(), reference, tombstone.to_xml());
        let account = cell.jid.clone();
        tokio::spawn(async move {
            if let Err(source) = written.await {
                tracing::error!(event = "archive.retract_failed", %account, %source, "a retracted message stays in an archive");
            }
        });
    }
}

/// What is done with a message in its recipient's account.
struct Step<'a> {
    cell: &'a Arc<Cell>,
    id: AccountId,
    kind: MessageType,
    classification: Classification,
    stanza: Stanza,
    mark: Option<Mark>,
    decision: DeliveryPlan,
    counted: Counted,
}

/// The sessions as the plan is to see them: those whose connection has ended, and which nobody can resume, are not there.
fn living(state: &State, stanza: &Stanza) -> (SmallVec<[SessionState; 4]>, Address) {
    let mut states = session_states(&state.sessions);
    let mut address = address_of(&state.sessions, stanza);
    for (index, (session, seen)) in state.sessions.iter().zip(states.iter_mut()).enumerate() {
        if !session.out.is_alive() {
            seen.priority = None;
            seen.carbons = Carbons::Disabled;
            if address == Address::Session(index) {
                address = Address::NoSession;
            }
        }
    }
    (states, address)
}

/// A mark worth keeping by itself.
fn recognised(mark: Option<Mark>) -> Option<Mark> {
    mark.filter(|mark| mark.repeatable == stonechat_store::Repeatable::Recognised)
}

/// Tells a session that its stanza goes nowhere: not by way of the address that it was for.
pub(crate) fn refuse(cell: &Cell, session: SessionId, stanza: &Stanza, error: &StanzaError, turn: &mut Turn) {
    if let Some(reply) = stanza.error_reply(error)
        && let Some(session) = cell.lock().session(session)
    {
        session.push(&reply, reply.from(), reply.to(), turn);
    }
}

/// XEP-0191 §3.4
pub(crate) fn blocked_by_oneself() -> StanzaError {
    StanzaError::new(StanzaCondition::NotAcceptable)
        .with_application(Element::new("blocked", ns::BLOCKING_ERRORS))
        .with_text("you have blocked this address")
}
