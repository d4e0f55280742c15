//! What is generated from the extensions' own descriptions: `docs/xeps.md` and the DOAP file.

use crate::core::TOLD_APART;
use stonechat_router::{Info, Registrar, Registry};

fn infos() -> Vec<Info> {
    let mut registrar = Registrar::new();
    crate::install_all(&mut registrar);
    Registry::build(registrar).map(|registry| registry.infos()).unwrap_or_default()
}

fn rows(infos: &[Info]) -> String {
    let row = |info: &Info| {
        format!(
            "| [XEP-{0:04}](https://xmpp.org/extensions/xep-{0:04}.html) | {1} | {2} | {3} |\n",
            info.xep, info.name, info.version, info.note
        )
    };
    infos.iter().map(row).collect()
}

/// The list for people.
pub fn markdown() -> String {
    format!(
        "# What is implemented\n\nGenerated from the extensions themselves. Beside these: RFC 6120, RFC 6121, RFC 7590, RFC 7622; for SCRAM \
         RFC 5802, RFC 7677 and RFC 9266.\n\n\
         | XEP | Name | Version | What works |\n|---|---|---|---|\n{}\n\
         What clients send one another under these is passed on as it is, and told apart where it is kept, copied, woken for and held\n\
         back ([messages](messages.md)):\n\n\
         | XEP | Name | Version | What the server does |\n|---|---|---|---|\n{}",
        rows(&infos()),
        rows(TOLD_APART)
    )
}

/// How much of a XEP is there.
#[derive(Clone, Copy)]
enum Extent {
    Complete,
    /// The server's part of what is between clients.
    Partial,
}

fn supported(info: &Info, extent: Extent) -> String {
    let status = match extent {
        Extent::Complete => "complete",
        Extent::Partial => "partial",
    };
    let note = match info.note {
        "" => String::new(),
        note => format!("        <xmpp:note>{note}</xmpp:note>\n"),
    };
    format!(
        "    <implements>\n      <xmpp:SupportedXep>\n        <xmpp:xep rdf:resource='https://xmpp.org/extensions/xep-{:04}.html'/>\n        \
         <xmpp:version>{}</xmpp:version>\n        <xmpp:status>{status}</xmpp:status>\n{note}      </xmpp:SupportedXep>\n    </implements>\n",
        info.xep, info.version
    )
}

/// The list for programs (XEP-0453).
pub fn doap() -> String {
    let mut all: Vec<(Info, Extent)> = infos().into_iter().map(|info| (info, Extent::Complete)).collect();
    all.extend(TOLD_APART.iter().map(|info| (*info, Extent::Partial)));
    all.sort_by_key(|(info, _)| info.xep);
    let rows: String = all.iter().map(|(info, extent)| supported(info, *extent)).collect();
    format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<rdf:RDF xmlns='http://usefulinc.com/ns/doap#' \
         xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' xmlns:xmpp='https://linkmauve.fr/ns/xmpp-doap#'>\n  \
         <Project>\n    <name>Stonechat</name>\n    <shortdesc xml:lang='en'>An XMPP server</shortdesc>\n    \
         <programming-language>Rust</programming-language>\n    <category rdf:resource='https://linkmauve.fr/ns/xmpp-doap#category-server'/>\n{rows}  \
         </Project>\n</rdf:RDF>\n"
    )
}
