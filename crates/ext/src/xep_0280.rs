//! XEP-0280: Message Carbons: a session asks for copies of what its account sends and receives elsewhere (§4, §5). Which
//! messages are copied, and to whom, is the delivery plan's to say.

use stonechat_router::{
    Carbons as Copies, Context, Extension, Info, IqAnswer, IqKind, IqRequest, IqTarget, Place, Registrar, Relation,
};
use stonechat_stanza::{StanzaCondition, ns};

pub(crate) struct Carbons;

impl Extension for Carbons {
    const INFO: Info = Info {
        xep: 280,
        name: "Message Carbons",
        version: "1.0.1",
        note: "by the rules of urn:xmpp:carbons:rules:0; kept while a session waits to be resumed",
    };

    fn install(self, registrar: &mut Registrar) {
        registrar.disco_feature(Place::Domain, ns::CARBONS);
        // §6.2: the rules of §6.1 hold, all of them and no others.
        registrar.disco_feature(Place::Domain, ns::CARBONS_RULES);
        registrar.iq(Place::Account, IqKind::Set, ns::CARBONS, "enable", enable);
        registrar.iq(Place::Account, IqKind::Set, ns::CARBONS, "disable", disable);
    }
}

async fn enable(context: Context, request: IqRequest) -> IqAnswer {
    set(&context, &request, Copies::Enabled)
}

async fn disable(context: Context, request: IqRequest) -> IqAnswer {
    set(&context, &request, Copies::Disabled)
}

fn set(context: &Context, request: &IqRequest, copies: Copies) -> IqAnswer {
    match (&request.target, request.relation, request.session) {
        (IqTarget::Account(account), Relation::Owner, Some(session)) => {
            context.set_carbons(account, session, copies);
            Ok(None)
        }
        _ => Err(StanzaCondition::NotAllowed.into()),
    }
}
