//! What is done with a bound client's stanza before anybody else sees it: it is stamped, and what only the server may say
//! is cut (P5).

use stonechat_jid::{FullJid, Jid};
use stonechat_stanza::{ChildRef, IqType, Keep, Stanza, StanzaType, StreamCondition, ns};

/// Stamps the sender (RFC 6120 §8.1.2.1) and cuts forged children.
pub(super) fn stamp(mut stanza: Stanza, sender: &FullJid) -> Result<Stanza, StreamCondition> {
    // RFC 6120 §4.9.3.9: the client may say nothing, its full address, or its bare one.
    if let Some(from) = stanza.from()
        && from != sender.as_jid()
        && *from != Jid::from(sender.to_bare())
    {
        return Err(StreamCondition::InvalidFrom);
    }
    stanza.head_mut().from = Some(sender.as_jid().clone());
    if stanza.children().iter().any(|child| is_servers_word(child) == Claim::Possible) {
        stanza = stanza.without_children(|stanza, child| forged(stanza, child, sender));
    }
    Ok(stanza)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    Possible,
    No,
}

/// By its name alone: whether it could be something that only a server says.
fn is_servers_word(child: &ChildRef) -> Claim {
    match (&*child.namespace, &*child.name) {
        (ns::DELAY, "delay")
        | (ns::STANZA_ID, "stanza-id")
        | (ns::OCCUPANT_ID, "occupant-id")
        | (ns::CARBONS, "received" | "sent")
        | (ns::MAM, "result" | "fin") => Claim::Possible,
        _ => Claim::No,
    }
}

fn forged(stanza: &Stanza, child: &ChildRef, sender: &FullJid) -> Keep {
    if is_servers_word(child) == Claim::No {
        return Keep::Kept;
    }
    let by = match &*child.name {
        "delay" => "from",
        "stanza-id" => "by",
        _ => return Keep::Removed,
    };
    // Somebody else's word stays: a client may forward what a room or a gateway stamped.
    let claimed =
        stanza.child_element(child).and_then(|element| element.attribute(by).and_then(|text| Jid::parse(text).ok()));
    match claimed {
        Some(claimed) if claimed.domain() == sender.domain() => Keep::Removed,
        _ => Keep::Kept,
    }
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

pub(super) fn of_the_stream(stanza: &Stanza) -> Ours {
    if stanza.stanza_type() != StanzaType::Iq(IqType::Set) {
        return Ours::No;
    }
    let to_server = stanza.to().is_none_or(Jid::is_domain);
    if to_server && stanza.has_child("bind", ns::BIND) {
        Ours::Bind
    } else if to_server && stanza.has_child("session", ns::SESSION) {
        Ours::Session
    } else {
        Ours::No
    }
}
