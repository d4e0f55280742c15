//! What follows a commit.
//!
//! Each half of a message is queued for the store under its account's lock, which fixes its order; its future and what is to
//! follow go to a lane. A lane is one task that awaits its commits in the order in which they were queued, and then releases
//! what waited for them. An account has always the same lane, so its releases are in order too. What one group commit
//! brought is released in one turn, and leaves as one write per connection.

use crate::account::Cell;
use crate::effects::Effects;
use crate::outflow::Ticket;
use crate::{Commits, Router, Turn};
use futures_util::FutureExt;
use smallvec::SmallVec;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use stonechat_stanza::{Stanza, StanzaCondition, StanzaError};
use stonechat_store::{OfflineStored, OutgoingId, Pending, Recorded};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

/// What a message that is not kept anywhere means to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// Nobody has it: the sender is told.
    Bounce,
    /// The archive has it, or somebody was given it.
    Ignore,
}

/// What it means to the sender that a half cannot be written. One half at most says so: else a message would be answered twice,
/// or answered with an error although its recipient has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFailed {
    /// Nobody will have the message: the sender is told.
    Bounce,
    /// The sender's archive lacks it, or its count; whether the recipient has it is the other half's to say.
    Ignore,
}

/// A half that is being written.
pub(crate) struct Job {
    pub(crate) cell: Arc<Cell>,
    pub(crate) written: Pending<Recorded>,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) stanza: Stanza,
    pub(crate) when_full: WhenFull,
    pub(crate) when_failed: WhenFailed,
    /// The way out that waits for the number of the outgoing row.
    pub(crate) outgoing: Option<oneshot::Sender<OutgoingId>>,
    /// Whether devices are to be woken once it is written.
    pub(crate) wake: stonechat_im::plan::Wake,
    pub(crate) done: oneshot::Sender<()>,
}

/// The lanes. They start with the first job, because a router may be made without a runtime.
#[derive(Default)]
pub(crate) struct Committer {
    lanes: OnceLock<SmallVec<[mpsc::UnboundedSender<Job>; 4]>>,
}

impl Committer {
    /// Takes a job. The number of jobs is bounded by the store's queue of writes: what that refuses is ready at once.
    pub(crate) fn take(&self, router: &Router, job: Job) {
        let lanes = self.lanes.get_or_init(|| {
            let count = std::thread::available_parallelism().map_or(2, usize::from);
            (0..count).map(|_| start(router.clone())).collect()
        });
        let index = job.cell.lane().checked_rem(lanes.len()).unwrap_or(0);
        if let Some(lane) = lanes.get(index) {
            // A lane ends with the process alone.
            let _ = lane.send(job);
        }
    }
}

fn start(router: Router) -> mpsc::UnboundedSender<Job> {
    let (sender, mut jobs) = mpsc::unbounded_channel::<Job>();
    let weak = Arc::downgrade(&router.inner);
    drop(router);
    tokio::spawn(async move {
        while let Some(first) = jobs.recv().await {
            let Some(inner) = weak.upgrade() else { return };
            let router = Router { inner };
            let mut turn = Turn::new();
            let mut next = Some(first);
            while let Some(mut job) = next {
                let result = match (&mut job.written).now_or_never() {
                    Some(result) => result,
                    None => {
                        turn.flush();
                        (&mut job.written).await
                    }
                };
                // P6: a panic costs what the job was about, not the lane.
                if std::panic::catch_unwind(AssertUnwindSafe(|| router.follow_commit(job, result, &mut turn))).is_err()
                {
                    error!(event = "commit.panicked", "what follows a commit panicked");
                }
                next = jobs.try_recv().ok();
            }
        }
    });
    sender
}

impl Router {
    fn follow_commit(&self, job: Job, result: Result<Recorded, stonechat_store::Error>, turn: &mut Turn) {
        let mut effects = Effects::default();
        let mut wake = None;
        match result {
            Ok(recorded) => {
                if recorded.spool == Some(OfflineStored::Full) && job.when_full == WhenFull::Bounce {
                    // XEP-0160 §2: a full store is service-unavailable.
                    let error = StanzaError::new(StanzaCondition::ServiceUnavailable)
                        .with_text("no more messages are kept for the recipient");
                    effects.bounce(&job.stanza, &error);
                }
                if let (Some(sender), Some(id)) = (job.outgoing, recorded.outgoing) {
                    // Nobody waits any more when the way out has ended: then its row is read again at the next start.
                    let _ = sender.send(id);
                }
                if let Some(ticket) = job.ticket {
                    job.cell.lock().release(ticket, turn);
                    job.cell.announce_moved();
                }
                if job.wake == stonechat_im::plan::Wake::Yes {
                    wake = Some(Arc::clone(&job.cell));
                }
            }
            Err(source) => {
                error!(event = "message.write_failed", %source, "a message could not be kept");
                if job.when_failed == WhenFailed::Bounce {
                    let error = StanzaError::new(StanzaCondition::ResourceConstraint)
                        .with_text("the message could not be kept; try again later");
                    effects.bounce(&job.stanza, &error);
                }
                if let Some(ticket) = job.ticket {
                    job.cell.lock().discard(ticket, turn);
                    job.cell.announce_moved();
                }
            }
        }
        if let Some(cell) = wake {
            self.wake_devices(&cell);
        }
        for stanza in effects.route {
            self.route(stanza, turn, &mut Commits::new());
        }
        // Nobody waits when the stream has ended meanwhile.
        let _ = job.done.send(());
    }
}
