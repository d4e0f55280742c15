//! XEP-0049: Private XML Storage: what a client keeps for itself on the server, its owner's alone.

use stonechat_router::{Context, Extension, Info, IqAnswer, IqKind, IqRequest, IqTarget, Place, Registrar, Relation};
use stonechat_stanza::{StanzaCondition, StanzaError, ns};
use stonechat_store::{AccountId, Error, XmlKind};
use stonechat_xml::Element;
use tracing::error;

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

/// The owner's account and the one element the request is about (§3.2: exactly one, in a namespace of its own).
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

/// What a failure of the store is to the client.
pub(crate) fn store_error(source: &Error) -> StanzaError {
    match source {
        Error::Full(text) => StanzaError::new(StanzaCondition::ResourceConstraint).with_text(text.clone()),
        source => {
            error!(event = "documents.store_failed", %source, "a document could not be read or written");
            StanzaCondition::InternalServerError.into()
        }
    }
}

async fn get(context: Context, request: IqRequest) -> IqAnswer {
    let (id, asked, key) = owned(&context, &request).await?;
    let stored = context.store().xml(id, XmlKind::Private, &key).await.map_err(|source| store_error(&source))?;
    // §3.3: nothing stored yet is answered with the element as it was asked for.
    let element = stored.and_then(|bytes| Element::parse(&bytes, "").ok()).unwrap_or(asked);
    Ok(Some(Element::new("query", ns::PRIVATE).with_child(element)))
}

async fn set(context: Context, request: IqRequest) -> IqAnswer {
    let (id, element, key) = owned(&context, &request).await?;
    let limit = context.settings().max_documents;
    context
        .store()
        .put_xml(id, XmlKind::Private, &key, Some(element.to_xml().into_bytes()), limit)
        .await
        .map_err(|source| store_error(&source))?;
    Ok(None)
}
