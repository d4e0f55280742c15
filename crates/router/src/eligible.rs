//! Which errors other sessions get copies of (XEP-0280 §6.1): those that answer a message which was eligible itself.
//!
//! An error names its message by the `id` alone and need not bring it back (RFC 6120 §8.3.1). So an account remembers the
//! ids of its newest eligible messages, sent and received. After a restart these are the messages that would be recognised
//! if they were sent again, of which nothing but that is known any more.

use crate::account::Loaded;
use crate::archive::{is_of_occupant, reference};
use stonechat_im::classify::{Classification, message_type};
use stonechat_jid::BareJid;
use stonechat_stanza::{MessageType, Stanza};
use stonechat_store::{Mark, Reference};

/// More than an account is told errors about late.
const REMEMBERED: usize = 256;

impl Loaded {
    /// What a message is to this account.
    pub(crate) fn classify(&self, message: &Stanza) -> Classification {
        let classification = Classification::of(message);
        if message_type(message) == MessageType::Error
            && answered(message).is_some_and(|answered| self.eligible.contains(&answered))
        {
            return classification.answering_copied();
        }
        classification
    }

    /// Remembers a message that is eligible for copies. `mark` is what it is known by when it is sent again: mostly the
    /// same, and then it is not hashed twice.
    pub(crate) fn remember_eligible(&mut self, message: &Stanza, mark: Option<Mark>) {
        if message_type(message) == MessageType::Error {
            return;
        }
        let (Some(from), Some(to), Some(id)) = (message.from(), message.to(), message.id()) else { return };
        let mark = mark.filter(|_| !is_of_occupant(message));
        let reference = match (mark, stonechat_im::reference::origin_id(message)) {
            (Some(mark), None) => mark.reference,
            (Some(mark), Some(origin)) if *origin == **id => mark.reference,
            _ => reference(&from.to_bare(), &to.to_bare(), id),
        };
        if self.eligible.len() >= REMEMBERED {
            self.eligible.pop_front();
        }
        self.eligible.push_back(reference);
    }
}

/// The message that an error answers: it went the other way.
fn answered(error: &Stanza) -> Option<Reference> {
    let (from, to): (BareJid, BareJid) = (error.from()?.to_bare(), error.to()?.to_bare());
    Some(reference(&to, &from, error.id()?))
}
