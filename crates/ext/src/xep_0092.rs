//! XEP-0092: Software Version. The operating system is nobody's business.

use stonechat_router::{Context, Extension, Info, IqAnswer, IqKind, IqRequest, Place, Registrar};
use stonechat_stanza::ns;
use stonechat_xml::Element;

pub(crate) struct SoftwareVersion;

impl Extension for SoftwareVersion {
    const INFO: Info = Info { xep: 92, name: "Software Version", version: "1.1", note: "without the operating system" };

    fn install(self, registrar: &mut Registrar) {
        registrar.disco_feature(Place::Domain, ns::VERSION);
        registrar.iq(Place::Domain, IqKind::Get, ns::VERSION, "query", version);
    }
}

async fn version(_context: Context, _request: IqRequest) -> IqAnswer {
    let child = |name, text: &'static str| Element::new(name, ns::VERSION).with_text(text);
    Ok(Some(
        Element::new("query", ns::VERSION)
            .with_child(child("name", "Stonechat"))
            .with_child(child("version", env!("CARGO_PKG_VERSION"))),
    ))
}
