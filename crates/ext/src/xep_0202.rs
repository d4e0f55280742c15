//! XEP-0202: Entity Time, of the server. Clients answer their own.

use stonechat_router::{Context, Extension, Info, IqAnswer, IqKind, IqRequest, Place, Registrar, time};
use stonechat_stanza::ns;
use stonechat_xml::Element;

pub(crate) struct EntityTime;

impl Extension for EntityTime {
    const INFO: Info = Info { xep: 202, name: "Entity Time", version: "2.0", note: "of the server, in UTC" };

    fn install(self, registrar: &mut Registrar) {
        registrar.disco_feature(Place::Domain, ns::TIME);
        registrar.iq(Place::Domain, IqKind::Get, ns::TIME, "time", now);
    }
}

async fn now(context: Context, _request: IqRequest) -> IqAnswer {
    let milliseconds = u64::try_from(context.unix().as_millis()).unwrap_or(u64::MAX);
    let child = |name, text: &str| Element::new(name, ns::TIME).with_text(text);
    Ok(Some(
        Element::new("time", ns::TIME)
            .with_child(child("tzo", "+00:00"))
            .with_child(child("utc", &time::utc(milliseconds))),
    ))
}
