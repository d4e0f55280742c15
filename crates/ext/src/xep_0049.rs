//! XEP-0049: Private XML Storage: what a client keeps for itself on the server, its owner's alone (§2.3, §5).
//!
//! Stricter than the specification: a set, too, has exactly one element, as other servers have it. Namespaces that the
//! specification calls reserved are stored like any other (§2.3 leaves that to the server).

use crate::kept;
use stonechat_router::{Context, Extension, Info, IqAnswer, IqKind, IqRequest, IqTarget, Place, Registrar, Relation};
use stonechat_stanza::{StanzaCondition, StanzaError, ns};
use stonechat_store::{AccountId, XmlKind};
use stonechat_xml::Element;

pub(crate) struct PrivateStorage;

impl Extension for PrivateStorage {
    const INFO: Info = Info { xep: 49, name: "Private XML Storage", version: "1.2", note: "bounded per account" };

    fn install(self, registrar: &mut Registrar) {
        registrar.disco_feature(Place::Account, ns::PRIVATE);
        registrar.disco_feature(Place::Domain, ns::PRIVATE);
        registrar.iq(Place::Account, IqKind::Get, ns::PRIVATE, "query", get);
        registrar.iq(Place::Account, IqKind::Set, ns::PRIVATE, "query", set);
    }
}

/// The owner's account, the one element the request is about, and what it is stored under.
async fn owned(context: &Context, request: &IqRequest) -> Result<(AccountId, Element, String), StanzaError> {
    let (IqTarget::Account(account), Relation::Owner) = (&request.target, request.relation) else {
        return Err(StanzaCondition::Forbidden.into());
    };
    let mut children = request.payload.children();
    let (Some(element), None) = (children.next(), children.next()) else {
        return Err(StanzaCondition::BadRequest.into());
    };
    if element.namespace().is_empty() || element.namespace() == ns::PRIVATE {
        return Err(
            StanzaError::new(StanzaCondition::NotAcceptable).with_text("the element needs a namespace of its own")
        );
    }
    let id = context.account_id(account).await.ok_or(StanzaCondition::ServiceUnavailable)?;
    Ok((id, element.clone(), format!("{{{}}}{}", element.namespace(), element.name())))
}

async fn get(context: Context, request: IqRequest) -> IqAnswer {
    let (id, asked, key) = owned(&context, &request).await?;
    // What was never stored is answered with the element as it was asked for.
    let element = kept::read(&context, id, XmlKind::Private, &key).await?.unwrap_or(asked);
    Ok(Some(Element::new("query", ns::PRIVATE).with_child(element)))
}

async fn set(context: Context, request: IqRequest) -> IqAnswer {
    let (id, element, key) = owned(&context, &request).await?;
    kept::write(&context, id, XmlKind::Private, &key, &element).await?;
    Ok(None)
}
