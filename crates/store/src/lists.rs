//! Block lists (XEP-0191) and registrations for push notifications (XEP-0357).

use crate::{AccountId, Pending};
use stonechat_jid::Jid;

/// A registration of one device with its application server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushRegistration {
    /// The application server.
    pub service: Jid,
    /// The node there; empty when the client named none.
    pub node: String,
    /// The publish options that go with each notification, as XML, when the client gave any. They may be a secret.
    pub options: Option<Vec<u8>>,
    /// The resource that registered: notifications are for when it is not there.
    pub resource: String,
}

/// Storage of block lists.
pub trait BlockLists {
    /// The whole list, in the order of the addresses.
    fn blocked(&self, account: AccountId) -> Pending<Vec<Jid>>;
    /// Removes and adds entries, in this order and in one commit; what is there already or is not there is no error. `Full`
    /// when the list would grow beyond `most`: then nothing changes.
    fn change_blocked(&self, account: AccountId, add: Vec<Jid>, remove: Vec<Jid>, most: usize) -> Pending<()>;
}

/// Storage of push registrations.
pub trait PushRegistrations {
    /// All of an account, in the order of services and nodes.
    fn push_registrations(&self, account: AccountId) -> Pending<Vec<PushRegistration>>;
    /// Adds one, replacing that of the same service and node. `Full` when there would be more than `most`.
    fn put_push(&self, account: AccountId, registration: PushRegistration, most: usize) -> Pending<()>;
    /// Removes one, or all of the service when `node` is `None`.
    fn remove_push(&self, account: AccountId, service: Jid, node: Option<String>) -> Pending<()>;
}
