//! Addresses: whatever is accepted is equal to itself when it is read again, at both levels.

use stonechat_jid::{Jid, Level};

pub(crate) const CORPUS: &[&str] = &[
    "romeo@example.net/orchard",
    "example.com",
    "a@b/c/d@e",
    "ß@bücher.example",
    "x@[::1]/🎉",
    "Ａ@xn--bcher-kva.example./r",
];

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for level in [Level::Routing, Level::Creating] {
        if let Ok(jid) = Jid::parse_at(text, level) {
            assert_eq!(Jid::parse_at(jid.as_str(), level).as_ref(), Ok(&jid));
            assert!(jid.local().is_none_or(|part| !part.is_empty() && part.len() <= 1023));
            assert!(!jid.domain().is_empty() && jid.domain().len() <= 1023);
            assert!(jid.resource().is_none_or(|part| !part.is_empty() && part.len() <= 1023));
            assert!(jid.to_bare().as_jid().same_bare(&jid));
        }
    }
}
