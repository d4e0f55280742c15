//! XEP-0313: Message Archive Management, of accounts: queries by their owner, with everything of `#extended`, full-text
//! search (XEP-0431) and preferences (XEP-0441). What is archived is decided on the path of a message.
//!
//! A page has a bound in number and in bytes, so that it fits what a connection may have queued; `complete` is true of what
//! was sent, whatever was asked for. The count of all results is told when it is asked for alone (`<max>0</max>`), because
//! it costs a walk through all of them.

use crate::forms::{self, Submitted};
use crate::pages::{self, Place as Page};
use stonechat_jid::{BareJid, Jid};
use stonechat_router::{
    ArchivePreferences, Context, Extension, Info, IqAnswer, IqKind, IqRequest, IqTarget, Place, Registrar, Relation,
    SessionId, Settings, time,
};
use stonechat_stanza::{MessageType, Stanza, StanzaCondition, StanzaError, StanzaType, ns};
use stonechat_store::{AccountId, ArchiveFilter, ArchiveId, ArchivePage, ArchivePosition, ArchivedMessage, Error};
use stonechat_xml::Element;
use tracing::error;

pub(crate) struct Archive;

const EXTENDED: &str = "urn:xmpp:mam:2#extended";
const FULL_TEXT: &str = "urn:xmpp:fulltext:0";
const FULL_TEXT_FIELD: &str = "{urn:xmpp:fulltext:0}fulltext";
/// Messages of a page when the client does not say, and at most.
const PAGE: usize = 50;
const MAX_PAGE: usize = 250;
/// Bytes of a page, but for its first message.
const MAX_BYTES: usize = 1024 * 1024;
/// Ids that one query may ask for.
const MAX_IDS: usize = 250;

const FIELDS: &[(&str, &str)] = &[
    ("with", "jid-single"),
    ("start", "text-single"),
    ("end", "text-single"),
    ("before-id", "text-single"),
    ("after-id", "text-single"),
    ("ids", "list-multi"),
    (FULL_TEXT_FIELD, "text-single"),
];

fn enabled(settings: &Settings) -> bool {
    settings.archive.enabled
}

impl Extension for Archive {
    const INFO: Info = Info {
        xep: 313,
        name: "Message Archive Management",
        version: "1.1.3",
        note: "of accounts, with #extended; ids are the stanza-ids of the live copies",
    };

    fn install(self, registrar: &mut Registrar) {
        registrar.core(Info { xep: 59, name: "Result Set Management", version: "1.0", note: "archives" });
        registrar.core(Info {
            xep: 359,
            name: "Unique and Stable Stanza IDs",
            version: "0.7.0",
            note: "forged ones are removed; a message that is sent again with its origin-id is recognised",
        });
        registrar.core(Info {
            xep: 424,
            name: "Message Retraction",
            version: "0.4.2",
            note: "tombstones in the archives of both sides",
        });
        registrar.core(Info { xep: 431, name: "Full Text Search in MAM", version: "0.2.0", note: "" });
        registrar.core(Info { xep: 441, name: "Message Archive Management Preferences", version: "0.2.0", note: "" });
        for feature in [ns::MAM, EXTENDED, FULL_TEXT, ns::STANZA_ID] {
            registrar.disco_feature_when(Place::Account, feature, enabled);
        }
        registrar.iq(Place::Account, IqKind::Get, ns::MAM, "query", form);
        registrar.iq(Place::Account, IqKind::Set, ns::MAM, "query", query);
        registrar.iq(Place::Account, IqKind::Get, ns::MAM, "metadata", metadata);
        registrar.iq(Place::Account, IqKind::Get, ns::MAM, "prefs", preferences);
        registrar.iq(Place::Account, IqKind::Set, ns::MAM, "prefs", set_preferences);
    }
}

/// An archive is its owner's alone (abuse case 107).
fn owner<'a>(context: &Context, request: &'a IqRequest) -> Result<&'a BareJid, StanzaError> {
    if !enabled(&context.settings()) {
        return Err(StanzaCondition::ServiceUnavailable.into());
    }
    match (&request.target, request.relation) {
        (IqTarget::Account(account), Relation::Owner) => Ok(account),
        _ => Err(StanzaCondition::Forbidden.into()),
    }
}

