//! Documents that an account keeps on the server: what private XML (XEP-0049) and vCards (XEP-0054) have in common.
//!
//! What is accepted can be given back: a document that would not be read again as the same tree is refused when it comes.

use stonechat_router::Context;
use stonechat_stanza::{StanzaCondition, StanzaError};
use stonechat_store::{AccountId, Error, XmlKind};
use stonechat_xml::Element;
use tracing::error;

/// Reads a document; `None` when it was never written.
pub(crate) async fn read(
    context: &Context,
    id: AccountId,
    kind: XmlKind,
    key: &str,
) -> Result<Option<Element>, StanzaError> {
    let Some(bytes) = context.store().xml(id, kind, key).await.map_err(|source| refused(&source))? else {
        return Ok(None);
    };
    // Never an empty document in place of a damaged one: the client would write its own over it.
    Element::parse(&bytes, "").map(Some).map_err(|source| {
        error!(event = "documents.damaged", %source, "a document in the store cannot be read");
        StanzaCondition::InternalServerError.into()
    })
}

/// Writes a document, within what one account may keep.
pub(crate) async fn write(
    context: &Context,
    id: AccountId,
    kind: XmlKind,
    key: &str,
    document: &Element,
) -> Result<(), StanzaError> {
    let bytes = document.to_xml().into_bytes();
    if Element::parse(&bytes, "").as_ref() != Ok(document) {
        return Err(StanzaError::new(StanzaCondition::NotAcceptable)
            .with_text("the document is too large, or has too many attributes"));
    }
    let limit = context.settings().max_documents;
    context.store().put_xml(id, kind, key, Some(bytes), limit).await.map_err(|source| refused(&source))
}

/// What a failure of the store is to the client, who is not told its particulars.
fn refused(source: &Error) -> StanzaError {
    match source {
        Error::Full(_) => StanzaError::new(StanzaCondition::ResourceConstraint)
            .with_text("the server can keep no more for this account"),
        Error::Overloaded => StanzaCondition::ResourceConstraint.into(),
        // The account was removed meanwhile.
        Error::NotFound => StanzaCondition::ServiceUnavailable.into(),
        source => {
            error!(event = "documents.store_failed", %source, "a document could not be read or written");
            StanzaCondition::InternalServerError.into()
        }
    }
}
