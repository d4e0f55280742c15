//! IQs that the server answers: for a served domain, and on behalf of an account (RFC 6121 §8.5.2.1.3).

use crate::account::Cell;
use crate::{IqKind, IqRequest, IqTarget, Place, Relation, Router, SessionId, Turn};
use futures_util::FutureExt;
use smallvec::SmallVec;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use stonechat_jid::Jid;
use stonechat_stanza::{IqType, Keep, Stanza, StanzaCondition, StanzaError, StanzaType, ns};
use stonechat_xml::Element;
use tracing::error;

/// The error for a request; without the request itself where that holds a password (XEP-0077 §3.3).
fn refusal(stanza: &Stanza, error: &StanzaError) -> Option<Stanza> {
    let reply = stanza.error_reply(error)?;
    Some(reply.without_children(
        |_, child| {
            if child.namespace.as_str() == ns::REGISTER { Keep::Removed } else { Keep::Kept }
        },
    ))
}

impl Router {
    /// Answers an IQ get or set to a served domain or an account's bare address: the reply, then what follows it.
    /// `cell` is the account it addresses; for an IQ without a recipient, the sender's own.
    pub(crate) async fn answer(
        &self,
        cell: &Arc<Cell>,
        session: Option<SessionId>,
        from: &Jid,
        stanza: &Stanza,
        turn: &mut Turn,
    ) -> SmallVec<[Stanza; 1]> {
        let mut replies = SmallVec::new();
        let kind = match stanza.stanza_type() {
            StanzaType::Iq(IqType::Get) => IqKind::Get,
            StanzaType::Iq(IqType::Set) => IqKind::Set,
            _ => return replies,
        };
        let mut follow = SmallVec::new();
        // RFC 6120 §8.2.3: exactly one child; the edge has refused others.
        let answer = match stanza.elements().into_iter().next() {
            Some(payload) => self.dispatch(cell, session, from, stanza.to(), kind, payload, turn, &mut follow).await,
            None => Err(StanzaCondition::BadRequest.into()),
        };
        match answer {
            Ok(payload) => replies.push(stanza.iq_result(payload)),
            Err(error) => replies.extend(refusal(stanza, &error)),
        }
        replies.extend(follow);
        replies
    }

    #[expect(clippy::too_many_arguments, reason = "one IQ's parts, read once")]
    async fn dispatch(
        &self,
        cell: &Arc<Cell>,
        session: Option<SessionId>,
        from: &Jid,
        to: Option<&Jid>,
        kind: IqKind,
        payload: Element,
        turn: &mut Turn,
        follow: &mut SmallVec<[Stanza; 1]>,
    ) -> Result<Option<Element>, StanzaError> {
        let unavailable = || StanzaError::new(StanzaCondition::ServiceUnavailable);
        let (target, relation) = match to {
            Some(to) if to.local().is_none() => {
                let local = from.local().is_some() && self.serves_address(from);
                let relation = if local { Relation::Subscriber } else { Relation::Stranger };
                (IqTarget::Domain(to.to_domain()), relation)
            }
            Some(to) => {
                let bare = to.to_bare();
                // An account that is not there knows nobody: its handlers answer what they answer any stranger, so that no
                // answer tells which names exist (XEP-0012 §8, XEP-0054 §3.3; RFC 6121 §8.5.1 where nobody handles it).
                let relation = match self.loaded(&bare).await {
                    // XEP-0191 §3.2: nobody is there for whom the account blocks.
                    Some(addressed) if addressed.lock().loaded().is_some_and(|loaded| loaded.blocks(from)) => {
                        return Err(unavailable());
                    }
                    Some(addressed) => addressed.relation(&from.to_bare()),
                    None => Relation::Stranger,
                };
                (IqTarget::Account(bare), relation)
            }
            None => (IqTarget::Account(cell.jid.clone()), Relation::Owner),
        };
        if payload.namespace() == ns::ROSTER && payload.name() == "query" {
            // RFC 6121 §2: the roster is its owner's alone, and asked for by a bound session.
            return match (&target, relation, session) {
                (IqTarget::Account(_), Relation::Owner, Some(session)) => match kind {
                    IqKind::Get => self.roster_get(cell, session, &payload, follow),
                    IqKind::Set => self.roster_set(cell, &payload, turn).await,
                },
                (IqTarget::Account(_), ..) => Err(StanzaCondition::Forbidden.into()),
                (IqTarget::Domain(_), ..) => Err(unavailable()),
            };
        }
        let place = match &target {
            IqTarget::Domain(_) => Place::Domain,
            IqTarget::Account(_) => Place::Account,
        };
        let handler = self
            .registry()
            .handler(place, kind, payload.namespace(), payload.name())
            .cloned()
            .ok_or_else(unavailable)?;
        let request = IqRequest { from: from.clone(), session, relation, target, kind, payload };
        turn.flush();
        // P6: a handler's panic costs its request, not the server.
        match AssertUnwindSafe(handler.call(self.context(), request)).catch_unwind().await {
            Ok(answer) => answer,
            Err(_) => {
                error!(event = "extension.panicked", "an IQ handler panicked");
                Err(StanzaCondition::InternalServerError.into())
            }
        }
    }

    /// Answers `jabber:iq:register` before authentication (XEP-0077 §3.1).
    pub async fn answer_registration(&self, domain: &stonechat_jid::Domain, stanza: &Stanza) -> Option<Stanza> {
        let kind = match stanza.stanza_type() {
            StanzaType::Iq(IqType::Get) => IqKind::Get,
            StanzaType::Iq(IqType::Set) => IqKind::Set,
            _ => return None,
        };
        let unavailable = StanzaError::new(StanzaCondition::ServiceUnavailable);
        let Some(handler) = self.registry().registration.clone() else { return refusal(stanza, &unavailable) };
        let Some(payload) = stanza.elements().into_iter().next() else {
            return refusal(stanza, &StanzaCondition::BadRequest.into());
        };
        let request = IqRequest {
            from: domain.into(),
            session: None,
            relation: Relation::Stranger,
            target: IqTarget::Domain(domain.clone()),
            kind,
            payload,
        };
        match AssertUnwindSafe(handler.call(self.context(), request)).catch_unwind().await {
            Ok(Ok(payload)) => Some(stanza.iq_result(payload)),
            Ok(Err(error)) => refusal(stanza, &error),
            Err(_) => refusal(stanza, &StanzaCondition::InternalServerError.into()),
        }
    }

    /// Whether anybody may register before authentication.
    pub fn offers_registration(&self) -> crate::RegistrationMode {
        match self.registry().registration {
            Some(_) => self.settings().registration,
            None => crate::RegistrationMode::Closed,
        }
    }

    /// The stream features extensions show on a domain before authentication.
    pub fn features_before_authentication(&self, domain: &stonechat_jid::Domain) -> Vec<Element> {
        let context = self.context();
        self.registry().before_authentication.iter().filter_map(|feature| feature(&context, domain)).collect()
    }

    /// The stream features extensions show on a domain after authentication.
    pub fn features_after_authentication(&self, domain: &stonechat_jid::Domain) -> Vec<Element> {
        let context = self.context();
        self.registry().after_authentication.iter().filter_map(|feature| feature(&context, domain)).collect()
    }
}
