//! XEP-0199: XMPP Ping: of domains by anybody; of accounts, which the server answers for (§4.2), by those who may see their
//! presence: to others an answer would tell that the account is there. Clients answer their own.

use stonechat_router::{Context, Extension, Info, IqAnswer, IqKind, IqRequest, IqTarget, Place, Registrar, Relation};
use stonechat_stanza::{StanzaCondition, ns};

pub(crate) struct Ping;

impl Extension for Ping {
    const INFO: Info = Info { xep: 199, name: "XMPP Ping", version: "2.0.1", note: "domains and accounts" };

    fn install(self, registrar: &mut Registrar) {
        for place in [Place::Domain, Place::Account] {
            registrar.disco_feature(place, ns::PING);
            registrar.iq(place, IqKind::Get, ns::PING, "ping", pong);
        }
    }
}

async fn pong(_context: Context, request: IqRequest) -> IqAnswer {
    match (request.target, request.relation) {
        (IqTarget::Account(_), Relation::Stranger) => Err(StanzaCondition::ServiceUnavailable.into()),
        _ => Ok(None),
    }
}
