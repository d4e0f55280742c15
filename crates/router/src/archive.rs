//! What an account archives (XEP-0313, XEP-0441), and what a message is known by.
//!
//! Whether a message goes to the archive is the delivery plan's to say; it is told here whether the account archives its
//! conversation with the other party at all.

use crate::account::Loaded;
use crate::{Router, Settings};
use sha2::{Digest, Sha256};
use stonechat_im::plan::Archiving;
use stonechat_jid::{BareJid, Jid};
use stonechat_stanza::{Stanza, StanzaCondition, StanzaError, ns};
use stonechat_store::{ArchiveId, Mark, Reference, Repeatable};
use stonechat_xml::Element;

/// Marks of recent messages that are remembered of an account in memory, to recognise those that are sent again.
const RECENT: usize = 1_024;
/// How many of them are read when the account is loaded: more than any client has unacknowledged.
pub(crate) const RECENT_LOADED: usize = 128;
/// Entries of one of the lists of preferences.
const MAX_PREFERENCES: usize = 500;

/// What is archived when nothing more is said (XEP-0441 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ArchiveDefault {
    /// Everything.
    #[default]
    Always,
    /// Nothing.
    Never,
    /// Conversations with contacts on the roster.
    Roster,
}

/// An account's preferences (XEP-0441).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchivePreferences {
    /// For whom neither list names.
    pub default: ArchiveDefault,
    /// Always archived: full addresses, bare ones with all their resources, or domains.
    pub always: Vec<Jid>,
    /// Never archived.
    pub never: Vec<Jid>,
}

impl ArchivePreferences {
    /// Reads `<prefs/>`.
    ///
    /// # Errors
    /// `bad-request` for what XEP-0441 does not know, `jid-malformed` for what is no address, `resource-constraint` for too
    /// long lists.
    pub fn from_element(element: &Element) -> Result<ArchivePreferences, StanzaError> {
        let default = match element.attribute("default") {
            Some("always") => ArchiveDefault::Always,
            Some("never") => ArchiveDefault::Never,
            Some("roster") => ArchiveDefault::Roster,
            _ => return Err(StanzaCondition::BadRequest.into()),
        };
        let list = |name: &str| -> Result<Vec<Jid>, StanzaError> {
            let mut jids = Vec::new();
            for jid in element.child(name, ns::MAM).iter().flat_map(|list| list.children()) {
                if jid.name() != "jid" || jids.len() >= MAX_PREFERENCES {
                    return Err(StanzaCondition::ResourceConstraint.into());
                }
                jids.push(Jid::parse(jid.text().trim()).map_err(|_| StanzaCondition::JidMalformed)?);
            }
            Ok(jids)
        };
        Ok(ArchivePreferences { default, always: list("always")?, never: list("never")? })
    }

    /// `<prefs/>`.
    pub fn to_element(&self) -> Element {
        let list = |name: &'static str, jids: &[Jid]| {
            Element::new(name, ns::MAM)
                .with_children(jids.iter().map(|jid| Element::new("jid", ns::MAM).with_text(jid.as_str())))
        };
        let default = match self.default {
            ArchiveDefault::Always => "always",
            ArchiveDefault::Never => "never",
            ArchiveDefault::Roster => "roster",
        };
        Element::new("prefs", ns::MAM)
            .with_attribute("default", default)
            .with_child(list("always", &self.always))
            .with_child(list("never", &self.never))
    }
}

/// Whether an entry of a list is about an address (XEP-0441 §2.1, XEP-0191 §5): the most general that fits.
pub(crate) fn covers(entry: &Jid, address: &Jid) -> Covered {
    let domain = entry.domain() == address.domain();
    let local = entry.local().is_none() || entry.local() == address.local();
    let resource = entry.is_bare() || entry.resource() == address.resource();
    if domain && local && resource { Covered::Yes } else { Covered::No }
}

/// See [`covers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Covered {
    Yes,
    No,
}

impl Loaded {
    /// Whether the account archives its conversation with the other party.
    pub(crate) fn archiving(&self, settings: &Settings, with: &Jid) -> Archiving {
        if !settings.archive.enabled {
            return Archiving::Off;
        }
        let listed = |list: &[Jid]| list.iter().any(|entry| covers(entry, with) == Covered::Yes);
        let on = match self.preferences.default {
            // XEP-0441 §2.1: the lists go before the default.
            _ if listed(&self.preferences.never) => false,
            _ if listed(&self.preferences.always) => true,
            ArchiveDefault::Always => true,
            ArchiveDefault::Never => false,
            ArchiveDefault::Roster => self.roster.get(&with.to_bare()).is_some_and(|item| item.listed),
        };
        if on { Archiving::On } else { Archiving::Off }
    }

