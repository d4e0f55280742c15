//! Bind 2 (XEP-0386): a resource, and what its session begins with, within the log-in. What is bound, and how the resource
//! is called, is decided outside.
//!
//! Deliberately absent: answers of inline features whose specification defines none (carbons, client state).

use super::authenticate::only;
use super::client_state::ClientState;
use super::management::{self, Enabled, Resumption};
use crate::acknowledge;
use stonechat_jid::{BareJid, FullJid};
use stonechat_sasl::Failure;
use stonechat_stanza::{StanzaCondition, ns};
use stonechat_xml::Element;

/// Whether a session is to get copies of its account's messages (XEP-0280).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carbons {
    /// It is.
    On,
    /// Not before it asks.
    #[default]
    Off,
}

/// A client's wish for a resource, and for what its session begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind2Request {
    /// Who it is.
    pub account: BareJid,
    /// What its resource should begin with, as the client says (XEP-0386 §3.2.1).
    pub tag: Option<String>,
    /// The id of its user agent: the same device has the same resource, and its earlier sessions end. It is not to be
    /// seen in the resource.
    pub device: Option<String>,
    /// Carbons from the first moment.
    pub carbons: Carbons,
    /// Whether somebody looks at it.
    pub state: ClientState,
    /// Stream management from the first moment, when it is wanted.
    pub enable: Option<Resumption>,
}

/// A resource is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound2 {
    /// Its address.
    pub jid: FullJid,
    /// The id and the stamp (XEP-0082) of the first and of the last message in the account's archive, as it was in the
    /// moment of binding.
    pub archive: Option<((String, String), (String, String))>,
    /// Stream management, when it was asked for and is on; both counts begin here.
    pub enabled: Option<Enabled>,
}

/// What `<enable/>` of stream management came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Enable {
    Absent,
    Wanted(Resumption),
    Malformed,
}

/// `<bind/>`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    tag: Option<String>,
    carbons: Carbons,
    state: ClientState,
    enable: Enable,
}

impl Wish {
    /// Two wishes that exclude each other are none (abuse case 39).
    pub(super) fn read(bind: &Element) -> Result<Wish, Failure> {
        let carbons = match (only(bind, "enable", ns::CARBONS)?, only(bind, "disable", ns::CARBONS)?) {
            (Some(_), Some(_)) => return Err(Failure::MalformedRequest),
            (Some(_), None) => Carbons::On,
            (None, _) => Carbons::Off,
        };
        let state = match (only(bind, "active", ns::CSI)?, only(bind, "inactive", ns::CSI)?) {
            (Some(_), Some(_)) => return Err(Failure::MalformedRequest),
            (None, Some(_)) => ClientState::Inactive,
            (_, None) => ClientState::Active,
        };
        let enable = match only(bind, "enable", ns::SM)? {
            None => Enable::Absent,
            Some(element) => match management::enable(element.attribute("resume"), element.attribute("max")) {
                Some(resumption) => Enable::Wanted(resumption),
                None => Enable::Malformed,
            },
        };
        let tag = only(bind, "tag", ns::BIND2)?.map(Element::text).filter(|tag| !tag.is_empty());
        Ok(Wish { tag, carbons, state, enable })
    }

    pub(super) fn request(&self, account: BareJid, device: Option<String>) -> Bind2Request {
        Bind2Request {
            account,
            tag: self.tag.clone(),
            device,
            carbons: self.carbons,
            state: self.state,
            enable: match self.enable {
                Enable::Wanted(resumption) => Some(resumption),
                Enable::Absent | Enable::Malformed => None,
            },
        }
    }

    /// `<bound/>` (XEP-0386 §3.2), and whether stanzas are counted from here on.
    pub(super) fn bound(&self, bound: &Bound2) -> Element {
        let mut element = Element::new("bound", ns::BIND2);
        if let Some(((first, since), (last, until))) = &bound.archive {
            let end = |name: &'static str, id: &String, stamp: &String| {
                Element::new(name, ns::MAM).with_attribute("id", id.clone()).with_attribute("timestamp", stamp.clone())
            };
            element = element.with_child(
                Element::new("metadata", ns::MAM)
                    .with_child(end("start", first, since))
                    .with_child(end("end", last, until)),
            );
        }
        match (self.enable, &bound.enabled) {
            (Enable::Wanted(_), Some(enabled)) => element.with_child(management::enabled_element(enabled)),
            // XEP-0198 §9.1.1
            (Enable::Wanted(_), None) => {
                element.with_child(acknowledge::failed(StanzaCondition::InternalServerError, None))
            }
            (Enable::Malformed, _) => element.with_child(acknowledge::failed(StanzaCondition::BadRequest, None)),
            (Enable::Absent, _) => element,
        }
    }

    /// Whether stanzas are counted from the first on.
    pub(super) fn counting(&self, bound: &Bound2) -> management::Counting {
        match (self.enable, &bound.enabled) {
            (Enable::Wanted(_), Some(_)) => management::Counting::On,
            _ => management::Counting::Off,
        }
    }
}

/// The inline feature (XEP-0386 §3.1).
pub(super) fn feature() -> Element {
    let inline = [ns::CARBONS, ns::CSI, ns::SM]
        .into_iter()
        .map(|name| Element::new("feature", ns::BIND2).with_attribute("var", name));
    Element::new("bind", ns::BIND2).with_child(Element::new("inline", ns::BIND2).with_children(inline))
}
