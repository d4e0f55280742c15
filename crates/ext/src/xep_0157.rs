//! XEP-0157: Contact Addresses for XMPP Services, as a form on the domain's disco#info.

use stonechat_jid::Domain;
use stonechat_router::{Context, Extension, Info, Registrar};
use stonechat_stanza::ns;
use stonechat_xml::Element;

pub(crate) struct ContactAddresses;

impl Extension for ContactAddresses {
    const INFO: Info = Info {
        xep: 157,
        name: "Contact Addresses for XMPP Services",
        version: "1.1.1",
        note: "[contact] in the configuration",
    };

    fn install(self, registrar: &mut Registrar) {
        registrar.disco_form(form);
    }
}

fn form(context: &Context, _domain: &Domain) -> Option<Element> {
    let settings = context.settings();
    if settings.contacts.is_empty() {
        return None;
    }
    let value = |text: &str| Element::new("value", ns::DATA_FORMS).with_text(text);
    let hidden = Element::new("field", ns::DATA_FORMS)
        .with_attribute("var", "FORM_TYPE")
        .with_attribute("type", "hidden")
        .with_child(value(ns::SERVER_INFO));
    let fields = settings.contacts.iter().map(|(name, addresses)| {
        Element::new("field", ns::DATA_FORMS)
            .with_attribute("var", name.as_str())
            .with_attribute("type", "list-multi")
            .with_children(addresses.iter().map(|address| value(address)))
    });
    Some(Element::new("x", ns::DATA_FORMS).with_attribute("type", "result").with_child(hidden).with_children(fields))
}
