//! One session's ordered way out.
//!
//! Whatever a bound client is sent goes through here, in one order: what waits for its commit (DESIGN.md §3, 4.), what can
//! wait while nobody looks (XEP-0352), and what was sent and is not acknowledged (XEP-0198). The way out belongs to the
//! session, not to its connection: it outlives a connection that is lost, and another one takes it over.
//!
//! The number of a stanza in its stream is known when it enters, because everything that can be held back or replaced is
//! held back before it gets a place in the line.
//!
//! Bounds (P4): the line and the unacknowledged stanzas have one bound in bytes and one in number, and less when the whole
//! server is short of memory ([`crate::memory`]); what waits for attention is let out when it grows. A session that passes
//! them is ended, and the delivery plan says what becomes of the rest.

use crate::{Delivery, Holding, Memory, Outbox, Pushed, Room, Turn};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use stonechat_im::classify::{Classification, message_type};
use stonechat_im::plan::{Archive, Kept, plan_waiting};
use stonechat_im::urgency::{Urgency, urgency};
use stonechat_jid::Jid;
use stonechat_stanza::{Kind, Stanza, StreamError};
use stonechat_store::{ArchiveId, Place, SmId};

/// Stanzas in the line and unacknowledged, together.
const MAX_STANZAS: usize = 20_000;
/// Bytes of them.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Stanzas that wait for attention.
const MAX_IDLE: usize = 512;
/// Bytes of them.
const MAX_IDLE_BYTES: usize = 256 * 1024;

/// Milliseconds after which a message that is not acknowledged casts doubt on the connection.
pub(crate) const DOUBT: u64 = 30_000;

/// Names a commit that entries of an account's sessions wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) u64);

/// Whether the store keeps a message for this very session until it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spooled {
    /// It does, under the number that the stanza has in the stream.
    Yes,
    /// It does, under this number until the stanza has one.
    Behind(u64),
    No,
}

impl From<Place> for Spooled {
    fn from(place: Place) -> Spooled {
        match place {
            Place::Behind(own) => Spooled::Behind(own),
            Place::Sent(_) | Place::Inherited => Spooled::Yes,
        }
    }
}

/// Whether other sessions of the account were given a message too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shared {
    WithOthers,
    Alone,
    /// It is a copy (XEP-0280) of what others were given.
    Copied,
}

/// What is remembered of a stanza beside itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// When it was accepted: milliseconds since the Unix epoch; 0 where nothing depends on it.
    pub(crate) at: u64,
    /// Its row in the account's archive, when it is there.
    pub(crate) archived: Option<ArchiveId>,
    pub(crate) spooled: Spooled,
    pub(crate) shared: Shared,
}

impl Facts {
    pub(crate) const PLAIN: Facts = Facts { at: 0, archived: None, spooled: Spooled::No, shared: Shared::Alone };
}

/// A stanza, addressed for this session.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) stanza: Stanza,
    pub(crate) facts: Facts,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all entries are stanzas; a box would cost each of them an allocation"
)]
enum Entry {
    /// A stanza; with a ticket while its commit is awaited.
    Stanza(Option<Ticket>, Item),
    /// The messages that were kept while the account was away stand here, until they are delivered.
    Drain,
    /// They were; what stands behind waits until the store knows its numbers.
    Numbering(Ticket),
}

/// XEP-0198, in the direction to the client.
pub(crate) struct Counting {
    /// Under which it may be resumed; `None` when it may not.
    pub(crate) id: Option<SmId>,
    /// Under which the store holds what the client has not acknowledged, even when it may not be resumed any more.
    holder: Option<SmId>,
    /// Stanzas sent since counting began.
    sent: u64,
    /// Messages that were ever put behind kept ones.
    behind: u64,
    unacknowledged: VecDeque<Item>,
    requested: Requested,
}

