//! `<authenticate/>` (XEP-0388 §2.3), read whole before anything is done: how the client proves itself, which device it is,
//! and what its stream is to become. What contradicts itself is refused as a whole (abuse case 39).
//!
//! Elements that nobody here knows are passed over.

use super::bind2::Wish;
use super::{fast, management};
use crate::ending::printable;
use stonechat_sasl::{Failure, UpgradeTask};
use stonechat_stanza::ns;
use stonechat_xml::Element;

/// The installation of a client (XEP-0388 §2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAgent {
    /// Its id: a UUID, by the rules. It is compared as it is.
    pub id: String,
    /// The software, when it says.
    pub software: Option<String>,
    /// The device it runs on, when it says.
    pub name: Option<String>,
}

/// A UUID has 36 characters; nobody needs more.
const LONGEST_ID: usize = 64;

impl UserAgent {
    /// `None` when it has no id to be known by.
    fn read(element: &Element) -> Result<Option<UserAgent>, Failure> {
        let text = |name| {
            let text = only(element, name, ns::SASL2)?.map(|child| printable(child.text().trim()));
            Ok(text.filter(|text| !text.is_empty()))
        };
        let (software, name) = (text("software")?, text("device")?);
        match element.attribute("id") {
            None | Some("") => Ok(None),
            Some(id) if id.len() <= LONGEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Some(UserAgent { id: id.to_owned(), software, name }))
            }
            Some(_) => Err(Failure::MalformedRequest),
        }
    }
}

/// A session that the client wants back.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Resume {
    Wanted {
        previd: String,
        h: u32,
    },
    /// It does not say which: that alone fails (XEP-0198 §9.2.1).
    Malformed,
}

/// What was asked for.
pub(super) struct Authenticate {
    pub(super) mechanism: String,
    /// In base64, when it is there at all.
    pub(super) initial: Option<String>,
    pub(super) agent: Option<UserAgent>,
    pub(super) token: Option<fast::Use>,
    /// The mechanism that a new token is wanted for, as the client wrote it.
    pub(super) requested_token: Option<String>,
    pub(super) upgrades: Vec<UpgradeTask>,
    pub(super) resume: Option<Resume>,
    pub(super) bind: Option<Wish>,
    pub(super) config_version: Option<String>,
}

impl Authenticate {
    pub(super) fn read(element: &Element) -> Result<Authenticate, Failure> {
        let child = |name, namespace| only(element, name, namespace);
        let upgrades = element
            .children()
            .filter(|child| child.is("upgrade", ns::SASL_UPGRADE))
            .filter_map(|child| UpgradeTask::from_name(child.text().trim()))
            .collect();
        let resume = child("resume", ns::SM)?.map(|resume| {
            match management::resume(resume.attribute("previd"), resume.attribute("h")) {
                Some((previd, h)) => Resume::Wanted { previd, h },
                None => Resume::Malformed,
            }
        });
        let requested_token = match child("request-token", ns::FAST)? {
            Some(request) => Some(request.attribute("mechanism").ok_or(Failure::MalformedRequest)?.to_owned()),
            None => None,
        };
        let config_version = match child("config-version", ns::PIPELINING)? {
            Some(version) => Some(version.attribute("value").ok_or(Failure::MalformedRequest)?.to_owned()),
            None => None,
        };
        Ok(Authenticate {
            mechanism: element.attribute("mechanism").unwrap_or_default().to_owned(),
            initial: child("initial-response", ns::SASL2)?.map(Element::text),
            agent: child("user-agent", ns::SASL2)?.map(UserAgent::read).transpose()?.flatten(),
            token: child("fast", ns::FAST)?.map(fast::Use::read).transpose()?,
            requested_token,
            upgrades,
            resume,
            bind: child("bind", ns::BIND2)?.map(Wish::read).transpose()?,
            config_version,
        })
    }
}

/// The one child of that name; two of them contradict each other.
pub(super) fn only<'a>(parent: &'a Element, name: &str, namespace: &str) -> Result<Option<&'a Element>, Failure> {
    let mut children = parent.children().filter(|child| child.is(name, namespace));
    let first = children.next();
    match children.next() {
        None => Ok(first),
        Some(_) => Err(Failure::MalformedRequest),
    }
}
