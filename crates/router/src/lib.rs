//! Hosts, accounts, sessions and the pipeline between them.
//!
//! A stanza enters at [`ClientSession::accept`] or [`Router::accept_remote`], and leaves through an [`Outbox`] (a bound
//! session's connection), the [`Remote`] (another domain's queue), an extension's IQ handler, or the store. In between one
//! pure function, `stonechat_im::plan`, decides where a message goes; nothing here decides again.
//!
//! Everything about one account (its sessions, its roster) is behind one short critical section, [`account`]. No two of
//! them are ever held at once: what one account's step wants done to another leaves it as an effect and is routed after
//! the lock is released. No lock is held across an await.
//!
//! Deliberately absent: SQL, TLS, sockets. Time, randomness, storage and the network come in as traits.

mod account;
mod archive;
mod blocking;
mod carbons;
mod clock;
mod committer;
mod context;
mod departures;
mod devices;
mod drain;
mod effects;
mod eligible;
mod error;
mod extension;
mod hosts;
mod inspect;
mod iq;
mod memory;
mod messages;
mod outbox;
mod outflow;
mod presence;
mod push;
mod registry;
mod remote;
mod resumption;
mod revocations;
mod roster;
mod route;
mod router;
mod session;
mod settings;
mod shedding;
pub mod time;

pub use archive::{ArchiveDefault, ArchivePreferences};
pub use blocking::BlockChange;
pub use clock::{Clock, Random, SystemClock};
pub use context::{AccountPresence, Context, Relation};
pub use devices::{
    DeviceProof, DeviceRevoked, DeviceView, IssuedToken, KeysAdded, PasswordProved, TokenKept, TokenUse, UserAgent,
};
pub use error::{AccountError, BindError};
pub use extension::{Extension, Info, IqAnswer, IqHandler, IqKind, IqRequest, IqTarget, Place, Registrar};
pub use hosts::Hosts;
pub use inspect::{Killed, SessionStanding, SessionView};
pub use memory::{Asked, Holding, Memory, Peer, Room, Shortage, short_of_memory};
pub use outbox::{Delivery, Outbox, Pushed, Turn};
pub use outflow::Attention;
pub use registry::{DoubleClaim, Registry};
pub use remote::{NoRemote, Outward, Record, Remote};
pub use resumption::{NotResumed, RESUMPTION};
pub use revocations::LoginStart;
pub use router::{Parts, Router};
pub use session::{ArchiveBounds, ClientSession, Commits, Ending, Resumable, SessionFacts, SessionId};
pub use settings::{ArchiveSettings, Durability, OfflineLimits, RegistrationMode, Settings};
pub use shedding::Shed;
pub use stonechat_im::plan::Carbons;
