//! Stream features, as the receiving entity writes them (RFC 6120 §4.3.2).

use std::time::Duration;
use stonechat_stanza::ns;
use stonechat_xml::Element;

/// XEP-0478: what we accept, told in the features.
pub(crate) fn limits_feature(max_bytes: usize, idle: Option<Duration>) -> Element {
    let mut limits = Element::new("limits", ns::LIMITS)
        .with_child(Element::new("max-bytes", ns::LIMITS).with_text(max_bytes.to_string()));
    if let Some(idle) = idle {
        limits = limits.with_child(Element::new("idle-seconds", ns::LIMITS).with_text(idle.as_secs().to_string()));
    }
    limits
}

/// `<stream:features>` on a stream that has the prefix bound.
pub(crate) fn write_features(features: &[Element], content_namespace: &str, out: &mut Vec<u8>) {
    if features.is_empty() {
        out.extend_from_slice(b"<stream:features/>");
        return;
    }
    out.extend_from_slice(b"<stream:features>");
    for feature in features {
        feature.write(out, content_namespace);
    }
    out.extend_from_slice(b"</stream:features>");
}
