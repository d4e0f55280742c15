//! XEP-0357: Push Notifications: a device registers with its application server (§5). When devices are woken is decided on
//! the path of a message; a registration ends when the client ends it, or the application server refuses for good.

use stonechat_jid::Jid;
use stonechat_router::{
    AccountError, Context, Extension, Info, IqAnswer, IqKind, IqRequest, IqTarget, Place, Registrar, Relation,
};
use stonechat_stanza::{StanzaCondition, StanzaError, ns};
use stonechat_store::{Error, PushRegistration};
use tracing::error;

pub(crate) struct Push;

/// Bytes of a node's name, and of the options.
const MAX_NODE: usize = 1_024;
const MAX_OPTIONS: usize = 4_096;

impl Extension for Push {
    const INFO: Info = Info {
        xep: 357,
        name: "Push Notifications",
        version: "0.4.1",
        note: "for devices that are away, wait to be resumed or are inactive; without content",
    };

    fn install(self, registrar: &mut Registrar) {
        registrar.disco_feature(Place::Account, ns::PUSH);
        registrar.iq(Place::Account, IqKind::Set, ns::PUSH, "enable", enable);
        registrar.iq(Place::Account, IqKind::Set, ns::PUSH, "disable", disable);
    }
}

fn service(request: &IqRequest) -> Result<Jid, StanzaError> {
    let jid = request.payload.attribute("jid").ok_or(StanzaCondition::BadRequest)?;
    Ok(Jid::parse(jid).map_err(|_| StanzaCondition::JidMalformed)?)
}

fn refused(source: AccountError) -> StanzaError {
    match source {
        AccountError::Store(Error::Full(_)) => {
            StanzaError::new(StanzaCondition::ResourceConstraint).with_text("too many devices are registered")
        }
        AccountError::NotFound => StanzaCondition::ItemNotFound.into(),
        source => {
            error!(event = "push.write_failed", %source, "a registration could not be written");
            StanzaCondition::InternalServerError.into()
        }
    }
}

async fn enable(context: Context, request: IqRequest) -> IqAnswer {
    let (IqTarget::Account(account), Relation::Owner, Some(_)) = (&request.target, request.relation, request.session)
    else {
        return Err(StanzaCondition::Forbidden.into());
    };
    let service = service(&request)?;
    let node = request.payload.attribute("node").unwrap_or_default().to_owned();
    // §5: the options go with each notification; their FORM_TYPE says that they are publish-options.
    let options = request.payload.child("x", ns::DATA_FORMS).map(|form| form.to_xml().into_bytes());
    if node.len() > MAX_NODE || options.as_ref().is_some_and(|options| options.len() > MAX_OPTIONS) {
        return Err(StanzaCondition::PolicyViolation.into());
    }
    let resource = request.from.resource().unwrap_or_default().to_owned();
    let registration = PushRegistration { service, node, options, resource };
    context.register_push(account, registration).await.map_err(refused)?;
    Ok(None)
}

async fn disable(context: Context, request: IqRequest) -> IqAnswer {
    let (IqTarget::Account(account), Relation::Owner) = (&request.target, request.relation) else {
        return Err(StanzaCondition::Forbidden.into());
    };
    let service = service(&request)?;
    // §5.2: without a node, all of that service.
    let node = request.payload.attribute("node").map(str::to_owned);
    context.remove_push(account, service, node).await.map_err(refused)?;
    Ok(None)
}
