//! XEP-0054: vcard-temp: written by its owner, read by anybody, also while the owner is away.

use crate::xep_0049::store_error;
use stonechat_router::{Context, Extension, Info, IqAnswer, IqKind, IqRequest, IqTarget, Place, Registrar, Relation};
use stonechat_stanza::{StanzaCondition, ns};
use stonechat_store::XmlKind;
use stonechat_xml::Element;

pub(crate) struct VCard;

impl Extension for VCard {
    const INFO: Info = Info { xep: 54, name: "vcard-temp", version: "1.3.0", note: "of accounts" };

    fn install(self, registrar: &mut Registrar) {
        registrar.disco_feature(Place::Domain, ns::VCARD);
        registrar.disco_feature(Place::Account, ns::VCARD);
        registrar.iq(Place::Account, IqKind::Get, ns::VCARD, "vCard", get);
        registrar.iq(Place::Account, IqKind::Set, ns::VCARD, "vCard", set);
    }
}

async fn get(context: Context, request: IqRequest) -> IqAnswer {
    let IqTarget::Account(account) = &request.target else { return Err(StanzaCondition::ServiceUnavailable.into()) };
    let id = context.account_id(account).await.ok_or(StanzaCondition::ServiceUnavailable)?;
    let stored = context.store().xml(id, XmlKind::VCard, "").await.map_err(|source| store_error(&source))?;
    match stored.and_then(|bytes| Element::parse(&bytes, "").ok()) {
        Some(card) => Ok(Some(card)),
        // §3.1: one's own that was never written is empty.
        None if request.relation == Relation::Owner => Ok(Some(Element::new("vCard", ns::VCARD))),
        // §3.3 leaves the choice; this is what an account that does not exist answers.
        None => Err(StanzaCondition::ServiceUnavailable.into()),
    }
}

async fn set(context: Context, request: IqRequest) -> IqAnswer {
    let (IqTarget::Account(account), Relation::Owner) = (&request.target, request.relation) else {
        return Err(StanzaCondition::Forbidden.into());
    };
    let id = context.account_id(account).await.ok_or(StanzaCondition::ServiceUnavailable)?;
    let limit = context.settings().max_documents;
    context
        .store()
        .put_xml(id, XmlKind::VCard, "", Some(request.payload.to_xml().into_bytes()), limit)
        .await
        .map_err(|source| store_error(&source))?;
    Ok(None)
}