fn failed(source: Error) -> StanzaError {
    match source {
        // §4.3, XEP-0059 §2.8
        Error::NotFound => StanzaCondition::ItemNotFound.into(),
        Error::Overloaded => StanzaCondition::ResourceConstraint.into(),
        source => {
            error!(event = "archive.read_failed", %source, "an archive could not be read");
            StanzaCondition::InternalServerError.into()
        }
    }
}

async fn form(context: Context, request: IqRequest) -> IqAnswer {
    owner(&context, &request)?;
    Ok(Some(Element::new("query", ns::MAM).with_child(forms::offered(ns::MAM, FIELDS))))
}

async fn metadata(context: Context, request: IqRequest) -> IqAnswer {
    let account = owner(&context, &request)?;
    let id = account_id(&context, account).await?;
    let bounds = context.store().archive_bounds(id).await.map_err(failed)?;
    let end = |name: &'static str, id: ArchiveId| {
        Element::new(name, ns::MAM).with_attribute("id", id.text()).with_attribute("timestamp", time::utc(id.millis()))
    };
    let metadata = Element::new("metadata", ns::MAM);
    Ok(Some(match bounds {
        Some((first, last)) => metadata.with_child(end("start", first)).with_child(end("end", last)),
        None => metadata,
    }))
}

async fn preferences(context: Context, request: IqRequest) -> IqAnswer {
    let account = owner(&context, &request)?;
    let preferences = context.archive_preferences(account).await.ok_or(StanzaCondition::ItemNotFound)?;
    Ok(Some(preferences.to_element()))
}

async fn set_preferences(context: Context, request: IqRequest) -> IqAnswer {
    let account = owner(&context, &request)?;
    let preferences = ArchivePreferences::from_element(&request.payload)?;
    context.set_archive_preferences(account, preferences.clone()).await.map_err(|source| {
        error!(event = "archive.write_failed", %source, "archive preferences could not be written");
        StanzaError::new(StanzaCondition::ResourceConstraint)
    })?;
    Ok(Some(preferences.to_element()))
}

async fn account_id(context: &Context, account: &BareJid) -> Result<AccountId, StanzaError> {
    context.account_id(account).await.ok_or_else(|| StanzaCondition::ItemNotFound.into())
}

async fn query(context: Context, request: IqRequest) -> IqAnswer {
    let account = owner(&context, &request)?;
    let Some(session) = request.session else { return Err(StanzaCondition::Forbidden.into()) };
    let wanted = pages::wanted(request.payload.child("set", ns::RSM))?;
    let filter = filter(&request.payload)?;
    let id = account_id(&context, account).await?;
    if wanted.max == Some(0) {
        let count = context.store().count_archive(id, filter, words).await.map_err(failed)?;
        let fin = Element::new("fin", ns::MAM).with_child(pages::given(None, None, Some(count)));
        return Ok(Some(if count == 0 { fin.with_attribute("complete", "true") } else { fin }));
    }
    let limit = wanted.max.map_or(PAGE, |max| usize::try_from(max).unwrap_or(usize::MAX).min(MAX_PAGE));
    let anchor = |id: &str| ArchiveId::parse(id).ok_or(StanzaCondition::ItemNotFound);
    let position = match &wanted.place {
        Page::First => ArchivePosition::First,
        Page::After(id) => ArchivePosition::After(anchor(id)?),
        Page::Last => ArchivePosition::Last,
        Page::Before(id) => ArchivePosition::Before(anchor(id)?),
    };
    let page = context.store().archive_page(id, filter, position, limit, words).await.map_err(failed)?;
    let (messages, complete) = within_bytes(page, position);
    let (first, last) = (messages.first().map(|m| m.id.text()), messages.last().map(|m| m.id.text()));
    let query_id = request.payload.attribute("queryid");
    let mut results: Vec<Stanza> =
        messages.iter().map(|message| result(account, &request.from, query_id, message)).collect();
    // §4.4: from the newest to the oldest, and the same page.
    if request.payload.child("flip-page", ns::MAM).is_some() {
        results.reverse();
    }
    send(&context, account, session, &results);
    let fin = Element::new("fin", ns::MAM).with_child(pages::given(first.as_deref(), last.as_deref(), None));
    Ok(Some(if complete { fin.with_attribute("complete", "true") } else { fin }))
}

