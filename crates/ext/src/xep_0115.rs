//! XEP-0115: Entity Capabilities of the server, as a stream feature (§6.1).

use crate::xep_0030;
use base64::Engine;
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use stonechat_router::{Extension, Info, Place, Registrar};
use stonechat_stanza::ns;
use stonechat_xml::Element;

/// What the node begins with.
const NODE: &str = "https://stonechat.example/";

pub(crate) struct Capabilities;

impl Extension for Capabilities {
    const INFO: Info = Info { xep: 115, name: "Entity Capabilities", version: "1.6.0", note: "of the server" };

    fn install(self, registrar: &mut Registrar) {
        registrar.disco_feature(Place::Domain, ns::CAPS);
        registrar.feature_after_authentication(|context, domain| {
            let version = verification_string(&xep_0030::domain_info(context, domain));
            Some(
                Element::new("c", ns::CAPS)
                    .with_attribute("hash", "sha-1")
                    .with_attribute("node", NODE)
                    .with_attribute("ver", version),
            )
        });
    }
}

/// The node under which the features of a version are asked for.
pub fn node(version: &str) -> String {
    format!("{NODE}#{version}")
}

/// §5.1: the hash of what a disco#info result says.
pub fn verification_string(info: &Element) -> String {
    let attribute = |element: &Element, name: &str| element.attribute(name).unwrap_or_default().to_owned();
    let named = |name: &'static str| info.children().filter(move |child| child.is(name, ns::DISCO_INFO));
    // Sorted by their parts, and only then written: a separator sorts differently from the end of a text.
    let mut identities: Vec<[String; 4]> = named("identity")
        .map(|identity| {
            let lang = identity
                .attributes()
                .find(|(namespace, name, _)| *namespace == ns::XML && *name == "lang")
                .map_or("", |(_, _, value)| value);
            let part = |name| attribute(identity, name);
            [part("category"), part("type"), lang.to_owned(), part("name")]
        })
        .collect();
    identities.sort_unstable();
    let mut features: Vec<String> = named("feature").map(|feature| attribute(feature, "var")).collect();
    features.sort_unstable();
    let mut text: String = identities.iter().map(|parts| parts.join("/") + "<").collect();
    text.extend(features.iter().map(|feature| format!("{feature}<")));
    let mut forms: BTreeMap<String, String> = BTreeMap::new();
    for form in info.children().filter(|child| child.is("x", ns::DATA_FORMS)) {
        let mut fields: Vec<(String, Vec<String>)> = form
            .children()
            .filter(|field| field.is("field", ns::DATA_FORMS))
            .map(|field| {
                let mut values: Vec<String> =
                    field.children().filter(|value| value.is("value", ns::DATA_FORMS)).map(Element::text).collect();
                values.sort_unstable();
                (attribute(field, "var"), values)
            })
            .collect();
        fields.sort_unstable();
        let Some(kind) =
            fields.iter().find(|(name, _)| name == "FORM_TYPE").and_then(|(_, values)| values.first().cloned())
        else {
            continue;
        };
        let written: String = fields
            .iter()
            .filter(|(name, _)| name != "FORM_TYPE")
            .map(|(name, values)| {
                format!("{name}<{}", values.iter().map(|value| format!("{value}<")).collect::<String>())
            })
            .collect();
        forms.insert(kind, written);
    }
    for (kind, written) in forms {
        text.push_str(&format!("{kind}<{written}"));
    }
    base64::engine::general_purpose::STANDARD.encode(Sha1::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xep0115_5_2_the_simple_example() {
        let xml = "<query xmlns='http://jabber.org/protocol/disco#info'>\
            <identity category='client' type='pc' name='Exodus 0.9.1'/>\
            <feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/>\
            <feature var='http://jabber.org/protocol/muc'/><feature var='http://jabber.org/protocol/caps'/></query>";
        let info = Element::parse(xml.as_bytes(), "").unwrap();
        assert_eq!(verification_string(&info), "QgayPKawpkPSDYmwT/WM94uAlu0=");
    }

    #[test]
    fn xep0115_5_1_a_feature_sorts_before_what_begins_with_it() {
        let info = |children: &str| {
            let xml = format!("<query xmlns='http://jabber.org/protocol/disco#info'>{children}</query>");
            Element::parse(xml.as_bytes(), "").unwrap()
        };
        let hash = |text: &str| base64::engine::general_purpose::STANDARD.encode(Sha1::digest(text.as_bytes()));
        assert_eq!(
            verification_string(&info("<feature var='urn:a#b'/><feature var='urn:a'/>")),
            hash("urn:a<urn:a#b<")
        );
        assert_eq!(
            verification_string(&info("<identity category='a-b' type='c'/><identity category='a' type='c'/>")),
            hash("a/c//<a-b/c//<")
        );
    }

    #[test]
    fn xep0115_5_1_the_order_in_which_it_is_written_does_not_matter() {
        let field = |name: &str, values: [&str; 2]| {
            format!("<field var='{name}'><value>{}</value><value>{}</value></field>", values[0], values[1])
        };
        let info = |fields: [String; 2]| {
            let xml = format!(
                "<query xmlns='http://jabber.org/protocol/disco#info'><x xmlns='jabber:x:data' type='result'>\
                 <field var='FORM_TYPE'><value>urn:x</value></field>{}{}</x></query>",
                fields[0], fields[1]
            );
            verification_string(&Element::parse(xml.as_bytes(), "").unwrap())
        };
        let sorted = info([field("a", ["1", "2"]), field("b", ["3", "4"])]);
        let hash = |text: &str| base64::engine::general_purpose::STANDARD.encode(Sha1::digest(text.as_bytes()));
        assert_eq!(sorted, hash("urn:x<a<1<2<b<3<4<"));
        assert_eq!(info([field("b", ["4", "3"]), field("a", ["2", "1"])]), sorted);
    }

    #[test]
    fn xep0115_5_3_the_complex_example() {
        let field = |name: &str, values: &[&str]| {
            let values: String = values.iter().map(|value| format!("<value>{value}</value>")).collect();
            format!("<field var='{name}'>{values}</field>")
        };
        let xml = format!(
            "<query xmlns='http://jabber.org/protocol/disco#info'>\
             <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
             <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>\
             <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>\
             <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>\
             <x xmlns='jabber:x:data' type='result'>{}{}{}{}{}{}</x></query>",
            field("FORM_TYPE", &["urn:xmpp:dataforms:softwareinfo"]),
            field("ip_version", &["ipv4", "ipv6"]),
            field("os", &["Mac"]),
            field("os_version", &["10.5.1"]),
            field("software", &["Psi"]),
            field("software_version", &["0.11"]),
        );
        let info = Element::parse(xml.as_bytes(), "").unwrap();
        assert_eq!(verification_string(&info), "q07IKJEyjvHSyhy//CH0CxmKi8w=");
    }
}
