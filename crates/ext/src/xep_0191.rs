//! XEP-0191: Blocking Command, with reports (XEP-0377): a block may say why. What a block keeps out is kept out where
//! stanzas enter the account; a report goes to the administrators.

use stonechat_jid::{BareJid, Jid};
use stonechat_router::{
    BlockChange, Context, Extension, Info, IqAnswer, IqKind, IqRequest, IqTarget, Place, Registrar, Relation, SessionId,
};
use stonechat_stanza::{MessageType, Stanza, StanzaCondition, StanzaError, ns};
use stonechat_xml::Element;
use tracing::info;

pub(crate) struct Blocking;

impl Extension for Blocking {
    const INFO: Info =
        Info { xep: 191, name: "Blocking Command", version: "1.3", note: "whole addresses, accounts and domains" };

    fn install(self, registrar: &mut Registrar) {
        registrar.core(Info {
            xep: 377,
            name: "Blocking Command Reports",
            version: "0.4.1",
            note: "sent to the administrators",
        });
        registrar.disco_feature(Place::Domain, ns::BLOCKING);
        registrar.disco_feature(Place::Domain, ns::REPORTING);
        registrar.iq(Place::Account, IqKind::Get, ns::BLOCKING, "blocklist", list);
        registrar.iq(Place::Account, IqKind::Set, ns::BLOCKING, "block", block);
        registrar.iq(Place::Account, IqKind::Set, ns::BLOCKING, "unblock", unblock);
    }
}

fn owner(request: &IqRequest) -> Result<(&BareJid, Option<SessionId>), StanzaError> {
    match (&request.target, request.relation) {
        (IqTarget::Account(account), Relation::Owner) => Ok((account, request.session)),
        _ => Err(StanzaCondition::Forbidden.into()),
    }
}

/// Entries of one request: more than a list may have cannot be meant.
const MAX_ITEMS: usize = 1_000;

fn items(payload: &Element) -> Result<Vec<(Jid, &Element)>, StanzaError> {
    let mut items = Vec::new();
    for item in payload.children().filter(|child| child.is("item", ns::BLOCKING)) {
        let jid = item.attribute("jid").ok_or(StanzaCondition::BadRequest)?;
        let jid = Jid::parse(jid).map_err(|_| StanzaCondition::JidMalformed)?;
        if items.len() >= MAX_ITEMS {
            return Err(StanzaCondition::ResourceConstraint.into());
        }
        items.push((jid, item));
    }
    Ok(items)
}

async fn list(context: Context, request: IqRequest) -> IqAnswer {
    let (account, session) = owner(&request)?;
    let jids = context.block_list(account, session).await;
    let item = |jid: &Jid| Element::new("item", ns::BLOCKING).with_attribute("jid", jid.as_str());
    Ok(Some(Element::new("blocklist", ns::BLOCKING).with_children(jids.iter().map(item))))
}

async fn block(context: Context, request: IqRequest) -> IqAnswer {
    let (account, _) = owner(&request)?;
    let items = items(&request.payload)?;
    // §3.3: at least one; and nobody shuts out itself.
    if items.is_empty() {
        return Err(StanzaCondition::BadRequest.into());
    }
    let own = Jid::from(account.clone());
    if items.iter().any(|(jid, _)| jid.same_bare(&own)) {
        return Err(StanzaError::new(StanzaCondition::NotAllowed).with_text("that is your own address"));
    }
    context.change_blocks(account, BlockChange::Block(items.iter().map(|(jid, _)| jid.clone()).collect())).await?;
    for (jid, item) in items {
        if let Some(report) = item.child("report", ns::REPORTING) {
            tell_administrators(&context, account, &jid, report);
        }
    }
    Ok(None)
}

async fn unblock(context: Context, request: IqRequest) -> IqAnswer {
    let (account, _) = owner(&request)?;
    let items = items(&request.payload)?;
    // §3.4: without items, everybody.
    let change = if items.is_empty() {
        BlockChange::UnblockAll
    } else {
        BlockChange::Unblock(items.into_iter().map(|(jid, _)| jid).collect())
    };
    context.change_blocks(account, change).await?;
    Ok(None)
}

/// XEP-0377 §4: who, whom, why, and the messages that are meant. The report itself is attached for programs.
fn tell_administrators(context: &Context, reporter: &BareJid, reported: &Jid, report: &Element) {
    let reason = match report.attribute("reason") {
        Some("urn:xmpp:reporting:spam") => "spam",
        Some("urn:xmpp:reporting:abuse") => "abuse",
        _ => "something else",
    };
    info!(event = "report.received", %reporter, %reported, reason, "an account reported another");
    let words: String =
        report.child("text", ns::REPORTING).map(Element::text).unwrap_or_default().chars().take(2_000).collect();
    let text = if words.is_empty() {
        format!("{reporter} has blocked {reported} and reports {reason}.")
    } else {
        format!("{reporter} has blocked {reported} and reports {reason}: {words}")
    };
    for admin in &context.settings().admins {
        let body = Element::new("body", ns::CLIENT).with_text(text.as_str());
        let mut message = Stanza::message(MessageType::Normal, [body, report.clone()]);
        message.head_mut().from = Some(Jid::from(&reporter.to_domain()));
        message.head_mut().to = Some(Jid::from(admin.clone()));
        context.route(message);
    }
}
