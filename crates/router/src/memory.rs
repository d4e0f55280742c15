//! How much memory the server may hold, and in which order it gives way (abuse case 149).
//!
//! Each queue has a bound of its own, and many of them together can still be more than the machine has. So there is a
//! ceiling for the whole process. What is held is measured from outside and told here ([`Memory::measured`]); as it nears
//! the ceiling the server gives way in the order of [`Shortage`], from what nobody notices to what everybody does.
//!
//! A measurement comes every now and then, and one large stanza to many that do not read grows faster than that. So what is
//! queued is also counted as it grows, and all queues together have the room that the last measurement left
//! ([`Holding::room`]): whoever would fill the rest of it is over its bound. The bound of one queue is thereby what the
//! others leave, as in a switch that shares one buffer among its ports (Choudhury and Hahne, "Dynamic queue length
//! thresholds"): few slow readers may have much, many have little each, and always something is left. This is the wall that
//! what grows too fast runs against; before it, the largest are chosen with more care.
//!
//! Small queues are not counted, so that ordinary traffic touches nothing that all connections share. A payload that
//! stands in several queues is counted in each: this errs on the side of giving way too early.
//!
//! Deliberately absent: how memory is measured, and when. That is an effect, and the composition's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use stonechat_stanza::{StreamCondition, StreamError};
use tokio::sync::Notify;

/// Bytes that every holder may have whatever the others have, and that are not counted: what is on its way to somebody who
/// reads.
pub(crate) const FREE: usize = 64 * 1024;

/// How long a stream is not read after it was, while memory is as short as it can be.
const SLOWLY: std::time::Duration = std::time::Duration::from_secs(1);

/// How short memory is: each stage adds to what is done at the ones before it. Nothing that was acknowledged is given up at
/// any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shortage {
    /// It is not.
    None,
    /// From 70 % of the ceiling: what is only remembered is forgotten (accounts that nobody uses, pages of the store).
    Caches,
    /// From 80 %: sessions that hold the most are ended, the largest first. What they were not given is kept, as the
    /// delivery plan says.
    Holders,
    /// From 90 %: nobody new comes in. Connections wait to be accepted, those that have not logged in are ended when they
    /// say more, and no stream to another server is opened. All queues together have what is left up to here: they alone
    /// lock nobody out.
    Newcomers,
    /// From 95 %: everybody is read from slowly.
    Everybody,
}

impl Shortage {
    const ALL: [Shortage; 5] =
        [Shortage::None, Shortage::Caches, Shortage::Holders, Shortage::Newcomers, Shortage::Everybody];

    /// The percentage of the ceiling at which it begins.
    const fn begins(self) -> u64 {
        match self {
            Shortage::None => 0,
            Shortage::Caches => 70,
            Shortage::Holders => 80,
            Shortage::Newcomers => 90,
            Shortage::Everybody => 95,
        }
    }

    /// So much less than where a stage began ends it, in per cent of the ceiling: it must not come and go with every message.
    const ENDS_BELOW: u64 = 3;

    /// The stage at `used` bytes, after one that was `before`.
    fn of(used: u64, ceiling: u64, before: Shortage) -> Shortage {
        let at = |percent: u64| ceiling / 100 * percent;
        let mut found = Shortage::None;
        for stage in Shortage::ALL {
            let begins = if stage <= before { stage.begins().saturating_sub(Self::ENDS_BELOW) } else { stage.begins() };
            if used >= at(begins) {
                found = stage;
            }
        }
        found
    }

    /// As it stands in the log and in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Shortage::None => "none",
            Shortage::Caches => "caches",
            Shortage::Holders => "holders",
            Shortage::Newcomers => "newcomers",
            Shortage::Everybody => "everybody",
        }
    }
}

/// Who is at the other end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// It has proved nothing yet.
    Stranger,
    /// It is let in.
    Known,
}