impl Counting {
    fn new(id: Option<SmId>) -> Counting {
        Counting { id, holder: id, sent: 0, behind: 0, unacknowledged: VecDeque::new(), requested: Requested::No }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Requested {
    Yes,
    No,
}

/// What an acknowledgement brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// Nothing that is kept elsewhere.
    Noted,
    /// Messages with numbers up to this one need not be kept for the session any more.
    Spooled(SmId, u64),
    /// More than was sent: so many were.
    TooMuch(u32),
    /// The session does not count.
    NotCounting,
}

/// See the module.
pub(crate) struct Outflow {
    /// `None` while the session waits to be resumed.
    link: Option<Arc<dyn Outbox>>,
    line: VecDeque<Entry>,
    /// How many entries of the line are no stanzas: the line may be long, and is not searched for them with each message.
    drains: u8,
    numberings: u8,
    idle: Vec<(Option<Ticket>, Item)>,
    idle_bytes: usize,
    /// Bytes of the line and of what is unacknowledged.
    held: Holding,
    attention: Attention,
    counting: Option<Box<Counting>>,
}

/// XEP-0352 §3
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// Somebody looks; every client begins so.
    Active,
    /// Nobody does.
    Inactive,
}

impl Outflow {
    pub(crate) fn new(link: Arc<dyn Outbox>, memory: &Arc<Memory>) -> Outflow {
        Outflow {
            link: Some(link),
            line: VecDeque::new(),
            drains: 0,
            numberings: 0,
            idle: Vec::new(),
            idle_bytes: 0,
            held: Holding::new(memory),
            attention: Attention::Active,
            counting: None,
        }
    }

    /// One that waits to be resumed, as it was saved.
    pub(crate) fn restored(
        id: SmId,
        sent: u64,
        unacknowledged: Vec<Item>,
        attention: Attention,
        memory: &Arc<Memory>,
    ) -> Outflow {
        let mut held = Holding::new(memory);
        held.holds(unacknowledged.iter().map(|item| item.stanza.size()).sum());
        let counting = Counting { sent, unacknowledged: unacknowledged.into(), ..Counting::new(Some(id)) };
        Outflow {
            link: None,
            line: VecDeque::new(),
            drains: 0,
            numberings: 0,
            idle: Vec::new(),
            idle_bytes: 0,
            held,
            attention,
            counting: Some(Box::new(counting)),
        }
    }

    pub(crate) fn link(&self) -> Option<&Arc<dyn Outbox>> {
        self.link.as_ref()
    }

    /// Whether something that is pushed now has a chance to arrive.
    pub(crate) fn is_alive(&self) -> bool {
        self.resumable().is_some() || self.link.as_ref().is_some_and(|link| link.is_open())
    }

    /// Whether nobody looks: the client said so, or it is not there.
    pub(crate) fn is_unattended(&self) -> bool {
        self.link.is_none() || self.attention == Attention::Inactive
    }

    /// Whether a message was sent so long before `now` (milliseconds) and is not acknowledged that the connection may be
    /// dead, though nothing has said so yet.
    pub(crate) fn is_doubtful(&self, now: u64) -> bool {
        let oldest = self.counting.iter().flat_map(|counting| &counting.unacknowledged).find(|item| item.facts.at != 0);
        oldest.is_some_and(|item| now.saturating_sub(item.facts.at) >= DOUBT)
    }

    pub(crate) fn attention(&self) -> Attention {
        self.attention
    }

    /// The id under which the session may be resumed.
    pub(crate) fn resumable(&self) -> Option<SmId> {
        self.counting.as_ref().and_then(|counting| counting.id)
    }

