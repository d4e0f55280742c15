//! Storage, by domain: traits, record types, and the suite every backend passes.
//!
//! A future returned by a writing method resolves when the write is committed (survives kill -9; with
//! `durability = "full"` power loss too). Writes of one caller are applied in the order in which the methods were
//! *called*, not in which their futures were polled: every implementation queues the write before it returns the future,
//! and does it even when the future is dropped. A read sees every write that was called before it.
//!
//! What changes an account that is not there fails with [`Error::NotFound`]; reading it finds nothing, removing from it
//! what it cannot have is no error.
//!
//! Deliberately absent: protocol rules. A backend knows neither what a subscription means nor who may read what.

mod accounts;
mod archive;
mod devices;
mod error;
mod lists;
pub mod memory;
mod offline;
mod outgoing;
mod residents;
mod rosters;
mod secrets;
mod sessions;
pub mod suite;
pub mod words;
mod xml;

pub use accounts::{Account, AccountId, AccountState, Accounts, NewAccount};
pub use archive::{
    ArchiveFilter, ArchiveId, ArchivePage, ArchivePosition, ArchiveRow, ArchivedMessage, Archives, Half, Mark,
    Recorded, Reference, Repeatable, Words,
};
pub use devices::{Device, Devices, Proofs, StoredToken};
pub use error::{Error, Result};
pub use lists::{BlockLists, PushRegistration, PushRegistrations};
pub use offline::{Offline, OfflineId, OfflineMessage, OfflineStored, Share};
pub use outgoing::{Outgoing, OutgoingId, OutgoingMessage, OutgoingRow};
pub use residents::{Resident, Residents};
pub use rosters::{ROSTER_REMOVALS_KEPT, RosterRecord, Rosters, StoredRoster, StoredSubscription};
pub use secrets::Secrets;
pub use sessions::{Claim, Holder, Others, Place, SavedSession, Sessions, SmId, SpoolRow};
pub use xml::{AccountXml, XmlKind};

use std::future::Future;
use std::pin::Pin;

/// What every method returns.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'static>>;

/// A whole store.
pub trait Store:
    Accounts
    + Residents
    + Rosters
    + Archives
    + Offline
    + Sessions
    + Outgoing
    + AccountXml
    + BlockLists
    + PushRegistrations
    + Devices
    + Secrets
    + Send
    + Sync
    + 'static
{
    /// Finishes what is queued and closes; later calls fail with [`Error::Closed`].
    fn close(&self) -> Pending<()>;
    /// Gives back memory that only makes things faster, soon. Called when the server is short of it.
    fn give_back(&self);
    /// A line for `status`: engine, version, path, size in bytes, queue length.
    fn describe(&self) -> String;
}