/// What a shortage asks of a stream that has just been read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    Nothing,
    /// Not to be read from for so long.
    Pause(std::time::Duration),
    /// To end, with [`short_of_memory`].
    End,
}

/// What a stream that is to end is told.
pub fn short_of_memory() -> StreamError {
    StreamError::new(StreamCondition::ResourceConstraint).with_text("this server is short of memory")
}

/// What is known of the process's memory. Without a ceiling there is never a shortage.
#[derive(Debug)]
pub struct Memory {
    /// Bytes; `u64::MAX` for none.
    ceiling: AtomicU64,
    used: AtomicU64,
    stage: AtomicU8,
    /// Bytes that holders have counted.
    queued: AtomicUsize,
    /// Bytes that all holders may have together.
    room: AtomicUsize,
    eased: Notify,
}

impl Default for Memory {
    fn default() -> Self {
        Memory {
            ceiling: AtomicU64::new(u64::MAX),
            used: AtomicU64::new(0),
            stage: AtomicU8::new(0),
            queued: AtomicUsize::new(0),
            room: AtomicUsize::new(usize::MAX),
            eased: Notify::new(),
        }
    }
}

impl Memory {
    /// Changes the ceiling (bytes); it is in force with the next measurement. `None` takes it away, and any shortage.
    pub fn set_ceiling(&self, ceiling: Option<u64>) {
        self.ceiling.store(ceiling.unwrap_or(u64::MAX), Ordering::Relaxed);
        if ceiling.is_none() {
            self.measured(0);
        }
    }

    /// The ceiling in bytes, when there is one.
    pub fn ceiling(&self) -> Option<u64> {
        Some(self.ceiling.load(Ordering::Relaxed)).filter(|ceiling| *ceiling != u64::MAX)
    }

    /// What the process was last found to hold, in bytes; 0 before it was measured.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that queues hold, without those of small ones.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// How short it is.
    pub fn shortage(&self) -> Shortage {
        let stage = usize::from(self.stage.load(Ordering::Relaxed));
        Shortage::ALL.get(stage).copied().unwrap_or(Shortage::Everybody)
    }

    /// The process was found to hold so many bytes. Returns how short memory is now.
    pub fn measured(&self, used: u64) -> Shortage {
        let before = self.shortage();
        self.used.store(used, Ordering::Relaxed);
        let (stage, room) = match self.ceiling() {
            None => (Shortage::None, usize::MAX),
            Some(ceiling) => {
                let others = used.saturating_sub(self.queued() as u64);
                let room = (ceiling / 100 * Shortage::Newcomers.begins()).saturating_sub(others);
                (Shortage::of(used, ceiling, before), usize::try_from(room).unwrap_or(usize::MAX))
            }
        };
        self.room.store(room, Ordering::Relaxed);
        self.stage.store(stage as u8, Ordering::Relaxed);
        if before >= Shortage::Newcomers && stage < Shortage::Newcomers {
            self.eased.notify_waiters();
        }
        stage
    }

    /// How many bytes are to be given up so that it is no shortage of [`Shortage::Holders`] any more: by what was measured,
    /// and by what has been queued since.
    pub fn excess(&self) -> u64 {
        let Some(ceiling) = self.ceiling() else { return 0 };
        let measured = match self.shortage() {
            Shortage::None | Shortage::Caches => 0,
            Shortage::Holders | Shortage::Newcomers | Shortage::Everybody => {
                let enough = Shortage::Holders.begins().saturating_sub(Shortage::ENDS_BELOW);
                self.used().saturating_sub(ceiling / 100 * enough)
            }
        };
        let queued = self.queued().saturating_sub(self.room.load(Ordering::Relaxed)) as u64;
        measured.max(queued)
    }

    /// Resolves when newcomers may come in: at once, unless memory is short.
    pub async fn admits_newcomers(&self) {
        loop {
            let eased = self.eased.notified();
            tokio::pin!(eased);
            // Before the look, so that nothing that happens behind it is missed.
            eased.as_mut().enable();
            if self.shortage() < Shortage::Newcomers {
                return;
            }
            eased.await;
        }
    }