fn send(context: &Context, account: &BareJid, session: SessionId, results: &[Stanza]) {
    context.send_to_session(account, session, results);
}

/// The part of a page that fits, from its beginning in the direction of paging, and whether it reaches the end.
fn within_bytes(page: ArchivePage, position: ArchivePosition) -> (Vec<ArchivedMessage>, bool) {
    let ArchivePage { mut messages, complete } = page;
    let whole = messages.len();
    let backwards = matches!(position, ArchivePosition::Last | ArchivePosition::Before(_));
    let mut bytes = 0usize;
    let mut fits = |message: &ArchivedMessage| {
        let first = bytes == 0;
        bytes = bytes.saturating_add(message.stanza.len());
        first || bytes <= MAX_BYTES
    };
    if backwards {
        let kept = messages.iter().rev().take_while(|message| fits(message)).count();
        messages.drain(..whole.saturating_sub(kept));
    } else {
        let kept = messages.iter().take_while(|message| fits(message)).count();
        messages.truncate(kept);
    }
    let all = messages.len() == whole;
    (messages, complete && all)
}

/// §4.2
fn result(account: &BareJid, to: &Jid, query_id: Option<&str>, message: &ArchivedMessage) -> Stanza {
    let id = message.id.text();
    let delay = Element::new("delay", ns::DELAY).with_attribute("stamp", time::utc(message.id.millis()));
    let query = query_id.map(|query| ("queryid", query));
    let attributes: Vec<(&str, &str)> = query.into_iter().chain([("id", id.as_str())]).collect();
    let kind = StanzaType::Message(MessageType::Normal);
    let mut stanza = Stanza::wrapping(kind, "result", ns::MAM, &attributes, Some(&delay), &message.stanza);
    stanza.head_mut().from = Some(account.clone().into());
    stanza.head_mut().to = Some(to.clone());
    stanza
}

/// Reads what the query is about (§4.1). A field that is not known could mean anything, so it is refused (abuse case 108).
fn filter(query: &Element) -> Result<ArchiveFilter, StanzaError> {
    let Some(form) = query.child("x", ns::DATA_FORMS) else { return Ok(ArchiveFilter::default()) };
    let form = Submitted::read(form, ns::MAM)?;
    if let Some(unknown) =
        form.names().find(|name| *name != "FORM_TYPE" && !FIELDS.iter().any(|(known, _)| known == name))
    {
        return Err(StanzaError::new(StanzaCondition::FeatureNotImplemented)
            .with_text(format!("the field \"{unknown}\" is not known")));
    }
    let id = |name: &str| match form.one(name) {
        None | Some("") => Ok(None),
        Some(text) => ArchiveId::parse(text).map(Some).ok_or(StanzaCondition::ItemNotFound),
    };
    let stamp = |name: &str| match form.one(name) {
        None | Some("") => Ok(None),
        Some(text) => time::parse_utc(text).map(Some).ok_or(StanzaCondition::BadRequest),
    };
    let with = match form.one("with") {
        None | Some("") => None,
        Some(text) => Some(Jid::parse(text).map_err(|_| StanzaCondition::JidMalformed)?),
    };
    let ids = form.all("ids");
    if ids.len() > MAX_IDS {
        return Err(StanzaError::new(StanzaCondition::PolicyViolation).with_text("too many ids at once"));
    }
    let ids =
        ids.iter().map(|id| ArchiveId::parse(id).ok_or(StanzaCondition::ItemNotFound)).collect::<Result<_, _>>()?;
    Ok(ArchiveFilter {
        with,
        start: stamp("start")?,
        end: stamp("end")?,
        after_id: id("after-id")?,
        before_id: id("before-id")?,
        ids,
        words: form.one(FULL_TEXT_FIELD).map(str::trim).filter(|words| !words.is_empty()).map(str::to_owned),
    })
}

/// What can be searched of a stored message: its bodies and subjects.
fn words(stanza: &[u8]) -> Option<String> {
    let stanza = Stanza::parse(stanza).ok()?;
    let mut words = String::new();
    for child in stanza.children().iter().filter(|child| child.is("body", "") || child.is("subject", "")) {
        if let Some(element) = stanza.child_element(child) {
            words.push_str(&element.text());
            words.push('\n');
        }
    }
    (!words.is_empty()).then_some(words)
}
