//! What is generated from the extensions' own descriptions: `docs/xeps.md` and the DOAP file.

use stonechat_router::{Info, Registrar, Registry};

fn infos() -> Vec<Info> {
    let mut registrar = Registrar::new();
    crate::install_all(&mut registrar);
    Registry::build(registrar).map(|registry| registry.infos()).unwrap_or_default()
}

/// The list for people.
pub fn markdown() -> String {
    let rows: String = infos()
        .iter()
        .map(|info| {
            format!(
                "| [XEP-{0:04}](https://xmpp.org/extensions/xep-{0:04}.html) | {1} | {2} | {3} |\n",
                info.xep, info.name, info.version, info.note
            )
        })
        .collect();
    format!(
        "# What is implemented\n\nGenerated from the extensions themselves. Beside these: RFC 6120, RFC 6121, RFC 7590, RFC 7622.\n\n\
         | XEP | Name | Version | What works |\n|---|---|---|---|\n{rows}"
    )
}

/// The list for programs (XEP-0453).
pub fn doap() -> String {
    let rows: String = infos()
        .iter()
        .map(|info| {
            format!(
                "    <implements>\n      <xmpp:SupportedXep>\n        <xmpp:xep rdf:resource='https://xmpp.org/extensions/xep-{:04}.html'/>\n        \
                 <xmpp:version>{}</xmpp:version>\n        <xmpp:status>complete</xmpp:status>\n      </xmpp:SupportedXep>\n    </implements>\n",
                info.xep, info.version
            )
        })
        .collect();
    format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<rdf:RDF xmlns='http://usefulinc.com/ns/doap#' \
         xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' xmlns:xmpp='https://linkmauve.fr/ns/xmpp-doap#'>\n  \
         <Project>\n    <name>Stonechat</name>\n    <shortdesc xml:lang='en'>An XMPP server</shortdesc>\n    \
         <programming-language>Rust</programming-language>\n    <category rdf:resource='https://linkmauve.fr/ns/xmpp-doap#category-server'/>\n{rows}  \
         </Project>\n</rdf:RDF>\n"
    )
}
