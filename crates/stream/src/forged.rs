//! What only this server may say, cut from what others send (P5).
//!
//! What another server says about itself stays: a room's occupant-id, its archive's results, the delay that a gateway
//! stamped. A client is believed less than a server.

use crate::Hosts;
use crate::wire::{Ownership, is_ours};
use stonechat_stanza::{ChildRef, Keep, Stanza, ns};

/// Who sent the stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// One of our clients.
    Client,
    /// Another server, for its own domain.
    Server,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// Nothing that is ours to say.
    None,
    /// Ours when this attribute names a domain of ours.
    By(&'static str),
    /// Ours whatever it says.
    Always,
}

fn claim(child: &ChildRef, origin: Origin) -> Claim {
    match (&*child.namespace, &*child.name) {
        (ns::DELAY, "delay") => Claim::By("from"),
        // XEP-0359 §5: removed when it claims to be by an entity of this server.
        (ns::STANZA_ID, "stanza-id") => Claim::By("by"),
        // XEP-0280 §11: carbons are believed from one's own account only, and that is here.
        (ns::CARBONS, "received" | "sent") => Claim::Always,
        (ns::OCCUPANT_ID, "occupant-id") | (ns::MAM, "result" | "fin") if origin == Origin::Client => Claim::Always,
        _ => Claim::None,
    }
}

/// The stanza without what only we may say.
pub(crate) fn cut(stanza: Stanza, origin: Origin, hosts: &dyn Hosts) -> Stanza {
    if stanza.children().iter().all(|child| claim(child, origin) == Claim::None) {
        return stanza;
    }
    stanza.without_children(|stanza, child| {
        let forged = match claim(child, origin) {
            Claim::None => false,
            Claim::Always => true,
            Claim::By(attribute) => stanza.child_element(child).is_none_or(|element| {
                element.attribute(attribute).is_some_and(|address| is_ours(hosts, address) == Ownership::Ours)
            }),
        };
        if forged { Keep::Removed } else { Keep::Kept }
    })
}