    /// The next id of the account's archive.
    pub(crate) fn next_archive_id(&mut self, millis: u64, random: u32) -> ArchiveId {
        let id = ArchiveId::next(self.last_archived, millis, random);
        self.last_archived = Some(id);
        id
    }

    /// Whether the account has seen this message before.
    pub(crate) fn has_seen(&self, mark: Option<Mark>) -> bool {
        mark.is_some_and(|mark| {
            mark.repeatable == Repeatable::Recognised && self.recent.iter().any(|recent| *recent == mark.reference)
        })
    }

    /// Remembers a message that would be recognised.
    pub(crate) fn remember(&mut self, mark: Option<Mark>) {
        if let Some(mark) = mark.filter(|mark| mark.repeatable == Repeatable::Recognised) {
            if self.recent.len() >= RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(mark.reference);
        }
    }
}

impl Router {
    /// Removes what has been in the archives for longer than the settings say, a little at a time, so that the store's other
    /// writes are not held up. Called now and then by the life cycle.
    ///
    /// # Errors
    /// The store's.
    pub async fn expire_archives(&self) -> Result<(), stonechat_store::Error> {
        const STEP: usize = 500;
        /// How long a message that is sent again is recognised, and the count of a lost session is known.
        const MARKS: u64 = 3 * 24 * 3600 * 1000;
        let marks = self.millis().saturating_sub(MARKS);
        while self.inner.store.expire_marks(marks, STEP).await? >= STEP as u64 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let Some(keep) = self.settings().archive.keep else { return Ok(()) };
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let before = ArchiveId::first_at(self.millis().saturating_sub(keep));
        while self.inner.store.expire_archive(before, STEP).await? >= STEP as u64 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// What a message is known by: its origin-id (XEP-0359), or for retractions its `id`. An error merely brings those of
/// another message back.
pub(crate) fn mark(stanza: &Stanza) -> Option<Mark> {
    if stanza.stanza_type().is_error() {
        return None;
    }
    let (author, to) = (author(stanza)?, stanza.to()?);
    let origin = stanza.find_child("origin-id", ns::STANZA_ID).and_then(|child| stanza.child_element(child));
    let origin = origin.as_ref().and_then(|origin| origin.attribute("id")).filter(|id| !id.is_empty());
    let made = |id: &str| hashed(author, to.bare_str(), id);
    match (origin, stanza.id()) {
        (Some(origin), id) => {
            let named = id.map(|id| &**id).filter(|id| *id != origin).map(made);
            Some(Mark { reference: made(origin), repeatable: Repeatable::Recognised, named })
        }
        (None, Some(id)) => Some(Mark { reference: made(id), repeatable: Repeatable::No, named: None }),
        (None, None) => None,
    }
}

/// What the message is known by that this one retracts: found only when they have one author (XEP-0424 §5). Current clients
/// name the `id` (§5.1), older ones the origin-id; a message that has both is known by either.
pub(crate) fn retracted(retraction: &Stanza, target: &str) -> Option<Reference> {
    Some(hashed(author(retraction)?, retraction.to()?.bare_str(), target))
}

/// Whose a message is: the account's, but for what an occupant of a room says in private (XEP-0045 §7.5), where one bare
/// address is that of many. Such a message says so itself; one that does not is taken for the room's own.
fn author(stanza: &Stanza) -> Option<&str> {
    let from = stanza.from()?;
    Some(if is_of_occupant(stanza) { from.as_str() } else { from.bare_str() })
}

/// Whether a message is between an occupant of a room and somebody else.
pub(crate) fn is_of_occupant(stanza: &Stanza) -> bool {
    stanza.has_child("x", ns::MUC_USER)
}

/// The hash over who sent it to whom, and the id it was given. Whoever could make two of them equal could hide messages of
/// its own, and of nobody else.
pub(crate) fn reference(from: &BareJid, to: &BareJid, id: &str) -> Reference {
    hashed(from.as_str(), to.as_str(), id)
}

fn hashed(author: &str, to: &str, id: &str) -> Reference {
    let mut hash = Sha256::new();
    for part in [author, to] {
        hash.update(part.as_bytes());
        // No address has one.
        hash.update([0]);
    }
    hash.update(id.as_bytes());
    let digest = hash.finalize();
    let mut bytes = [0u8; 8];
    bytes.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    Reference(i64::from_be_bytes(bytes))
}

/// `<stanza-id/>` of an account's archive (XEP-0359 §3.1).
pub(crate) fn stanza_id(account: &BareJid, id: ArchiveId) -> Element {
    Element::new("stanza-id", ns::STANZA_ID).with_attribute("by", account.as_str()).with_attribute("id", id.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> Jid {
        Jid::parse(text).unwrap()
    }

    #[test]
    fn xep0191_5_1_entries_cover_what_is_below_them() {
        for (entry, address, expected) in [
            ("montague.lit", "romeo@montague.lit/balcony", Covered::Yes),
            ("montague.lit", "montague.lit", Covered::Yes),
            ("romeo@montague.lit", "romeo@montague.lit/balcony", Covered::Yes),
            ("romeo@montague.lit", "romeo@montague.lit", Covered::Yes),
            ("romeo@montague.lit/balcony", "romeo@montague.lit/balcony", Covered::Yes),
            ("romeo@montague.lit/balcony", "romeo@montague.lit/orchard", Covered::No),
            ("romeo@montague.lit/balcony", "romeo@montague.lit", Covered::No),
            ("romeo@montague.lit", "tybalt@montague.lit", Covered::No),
            ("montague.lit", "rooms.montague.lit", Covered::No),
            ("montague.lit/bot", "montague.lit/bot", Covered::Yes),
        ] {
            assert_eq!(covers(&jid(entry), &jid(address)), expected, "{entry} and {address}");
        }
    }

    fn message(from: &str, to: &str, id: &str, children: Vec<Element>) -> Stanza {
        use stonechat_stanza::{MessageType, StanzaType};
        let mut stanza = Stanza::build(StanzaType::Message(MessageType::Chat), children);
        let head = stanza.head_mut();
        (head.from, head.to, head.id) = (Some(jid(from)), Some(jid(to)), Some(id.into()));
        stanza
    }

    /// Whether `retraction` finds `message` by this id.
    fn finds(retraction: &Stanza, message: &Stanza, target: &str) -> bool {
        let mark = mark(message).unwrap();
        let wanted = retracted(retraction, target);
        wanted == Some(mark.reference) || (wanted.is_some() && wanted == mark.named)
    }

    #[test]
    fn xep0424_5_1_a_message_is_found_by_its_id_and_by_its_origin_id() {
        let origin = |id: &str| Element::new("origin-id", ns::STANZA_ID).with_attribute("id", id);
        let (romeo, juliet) = ("romeo@montague.lit/orchard", "juliet@capulet.lit/balcony");
        let retraction = message("romeo@montague.lit/phone", "juliet@capulet.lit", "r", Vec::new());
        let plain = message(romeo, juliet, "a", Vec::new());
        assert!(finds(&retraction, &plain, "a") && !finds(&retraction, &plain, "b"));
        let both = message(romeo, juliet, "a", vec![origin("b")]);
        assert!(finds(&retraction, &both, "a") && finds(&retraction, &both, "b"));
        assert_eq!(mark(&message(romeo, juliet, "a", vec![origin("a")])).unwrap().named, None);
    }

    #[test]
    fn xep0424_5_only_the_author_of_a_message_retracts_it() {
        let said = message("romeo@montague.lit/orchard", "juliet@capulet.lit", "a", Vec::new());
        let by = |from: &str, to: &str| finds(&message(from, to, "r", Vec::new()), &said, "a");
        assert!(by("romeo@montague.lit/phone", "juliet@capulet.lit/balcony"));
        assert!(!by("tybalt@capulet.lit/street", "juliet@capulet.lit"));
        assert!(!by("juliet@capulet.lit/balcony", "romeo@montague.lit"));
        assert!(!by("romeo@montague.lit/phone", "nurse@capulet.lit"));
        // Occupants of a room have one bare address.
        let private = || vec![Element::new("x", ns::MUC_USER)];
        let said = message("orchard@rooms.lit/romeo", "juliet@capulet.lit", "a", private());
        let by = |from: &str, children| finds(&message(from, "juliet@capulet.lit", "r", children), &said, "a");
        assert!(by("orchard@rooms.lit/romeo", private()));
        assert!(!by("orchard@rooms.lit/tybalt", private()));
        assert!(!by("orchard@rooms.lit/tybalt", Vec::new()));
    }

    #[test]
    fn xep0441_2_preferences_read_what_they_wrote_and_refuse_the_rest() {
        let preferences = ArchivePreferences {
            default: ArchiveDefault::Roster,
            always: vec![jid("romeo@montague.lit")],
            never: vec![jid("montague.lit"), jid("tybalt@capulet.lit/street")],
        };
        assert_eq!(ArchivePreferences::from_element(&preferences.to_element()), Ok(preferences));
        let wrong = Element::new("prefs", ns::MAM).with_attribute("default", "sometimes");
        assert_eq!(ArchivePreferences::from_element(&wrong).unwrap_err().condition, StanzaCondition::BadRequest);
    }
}
