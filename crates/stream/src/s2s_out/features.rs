//! What a peer's `<stream:features/>` say (RFC 6120 §4.3.2), as far as we can use it.

use crate::{Offered, Step};
use stonechat_stanza::ns;
use stonechat_xml::{Element, Frame};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Features {
    pub(super) starttls: Offered,
    pub(super) external: Offered,
    pub(super) dialback: Offered,
    pub(super) management: Offered,
    pub(super) max_bytes: Option<usize>,
}

impl Features {
    pub(super) fn read(frame: &Frame) -> Features {
        let element = frame.to_element().ok();
        let child = |name, namespace| element.as_ref().and_then(|element| element.child(name, namespace));
        let starttls = match child("starttls", ns::TLS) {
            None => Offered::No,
            Some(starttls) if starttls.child("required", ns::TLS).is_some() => Offered::Required,
            Some(_) => Offered::Yes,
        };
        let has_external = child("mechanisms", ns::SASL)
            .is_some_and(|mechanisms| mechanisms.children().any(|mechanism| mechanism.text().trim() == "EXTERNAL"));
        let has_dialback = child("dialback", ns::DIALBACK_FEATURE).is_some();
        let offered = |there| if there { Offered::Yes } else { Offered::No };
        Features {
            starttls,
            external: offered(has_external),
            dialback: offered(has_dialback),
            management: offered(child("sm", ns::SM).is_some()),
            // XEP-0478
            max_bytes: child("limits", ns::LIMITS)
                .and_then(|limits| limits.child("max-bytes", ns::LIMITS))
                .map(Element::text)
                .and_then(|text| text.trim().parse().ok()),
        }
    }

    pub(super) fn step(self) -> Step {
        Step::Features {
            starttls: self.starttls,
            external: self.external,
            dialback: self.dialback,
            management: self.management,
            max_bytes: self.max_bytes,
        }
    }
}
