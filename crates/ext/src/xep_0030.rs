//! XEP-0030: Service Discovery of domains and accounts.
//!
//! An account answers its owner and those it lets see its presence (§8); to anybody else it looks like an account that is
//! not there.

use crate::xep_0115;
use stonechat_jid::Domain;
use stonechat_router::{Context, Extension, Info, IqAnswer, IqKind, IqRequest, IqTarget, Place, Registrar, Relation};
use stonechat_stanza::{StanzaCondition, ns};
use stonechat_xml::Element;

pub(crate) struct Disco;

impl Extension for Disco {
    const INFO: Info = Info { xep: 30, name: "Service Discovery", version: "2.5.0", note: "domains and accounts" };

    fn install(self, registrar: &mut Registrar) {
        registrar.disco_identity(Place::Domain, "server", "im");
        registrar.disco_identity(Place::Account, "account", "registered");
        for place in [Place::Domain, Place::Account] {
            registrar.disco_feature(place, ns::DISCO_INFO);
            registrar.disco_feature(place, ns::DISCO_ITEMS);
            registrar.iq(place, IqKind::Get, ns::DISCO_INFO, "query", info);
            registrar.iq(place, IqKind::Get, ns::DISCO_ITEMS, "query", items);
        }
    }
}

/// The identities, features and forms of a domain, as `<query/>` without a node.
pub(crate) fn domain_info(context: &Context, domain: &Domain) -> Element {
    describe(context, Place::Domain).with_children(context.disco_forms(domain))
}

fn describe(context: &Context, place: Place) -> Element {
    let registry = context.registry();
    let identities = registry.identities(place).map(|(category, kind)| {
        let identity =
            Element::new("identity", ns::DISCO_INFO).with_attribute("category", category).with_attribute("type", kind);
        if category == "server" { identity.with_attribute("name", "Stonechat") } else { identity }
    });
    let settings = context.settings();
    let features = registry
        .features(place, &settings)
        .map(|feature| Element::new("feature", ns::DISCO_INFO).with_attribute("var", feature));
    Element::new("query", ns::DISCO_INFO).with_children(identities).with_children(features)
}

fn may_see(request: &IqRequest) -> Result<(), StanzaCondition> {
    match (&request.target, request.relation) {
        (IqTarget::Account(_), Relation::Stranger) => Err(StanzaCondition::ServiceUnavailable),
        _ => Ok(()),
    }
}

async fn info(context: Context, request: IqRequest) -> IqAnswer {
    may_see(&request)?;
    let node = request.payload.attribute("node").filter(|node| !node.is_empty()).map(str::to_owned);
    match (&request.target, node) {
        (IqTarget::Account(_), None) => Ok(Some(describe(&context, Place::Account))),
        (IqTarget::Domain(domain), None) => Ok(Some(domain_info(&context, domain))),
        (IqTarget::Domain(domain), Some(node)) => {
            // XEP-0115 §6.2: the node that the stream features announced.
            let info = domain_info(&context, domain);
            if node == xep_0115::node(&xep_0115::verification_string(&info)) {
                Ok(Some(info.with_attribute("node", node)))
            } else {
                Err(StanzaCondition::ItemNotFound.into())
            }
        }
        (IqTarget::Account(_), Some(_)) => Err(StanzaCondition::ItemNotFound.into()),
    }
}

async fn items(_context: Context, request: IqRequest) -> IqAnswer {
    may_see(&request)?;
    match request.payload.attribute("node").filter(|node| !node.is_empty()) {
        Some(_) => Err(StanzaCondition::ItemNotFound.into()),
        None => Ok(Some(Element::new("query", ns::DISCO_ITEMS))),
    }
}
