//! Which other domains this server speaks with, by the operator's word (abuse case 137): all but those that are denied, or
//! those alone that are allowed. An entry means its domain and everything below it, as rooms and other services are.
//!
//! It is asked for each stanza and each stream, and can change while they live: what is refused then ends at once.

use stonechat_jid::Domain;
use stonechat_stanza::{StanzaCondition, StanzaError, StreamCondition, StreamError};

/// The two lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Refused, whatever `allow` says.
    pub deny: Vec<Domain>,
    /// When it has entries, everybody else is refused.
    pub allow: Vec<Domain>,
}

/// Why a domain is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is on the one list.
    Denied,
    /// It is not on the other.
    NotAllowed,
}

impl Access {
    /// Why this domain is refused; `None` when it is not.
    pub fn refusal(&self, domain: &Domain) -> Option<Refusal> {
        let listed = |list: &[Domain]| list.iter().any(|entry| covers(entry, domain));
        if listed(&self.deny) {
            Some(Refusal::Denied)
        } else if !self.allow.is_empty() && !listed(&self.allow) {
            Some(Refusal::NotAllowed)
        } else {
            None
        }
    }
}

fn covers(entry: &Domain, domain: &Domain) -> bool {
    domain.as_str().strip_suffix(entry.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

impl Refusal {
    /// For the operator.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Refusal::Denied => {
                "refused: [s2s] deny in the configuration names it; nothing is sent to it or taken from it"
            }
            Refusal::NotAllowed => {
                "refused: [s2s] allow in the configuration does not name it; nothing is sent to it or taken from it"
            }
        }
    }
}

/// For the sender of a stanza. It is told of a policy, and not what the lists are.
pub(crate) fn stanza_error(domain: &Domain) -> StanzaError {
    StanzaError::new(StanzaCondition::NotAllowed).with_text(format!("this server does not speak with {domain}"))
}

/// For the other server.
pub(crate) fn stream_error(domain: &Domain) -> StreamError {
    StreamError::new(StreamCondition::PolicyViolation).with_text(format!("this server does not speak with {domain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn abuse_137_an_entry_means_its_domain_and_what_is_below() {
        let deny = Access { deny: vec![domain("bad.example")], allow: Vec::new() };
        for (name, refused) in [
            ("bad.example", true),
            ("rooms.bad.example", true),
            ("BAD.example", true),
            ("notbad.example", false),
            ("example", false),
            ("bad.example.org", false),
        ] {
            assert_eq!(deny.refusal(&domain(name)).is_some(), refused, "{name}");
        }
        let both = Access { deny: vec![domain("spam.good.example")], allow: vec![domain("good.example")] };
        assert_eq!(both.refusal(&domain("good.example")), None);
        assert_eq!(both.refusal(&domain("rooms.good.example")), None);
        assert_eq!(both.refusal(&domain("spam.good.example")), Some(Refusal::Denied));
        assert_eq!(both.refusal(&domain("other.example")), Some(Refusal::NotAllowed));
        assert_eq!(Access::default().refusal(&domain("other.example")), None);
    }
}
