//! XEP-0199: XMPP Ping, for domains and accounts. Clients answer their own.

use stonechat_router::{Context, Extension, Info, IqAnswer, IqKind, IqRequest, Place, Registrar};
use stonechat_stanza::ns;

pub(crate) struct Ping;

impl Extension for Ping {
    const INFO: Info = Info { xep: 199, name: "XMPP Ping", version: "2.0.1", note: "" };

    fn install(self, registrar: &mut Registrar) {
        for place in [Place::Domain, Place::Account] {
            registrar.disco_feature(place, ns::PING);
            registrar.iq(place, IqKind::Get, ns::PING, "ping", pong);
        }
    }
}

async fn pong(_context: Context, _request: IqRequest) -> IqAnswer {
    Ok(None)
}