    /// Stanzas sent and acknowledged, since counting began.
    pub(crate) fn sent(&self) -> u64 {
        self.counting.as_ref().map_or(0, |counting| counting.sent)
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.queued_bytes()).saturating_add(self.held.bytes())
    }

    pub(crate) fn close(&self, error: Option<StreamError>) {
        if let Some(link) = &self.link {
            link.close(error);
        }
    }

    /// The connection ends at once, and the session with it.
    pub(crate) fn cut(&mut self) {
        self.forbid_resumption();
        if let Some(link) = &self.link {
            link.cut();
        }
    }

    /// The session is to end with its connection.
    pub(crate) fn forbid_resumption(&mut self) {
        if let Some(counting) = &mut self.counting {
            counting.id = None;
        }
    }

    /// Counting begins with the next stanza, unless it has begun. What is sent from here on stands behind the stream's answer,
    /// which the caller makes.
    pub(crate) fn begin_counting(&mut self, id: Option<SmId>) {
        if let Some(link) = &self.link {
            link.cork();
        }
        if self.counting.is_none() {
            self.count(id);
        }
    }

    /// Counting begins with the next stanza (XEP-0198 §3).
    pub(crate) fn count(&mut self, id: Option<SmId>) {
        self.counting = Some(Box::new(Counting::new(id)));
    }

    /// Where a stanza stands in the stream if it is pushed now with something kept for it; `None` when the session cannot be
    /// resumed.
    pub(crate) fn next_place(&mut self) -> Option<(SmId, Place)> {
        let marks = usize::from(self.drains).saturating_add(usize::from(self.numberings));
        let ahead = self.line.len().saturating_sub(marks).saturating_add(self.idle.len());
        let draining = self.is_draining();
        let counting = self.counting.as_mut()?;
        let id = counting.id?;
        if draining {
            counting.behind = counting.behind.saturating_add(1);
            return Some((id, Place::Behind(counting.behind)));
        }
        Some((id, Place::Sent(counting.sent.saturating_add(ahead as u64).saturating_add(1))))
    }

    /// Under which id the store holds messages for the session.
    pub(crate) fn holder(&self) -> Option<SmId> {
        self.counting.as_ref().and_then(|counting| counting.holder)
    }

    /// Queues a stanza that is ready.
    pub(crate) fn push(&mut self, stanza: &Stanza, from: Option<&Jid>, to: Option<&Jid>, turn: &mut Turn) -> Pushed {
        self.place(None, Facts::PLAIN, Delivery { stanza, from, to }, turn)
    }

    /// Queues a stanza, behind a commit when it has a ticket.
    pub(crate) fn place(
        &mut self,
        ticket: Option<Ticket>,
        facts: Facts,
        delivery: Delivery<'_>,
        turn: &mut Turn,
    ) -> Pushed {
        if self.is_unattended() && facts.spooled == Spooled::No {
            match urgency(delivery.stanza) {
                Urgency::Now => {}
                Urgency::Never => return Pushed::Queued,
                Urgency::Latest(from) if delivery.stanza.kind() == Kind::Presence => {
                    return self.hold_latest(facts, from, delivery, turn);
                }
                Urgency::Later | Urgency::Latest(_) => return self.hold(ticket, Item::new(facts, delivery), turn),
            }
        }
        self.release_idle(turn);
        if ticket.is_none() && self.line.is_empty() {
            return match (&self.link, &self.counting) {
                // Nothing is remembered of what is neither counted nor waits.
                (Some(link), None) => turn.push(link, delivery),
                _ => self.emit(Item::new(facts, delivery), turn),
            };
        }
        self.enqueue(ticket, Item::new(facts, delivery))
    }

    fn enqueue(&mut self, ticket: Option<Ticket>, item: Item) -> Pushed {
        if self.is_full(item.stanza.size()) {
            return self.overflow();
        }
        self.held.grow(item.stanza.size());
        self.line.push_back(Entry::Stanza(ticket, item));
        Pushed::Queued
    }

    fn is_full(&self, more: usize) -> bool {
        let waiting = self.counting.as_ref().map_or(0, |counting| counting.unacknowledged.len());
        self.line.len().saturating_add(waiting) >= MAX_STANZAS || self.held.room(more, MAX_BYTES) == Room::None
    }

    /// P4: whoever does not take or acknowledge what it is sent loses its session, and slows nobody down.
    fn overflow(&mut self) -> Pushed {
        self.forbid_resumption();
        if let Some(link) = &self.link {
            let condition = stonechat_stanza::StreamCondition::ResourceConstraint;
            link.close(Some(StreamError::new(condition).with_text("you acknowledge too slowly")));
        }
        Pushed::Overflow
    }

    /// Sends an item now, and remembers it if the client counts.
    fn emit(&mut self, item: Item, turn: &mut Turn) -> Pushed {
        if self.counting.is_some() && self.is_full(item.stanza.size()) {
            return self.overflow();
        }
        let Some(counting) = &mut self.counting else {
            let Some(link) = &self.link else { return Pushed::Closed };
            return turn.push(link, Delivery::of(&item.stanza));
        };
        if counting.id.is_none() && self.link.as_ref().is_none_or(|link| !link.is_open()) {
            return Pushed::Closed;
        }
        counting.sent = counting.sent.saturating_add(1);
        self.held.grow(item.stanza.size());
        if let Some(link) = &self.link {
            // What the connection does not take any more is taken by the one that resumes the session.
            turn.push(link, Delivery::of(&item.stanza));
            if std::mem::replace(&mut counting.requested, Requested::Yes) == Requested::No {
                turn.request_acknowledgement(link);
            }
        }
        counting.unacknowledged.push_back(item);
        Pushed::Queued
    }

    /// Lets out what is ready at the front. Whether a drain has come to the front.
    pub(crate) fn pump(&mut self, turn: &mut Turn) {
        loop {
            match self.line.pop_front() {
                Some(Entry::Stanza(None, item)) => {
                    self.held.shrink(item.stanza.size());
                    let size = item.stanza.size();
                    match self.emit(item.clone(), turn) {
                        Pushed::First | Pushed::Queued => {}
                        Pushed::Overflow | Pushed::Closed => {
                            // It is left for whoever ends the session to deal out.
                            self.held.grow(size);
                            self.line.push_front(Entry::Stanza(None, item));
                            return;
                        }
                    }
                }
                Some(other) => {
                    self.line.push_front(other);
                    return;
                }
                None => {
                    // Room for entries is large, and most sessions are silent.
                    self.line = VecDeque::new();
                    return;
                }
            }
        }
    }

    /// The commit was made: what waited for it is let out, as far as nothing before it waits.
    pub(crate) fn release(&mut self, ticket: Ticket, turn: &mut Turn) {
        for (gate, _) in &mut self.idle {
            gate.take_if(|gate| *gate == ticket);
        }
        let mut found = false;
        for entry in &mut self.line {
            if let Entry::Stanza(gate, _) = entry
                && gate.take_if(|gate| *gate == ticket).is_some()
            {
                found = true;
            }
        }
        if self.line.front().is_some_and(|entry| matches!(entry, Entry::Numbering(gate) if *gate == ticket)) {
            self.line.pop_front();
            self.numberings = self.numberings.saturating_sub(1);
            found = true;
        }
        if found {
            self.pump(turn);
        }
    }

    /// The commit failed: what waited for it is not sent.
    pub(crate) fn discard(&mut self, ticket: Ticket, turn: &mut Turn) {
        self.idle.retain(|(gate, _)| *gate != Some(ticket));
        let mut freed = 0usize;
        self.line.retain(|entry| match entry {
            Entry::Stanza(Some(gate), item) if *gate == ticket => {
                freed = freed.saturating_add(item.stanza.size());
                false
            }
            _ => true,
        });
        self.held.shrink(freed);
        self.pump(turn);
    }

    fn hold(&mut self, ticket: Option<Ticket>, item: Item, turn: &mut Turn) -> Pushed {
        self.idle_bytes = self.idle_bytes.saturating_add(item.stanza.size());
        self.idle.push((ticket, item));
        if self.idle.len() > MAX_IDLE || self.idle_bytes > MAX_IDLE_BYTES {
            self.release_idle(turn);
        }
        Pushed::Queued
    }

    /// Of presences from one address only the newest is worth anything, in its own place.
    fn hold_latest(&mut self, facts: Facts, from: &Jid, delivery: Delivery<'_>, turn: &mut Turn) -> Pushed {
        let older = self
            .idle
            .iter()
            .position(|(_, item)| item.stanza.kind() == Kind::Presence && item.stanza.from() == Some(from));
        if let Some((_, older)) = older.map(|index| self.idle.remove(index)) {
            self.idle_bytes = self.idle_bytes.saturating_sub(older.stanza.size());
        }
        self.hold(None, Item::new(facts, delivery), turn)
    }

    /// What waited for attention goes first, in its order.
    pub(crate) fn release_idle(&mut self, turn: &mut Turn) {
        if self.idle.is_empty() {
            return;
        }
        self.idle_bytes = 0;
        for (ticket, item) in std::mem::take(&mut self.idle) {
            self.held.grow(item.stanza.size());
            self.line.push_back(Entry::Stanza(ticket, item));
        }
        self.pump(turn);
    }

    /// XEP-0352: the client says whether somebody looks.
    pub(crate) fn set_attention(&mut self, attention: Attention, turn: &mut Turn) {
        self.attention = attention;
        if attention == Attention::Active {
            self.release_idle(turn);
        }
    }

    /// The client has handled so many stanzas (XEP-0198 §4).
    pub(crate) fn acknowledge(&mut self, handled: u32, turn: &mut Turn) -> Acknowledged {
        let Some(counting) = &mut self.counting else { return Acknowledged::NotCounting };
        let before = counting.sent.saturating_sub(counting.unacknowledged.len() as u64);
        // §4: counts go around at 2^32.
        let more = handled.wrapping_sub(before as u32) as usize;
        if more > counting.unacknowledged.len() {
            return Acknowledged::TooMuch(counting.sent as u32);
        }
        let mut spooled = false;
        for item in counting.unacknowledged.drain(..more) {
            self.held.shrink(item.stanza.size());
            spooled |= item.facts.spooled != Spooled::No;
        }
        counting.requested = Requested::No;
        if let Some(link) = &self.link
            && !counting.unacknowledged.is_empty()
        {
            counting.requested = Requested::Yes;
            turn.request_acknowledgement(link);
        }
        match counting.id {
            Some(id) if spooled => Acknowledged::Spooled(id, before.saturating_add(more as u64)),
            _ => Acknowledged::Noted,
        }
    }

    /// The connection is lost.
    pub(crate) fn detach(&mut self) {
        self.link = None;
        if let Some(counting) = &mut self.counting {
            counting.requested = Requested::No;
        }
    }

    /// What the session has been given of the archive's messages and not acknowledged, each with its number in the stream: from
    /// now on the store holds it for the session, which has just lost its connection.
    pub(crate) fn hold_archived(&mut self) -> Vec<(u64, Item)> {
        let draining = self.is_draining();
        let Some(counting) = &mut self.counting else { return Vec::new() };
        let mut number = counting.sent.saturating_sub(counting.unacknowledged.len() as u64);
        let line = self.line.iter_mut().filter_map(|entry| match entry {
            // Its number is not known yet.
            Entry::Stanza(_, item) if !draining => Some(item),
            _ => None,
        });
        let mut held = Vec::new();
        for item in counting.unacknowledged.iter_mut().chain(line) {
            number = number.saturating_add(1);
            let archive = if item.facts.archived.is_some() { Archive::Stored } else { Archive::Skipped };
            let is_held = item.facts.spooled != Spooled::No;
            // A copy is worth nothing without the order in which it came.
            if is_held || item.facts.shared == Shared::Copied || item.stanza.kind() != Kind::Message {
                continue;
            }
            let (kind, classification) = (message_type(&item.stanza), Classification::of(&item.stanza));
            if plan_waiting(kind, classification, archive) == Kept::WhileWaiting {
                item.facts.spooled = Spooled::Yes;
                held.push((number, item.clone()));
            }
        }
        held
    }

    /// Another connection takes over: what was not acknowledged is sent again, then what waited (XEP-0198 §5). Resuming is
    /// looking (XEP-0352 §5).
    pub(crate) fn attach(&mut self, link: Arc<dyn Outbox>, turn: &mut Turn) {
        if let Some(counting) = &mut self.counting {
            for item in &counting.unacknowledged {
                turn.push(&link, Delivery::of(&item.stanza));
            }
            if !counting.unacknowledged.is_empty() {
                counting.requested = Requested::Yes;
                turn.request_acknowledgement(&link);
            }
        }
        self.link = Some(link);
        self.attention = Attention::Active;
        self.release_idle(turn);
        self.pump(turn);
    }

    /// Messages that were kept are to be delivered behind what is in the line now.
    pub(crate) fn begin_drain(&mut self, turn: &mut Turn) {
        self.release_idle(turn);
        self.line.push_back(Entry::Drain);
        self.drains = self.drains.saturating_add(1);
    }

    /// Whether it is the drain's turn.
    pub(crate) fn may_drain(&self) -> bool {
        matches!(self.line.front(), Some(Entry::Drain))
    }

    /// Whether a drain stands in the line.
    pub(crate) fn is_draining(&self) -> bool {
        self.drains > 0
    }

    /// Sends a kept message in the drain's place.
    pub(crate) fn push_drained(&mut self, item: Item, turn: &mut Turn) -> Pushed {
        self.emit(item, turn)
    }

    /// The kept messages are delivered, or cannot be. What stands behind them in the line has its number now: pairs of the
    /// number that the store knows it by and its own. Unless there are none, it is sent when `ticket` is released.
    pub(crate) fn end_drain(&mut self, ticket: Ticket, turn: &mut Turn) -> Vec<(u64, u64)> {
        let Some(place) = self.line.iter().position(|entry| matches!(entry, Entry::Drain)) else { return Vec::new() };
        self.drains = self.drains.saturating_sub(1);
        let mut number = self.sent();
        let mut numbers = Vec::new();
        for (index, entry) in self.line.iter_mut().enumerate() {
            let Entry::Stanza(_, item) = entry else { continue };
            number = number.saturating_add(1);
            if let Spooled::Behind(own) = item.facts.spooled
                && index > place
            {
                item.facts.spooled = Spooled::Yes;
                numbers.push((own, number));
            }
        }
        if numbers.is_empty() {
            self.line.remove(place);
            self.pump(turn);
        } else if let Some(entry) = self.line.get_mut(place) {
            *entry = Entry::Numbering(ticket);
            self.numberings = self.numberings.saturating_add(1);
        }
        numbers
    }

    /// Everything that was not acknowledged, or not even sent, in order.
    pub(crate) fn into_leftovers(self) -> Vec<Item> {
        let mut items: Vec<Item> = match self.counting {
            Some(counting) => counting.unacknowledged.into(),
            None => Vec::new(),
        };
        items.extend(self.line.into_iter().filter_map(|entry| match entry {
            Entry::Stanza(_, item) => Some(item),
            Entry::Drain | Entry::Numbering(_) => None,
        }));
        items.extend(self.idle.into_iter().map(|(_, item)| item));
        items
    }

    /// What is to be saved at an orderly end: the unacknowledged stanzas, then everything that was not sent yet.
    pub(crate) fn snapshot(&self) -> (Vec<&Item>, Vec<&Item>) {
        let unacknowledged = self.counting.iter().flat_map(|counting| &counting.unacknowledged).collect();
        let line = self.line.iter().filter_map(|entry| match entry {
            Entry::Stanza(_, item) => Some(item),
            Entry::Drain | Entry::Numbering(_) => None,
        });
        (unacknowledged, line.chain(self.idle.iter().map(|(_, item)| item)).collect())
    }
}

impl Item {
    fn new(facts: Facts, delivery: Delivery<'_>) -> Item {
        let mut stanza = delivery.stanza.clone();
        stanza.head_mut().from = delivery.from.cloned();
        stanza.head_mut().to = delivery.to.cloned();
        Item { stanza, facts }
    }
}
