//! XEP-0054: vcard-temp: written by its owner, read by anybody, also while the owner is away (§3).
//!
//! Not built: vCards of the domain itself.

use crate::kept;
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
    let card = match context.account_id(account).await {
        Some(id) => kept::read(&context, id, XmlKind::VCard, "").await?,
        None => None,
    };
    match card {
        Some(card) => Ok(Some(card)),
        // §3.1: one's own that was never written is empty.
        None if request.relation == Relation::Owner => Ok(Some(Element::new("vCard", ns::VCARD))),
        // §3.3: the same whether there is no vCard or no account.
        None => Err(StanzaCondition::ItemNotFound.into()),
    }
}

async fn set(context: Context, request: IqRequest) -> IqAnswer {
    // §3.2
    let (IqTarget::Account(account), Relation::Owner) = (&request.target, request.relation) else {
        return Err(StanzaCondition::Forbidden.into());
    };
    let id = context.account_id(account).await.ok_or(StanzaCondition::ServiceUnavailable)?;
    kept::write(&context, id, XmlKind::VCard, "", &request.payload).await?;
    Ok(None)
}