    /// Whether a holder that has counted `counted` may have `total`: as much again must be left behind it.
    fn is_room(&self, counted: usize, total: usize) -> bool {
        let others = self.queued().saturating_sub(counted);
        total.saturating_mul(2).saturating_add(others) <= self.room.load(Ordering::Relaxed)
    }
}

/// What one queue holds, counted with the rest of its kind as long as it is not small. Dropping it takes it off the count.
#[derive(Debug)]
pub struct Holding {
    memory: Arc<Memory>,
    bytes: usize,
}

/// Whether a queue takes more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It does.
    Left,
    /// It is at its bound, or all queues together are.
    None,
}

fn counted(bytes: usize) -> usize {
    if bytes > FREE { bytes } else { 0 }
}

impl Holding {
    /// Of a queue that is empty.
    pub fn new(memory: &Arc<Memory>) -> Holding {
        Holding { memory: Arc::clone(memory), bytes: 0 }
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it may hold so many `more`, if its own bound is `most`.
    pub fn room(&self, more: usize, most: usize) -> Room {
        let total = self.bytes.saturating_add(more);
        let within = total <= FREE || self.memory.is_room(counted(self.bytes), total);
        if total <= most && within { Room::Left } else { Room::None }
    }

    /// It holds so many bytes now.
    pub fn holds(&mut self, bytes: usize) {
        let (before, now) = (counted(self.bytes), counted(bytes));
        if now > before {
            self.memory.queued.fetch_add(now.saturating_sub(before), Ordering::Relaxed);
        } else if now < before {
            self.memory.queued.fetch_sub(before.saturating_sub(now), Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// It holds so many bytes more.
    pub fn grow(&mut self, bytes: usize) {
        self.holds(self.bytes.saturating_add(bytes));
    }

    /// It holds so many bytes less.
    pub fn shrink(&mut self, bytes: usize) {
        self.holds(self.bytes.saturating_sub(bytes));
    }

    /// What a shortage asks of the stream whose input, as far as it is not whole, this is.
    pub fn asked_of(&self, peer: Peer) -> Asked {
        let shortage = self.memory.shortage();
        if self.room(0, usize::MAX) == Room::None || (peer == Peer::Stranger && shortage >= Shortage::Newcomers) {
            Asked::End
        } else if shortage >= Shortage::Everybody {
            Asked::Pause(SLOWLY)
        } else {
            Asked::Nothing
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.holds(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn with_ceiling(ceiling: usize) -> Arc<Memory> {
        let memory = Arc::new(Memory::default());
        memory.set_ceiling(Some(ceiling as u64));
        memory
    }

    #[test]
    fn abuse_149_the_server_gives_way_in_a_fixed_order_and_comes_back_by_the_same_way() {
        let memory = with_ceiling(1000 * MIB);
        let told: Vec<_> = [699, 700, 800, 900, 950, 2000, 921, 919, 869, 769, 669]
            .iter()
            .map(|used| memory.measured((used * MIB) as u64))
            .collect();
        use Shortage::{Caches, Everybody, Holders, Newcomers, None};
        assert_eq!(
            told,
            [None, Caches, Holders, Newcomers, Everybody, Everybody, Everybody, Newcomers, Holders, Caches, None]
        );
    }

    #[test]
    fn abuse_149_no_ceiling_no_shortage() {
        let memory = Arc::new(Memory::default());
        assert_eq!(memory.measured(u64::MAX - 1), Shortage::None);
        assert_eq!(Holding::new(&memory).room(100 * MIB, 100 * MIB), Room::Left);
        assert_eq!(memory.excess(), 0);
        memory.set_ceiling(Some(1));
        assert_eq!(memory.measured(2), Shortage::Everybody);
        memory.set_ceiling(None);
        assert_eq!(memory.shortage(), Shortage::None);
    }

    #[test]
    fn abuse_149_queues_together_have_what_the_rest_leaves() {
        let memory = with_ceiling(100 * MIB);
        memory.measured((50 * MIB) as u64);
        // 40 MiB of room: one may have half of it.
        let mut first = Holding::new(&memory);
        assert_eq!(first.room(20 * MIB, 64 * MIB), Room::Left);
        assert_eq!(first.room(20 * MIB + 1, 64 * MIB), Room::None);
        assert_eq!(first.room(4 * MIB + 1, 4 * MIB), Room::None, "its own bound goes before");
        first.holds(20 * MIB);
        let mut second = Holding::new(&memory);
        assert_eq!(second.room(10 * MIB, 64 * MIB), Room::Left);
        assert_eq!(second.room(10 * MIB + 1, 64 * MIB), Room::None);
        second.holds(10 * MIB);
        assert_eq!(memory.queued(), 30 * MIB);
        // The next measurement sees them, and they have the same room.
        memory.measured((80 * MIB) as u64);
        assert_eq!(second.room(0, 64 * MIB), Room::Left);
        // Something else has grown: what they have is too much now.
        memory.measured((95 * MIB) as u64);
        assert_eq!(memory.excess(), (18 * MIB) as u64);
        assert_eq!(second.room(0, 64 * MIB), Room::None);
        assert_eq!(Holding::new(&memory).room(FREE, 64 * MIB), Room::Left, "whoever reads is not harmed");
        drop(first);
        second.holds(FREE);
        assert_eq!(memory.queued(), 0, "small queues are not counted, and what is gone is not either");
    }

    #[test]
    fn abuse_149_however_many_do_not_read_their_queues_stay_within_the_room() {
        let memory = with_ceiling(100 * MIB);
        memory.measured((10 * MIB) as u64);
        let mut queues: Vec<Holding> = (0..1000).map(|_| Holding::new(&memory)).collect();
        for _ in 0..200 {
            for holding in &mut queues {
                if holding.room(32 * 1024, 4 * MIB) == Room::Left {
                    holding.grow(32 * 1024);
                }
            }
        }
        assert!(memory.queued() <= 80 * MIB, "{}", memory.queued());
        assert!(memory.queued() > 70 * MIB, "the room is used: {}", memory.queued());
    }

    #[test]
    fn abuse_149_what_is_asked_of_a_stream() {
        let memory = with_ceiling(100 * MIB);
        let mut input = Holding::new(&memory);
        let mut told = |used: usize, bytes: usize| {
            memory.measured((used * MIB) as u64);
            input.holds(bytes);
            (input.asked_of(Peer::Stranger), input.asked_of(Peer::Known))
        };
        let slower = Asked::Pause(SLOWLY);
        assert_eq!(told(79, 200_000), (Asked::Nothing, Asked::Nothing));
        assert_eq!(told(85, 1_000), (Asked::Nothing, Asked::Nothing));
        assert_eq!(told(92, 1_000), (Asked::End, Asked::Nothing));
        assert_eq!(told(96, 1_000), (Asked::End, slower));
        assert_eq!(told(96, 200_000), (Asked::End, Asked::End), "half a large stanza is what memory is short of");
        assert_eq!(told(50, 200_000), (Asked::Nothing, Asked::Nothing));
    }

    #[tokio::test]
    async fn abuse_149_newcomers_wait_until_there_is_memory() {
        let memory = with_ceiling(100 * MIB);
        memory.admits_newcomers().await;
        memory.measured((92 * MIB) as u64);
        let waiting = tokio::spawn({
            let memory = Arc::clone(&memory);
            async move { memory.admits_newcomers().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        memory.measured((88 * MIB) as u64);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "not as soon as it is a little better");
        memory.measured((60 * MIB) as u64);
        waiting.await.unwrap();
    }
}
