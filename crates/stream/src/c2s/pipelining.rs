//! Pipelined log-in (XEP-0509): the features before authentication carry a version of themselves. A client that knows it
//! from last time sends its `<authenticate/>` with the stream's header, and is told, without prejudice, when what it
//! relied on has changed.

use super::auth::{self, Profile};
use super::machine::C2s;
use crate::Phase;
use crate::features::write_features;
use sha2::{Digest, Sha256};
use stonechat_sasl::{Failure, encode};
use stonechat_stanza::ns;
use stonechat_xml::Element;

/// Adds the version to features that are whole but for it (XEP-0509 §2.3.1: a hash of them).
pub(super) fn stamp(stream: &mut C2s, phase: Phase, features: &mut Vec<Element>) {
    let offered = features.iter().any(|feature| feature.is("authentication", ns::SASL2));
    stream.advertised = (phase == Phase::BeforeAuthentication && offered).then(|| {
        let mut rendered = Vec::new();
        write_features(features, ns::CLIENT, &mut rendered);
        encode(&Sha256::digest(&rendered))
    });
    if let Some(version) = &stream.advertised {
        features.push(
            Element::new("config-version", ns::PIPELINING)
                .with_attribute("scheme", "opaque")
                .with_attribute("value", version.clone()),
        );
    }
}

/// Whether a client that relies on a version of the features relies on those of this stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knowledge {
    Current,
    Outdated,
}

pub(super) fn judge(stream: &C2s, version: &str) -> Knowledge {
    match &stream.advertised {
        Some(advertised) if advertised == version => Knowledge::Current,
        _ => Knowledge::Outdated,
    }
}

/// XEP-0509 §2.2: such a failure counts for nothing.
pub(super) fn mismatch() -> Element {
    auth::failure(Profile::Extensible, Failure::Aborted)
        .with_child(Element::new("config-version-mismatch", ns::PIPELINING))
        .with_child(Element::new("text", ns::SASL2).with_text("The features have changed"))
}
