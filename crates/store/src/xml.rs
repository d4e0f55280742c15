//! Small documents an account keeps on the server: private XML (XEP-0049), vCard (XEP-0054).

use crate::{AccountId, Pending};

/// What kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XmlKind {
    /// XEP-0049; the key is `{namespace}name`.
    Private,
    /// XEP-0054; the key is empty.
    VCard,
    /// XEP-0441; the key is empty.
    ArchivePreferences,
}

/// Storage of such documents.
pub trait AccountXml {
    /// Reads one.
    fn xml(&self, id: AccountId, kind: XmlKind, key: &str) -> Pending<Option<Vec<u8>>>;
    /// Writes one, replacing what was there. `None` removes it. `Full` when the account's documents of this kind would
    /// pass `max_bytes` together.
    fn put_xml(
        &self,
        id: AccountId,
        kind: XmlKind,
        key: &str,
        document: Option<Vec<u8>>,
        max_bytes: u64,
    ) -> Pending<()>;
}
