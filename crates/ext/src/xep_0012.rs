//! XEP-0012: Last Activity: of a domain its uptime, of an account the time since its last session ended (§4, §3).
//!
//! Only who may see an account's presence is told; anybody else is forbidden, whether the account is there or not (§8).

use stonechat_router::{
    AccountPresence, Context, Extension, Info, IqAnswer, IqKind, IqRequest, IqTarget, Place, Registrar, Relation,
};
use stonechat_stanza::{StanzaCondition, ns};
use stonechat_xml::Element;

pub(crate) struct LastActivity;

impl Extension for LastActivity {
    const INFO: Info = Info {
        xep: 12,
        name: "Last Activity",
        version: "2.0",
        note: "accounts, with the last status; the server's uptime",
    };

    fn install(self, registrar: &mut Registrar) {
        for place in [Place::Domain, Place::Account] {
            registrar.disco_feature(place, ns::LAST);
            registrar.iq(place, IqKind::Get, ns::LAST, "query", last);
        }
    }
}

async fn last(context: Context, request: IqRequest) -> IqAnswer {
    let answer = |seconds: u64, status: String| {
        let query = Element::new("query", ns::LAST).with_attribute("seconds", seconds.to_string());
        Ok(Some(if status.is_empty() { query } else { query.with_text(status) }))
    };
    match request.target {
        IqTarget::Domain(_) => answer(context.uptime().as_secs(), String::new()),
        IqTarget::Account(_) if request.relation == Relation::Stranger => Err(StanzaCondition::Forbidden.into()),
        IqTarget::Account(account) => match context.presence(&account).await {
            AccountPresence::Available => answer(0, String::new()),
            AccountPresence::Away { since: Some(since), status } => {
                answer(context.unix().saturating_sub(since).as_secs(), status)
            }
            AccountPresence::Away { since: None, .. } => Err(StanzaCondition::ItemNotFound.into()),
            AccountPresence::Absent => Err(StanzaCondition::Forbidden.into()),
        },
    }
}
