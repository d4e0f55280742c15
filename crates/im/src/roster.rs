//! Rosters (RFC 6121 §2): items, what a client may set, and versions (§2.6).
//!
//! A version is a counter of the roster's changes, written as an opaque text. Each item carries the version of its last
//! change and removals are remembered back to a horizon, so that a client is sent what changed since the version it has.
//!
//! Deliberately absent: who may ask (a client gets and sets its own roster only), storing, sending.

use crate::subscription::Subscription;
use stonechat_jid::BareJid;
use stonechat_stanza::{StanzaCondition, StanzaError, ns};
use stonechat_xml::Element;

/// Longest handle or group name in bytes.
pub const MAX_NAME: usize = 1023;
/// Most groups of one item.
pub const MAX_GROUPS: usize = 64;

/// One contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterItem {
    /// Address.
    pub jid: BareJid,
    /// Handle.
    pub name: Option<String>,
    /// Groups, in the client's order.
    pub groups: Vec<String>,
    /// State of the subscription.
    pub subscription: Subscription,
    /// Whether clients are shown it. An item that only holds a request of the contact is not (RFC 6121 §3.1.3); a
    /// pre-approval is shown (§3.4.1).
    pub listed: bool,
    /// The version of its last change.
    pub version: u64,
    /// The pending `subscribe` stanza as XML, delivered again at each login.
    pub request: Option<Vec<u8>>,
}

/// What a client asked to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RosterSet {
    /// Add the item, or change its handle and groups.
    Update {
        /// Contact.
        jid: BareJid,
        /// New handle.
        name: Option<String>,
        /// New groups.
        groups: Vec<String>,
    },
    /// Remove the item, cancelling subscriptions in both directions.
    Remove {
        /// Contact.
        jid: BareJid,
    },
}

impl RosterItem {
    /// An item nothing is known of yet.
    pub fn new(jid: BareJid) -> Self {
        RosterItem {
            jid,
            name: None,
            groups: Vec::new(),
            subscription: Subscription::default(),
            listed: false,
            version: 0,
            request: None,
        }
    }

    /// `<item/>` as clients see it (RFC 6121 §2.1.2).
    pub fn to_element(&self) -> Element {
        let mut item = Element::new("item", ns::ROSTER)
            .with_attribute("jid", self.jid.as_str())
            .with_attribute_if("name", self.name.as_deref())
            .with_attribute("subscription", self.subscription.name());
        if self.subscription.pending_out {
            item = item.with_attribute("ask", "subscribe");
        }
        if self.subscription.approved {
            item = item.with_attribute("approved", "true");
        }
        item.with_children(self.groups.iter().map(|group| Element::new("group", ns::ROSTER).with_text(group.clone())))
    }
}

/// The item of a push that says a contact is gone.
pub fn removed_element(jid: &BareJid) -> Element {
    Element::new("item", ns::ROSTER).with_attribute("jid", jid.as_str()).with_attribute("subscription", "remove")
}

/// Reads a client's roster set (RFC 6121 §2.3.3 for the errors).
pub fn parse_set(query: &Element) -> Result<RosterSet, StanzaError> {
    let bad = || StanzaError::new(StanzaCondition::BadRequest);
    let not_acceptable = |text| StanzaError::new(StanzaCondition::NotAcceptable).with_text(text);
    let mut items = query.children();
    // RFC 6121 §2.1.5: exactly one item.
    let (Some(item), None) = (items.next(), items.next()) else {
        return Err(bad());
    };
    if !item.is("item", ns::ROSTER) {
        return Err(bad());
    }
    let jid = item.attribute("jid").ok_or_else(bad)?;
    let jid = BareJid::parse(jid).map_err(|_| StanzaError::new(StanzaCondition::JidMalformed))?;
    if item.attribute("subscription") == Some("remove") {
        return Ok(RosterSet::Remove { jid });
    }
    let name = item.attribute("name").filter(|name| !name.is_empty()).map(str::to_owned);
    if name.as_ref().is_some_and(|name| name.len() > MAX_NAME) {
        return Err(not_acceptable("the name is too long"));
    }
    let mut groups: Vec<String> = Vec::new();
    for group in item.children().filter(|child| child.is("group", ns::ROSTER)) {
        let group = group.text();
        if group.is_empty() {
            return Err(not_acceptable("a group needs a name"));
        }
        if group.len() > MAX_NAME {
            return Err(not_acceptable("the name of a group is too long"));
        }
        if groups.contains(&group) {
            return Err(bad());
        }
        if groups.len() >= MAX_GROUPS {
            return Err(not_acceptable("too many groups"));
        }
        groups.push(group);
    }
    Ok(RosterSet::Update { jid, name, groups })
}

/// What a roster get with a version is answered with (RFC 6121 §2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionAnswer {
    /// The client has the newest version: an empty result.
    Unchanged,
    /// An empty result, then a push for each change after this version.
    Changes {
        /// The client's version.
        since: u64,
    },
    /// The whole roster.
    Whole,
}

/// Decides it. `horizon` is the oldest version from which removals are known in full.
pub fn version_answer(client: Option<&str>, current: u64, horizon: u64) -> VersionAnswer {
    // A version that we did not make (abuse case 85), that is from the future or too old, gets the whole roster. The empty
    // one says that the client has nothing (§2.6.2).
    match client.and_then(parse_version) {
        Some(version) if version == current => VersionAnswer::Unchanged,
        Some(version) if version < current && version >= horizon => VersionAnswer::Changes { since: version },
        _ => VersionAnswer::Whole,
    }
}

/// A version for the wire.
pub fn version_text(version: u64) -> String {
    format!("r{version}")
}

fn parse_version(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('r')?;
    // Only what we would write ourselves: no signs, no leading zeros.
    digits.parse().ok().filter(|version| version_text(*version) == text)
}

/// One change of a roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RosterChange<'a> {
    /// An item was added or changed.
    Changed(&'a RosterItem),
    /// A contact was removed, at this version.
    Removed(&'a BareJid, u64),
}

impl RosterChange<'_> {
    /// The version of the change: the `ver` of its push.
    pub fn version(&self) -> u64 {
        match self {
            RosterChange::Changed(item) => item.version,
            RosterChange::Removed(_, version) => *version,
        }
    }
    /// The item of the push.
    pub fn to_element(&self) -> Element {
        match self {
            RosterChange::Changed(item) => item.to_element(),
            RosterChange::Removed(jid, _) => removed_element(jid),
        }
    }
}

/// What [`VersionAnswer::Changes`] asks for: the changes after `since`, oldest first. Items that are not listed are left out.
pub fn changes<'a>(
    since: u64,
    items: impl IntoIterator<Item = &'a RosterItem>,
    removed: &'a [(BareJid, u64)],
) -> Vec<RosterChange<'a>> {
    let changed = items.into_iter().filter(|item| item.listed && item.version > since).map(RosterChange::Changed);
    let removed = removed.iter().filter(|(_, at)| *at > since).map(|(jid, at)| RosterChange::Removed(jid, *at));
    let mut changes: Vec<RosterChange<'a>> = changed.chain(removed).collect();
    changes.sort_by_key(RosterChange::version);
    changes
}
