//! What is done with a bound client's stanza before anybody else sees it: it is stamped, and what only the server may say
//! is cut (P5).

use crate::Hosts;
use crate::forged::{Origin, cut};
use stonechat_jid::{FullJid, Jid};
use stonechat_stanza::{IqType, Stanza, StanzaType, StreamCondition, ns};

/// Stamps the sender (RFC 6120 §8.1.2.1) and cuts forged children.
pub(super) fn stamp(mut stanza: Stanza, sender: &FullJid, hosts: &dyn Hosts) -> Result<Stanza, StreamCondition> {
    // RFC 6120 §4.9.3.9: the client may say nothing, its full address, or its bare one.
    if let Some(from) = stanza.from()
        && from != sender.as_jid()
        && *from != Jid::from(sender.to_bare())
    {
        return Err(StreamCondition::InvalidFrom);
    }
    stanza.head_mut().from = Some(sender.as_jid().clone());
    Ok(cut(stanza, Origin::Client, hosts))
}

/// Whether an IQ is for the stream itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ours {
    No,
    /// A second bind.
    Bind,
    /// RFC 3921's session establishment.
    Session,
}

pub(super) fn of_the_stream(stanza: &Stanza, sender: &FullJid) -> Ours {
    if stanza.stanza_type() != StanzaType::Iq(IqType::Set) {
        return Ours::No;
    }
    let to_server = stanza.to().is_none_or(|to| to.is_domain() && to.domain() == sender.domain());
    if to_server && stanza.has_child("bind", ns::BIND) {
        Ours::Bind
    } else if to_server && stanza.has_child("session", ns::SESSION) {
        Ours::Session
    } else {
        Ours::No
    }
}
