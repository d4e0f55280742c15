//! What may stand in the file, key by key. Unknown keys are errors.

use crate::memory::Ceiling;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) domains: Vec<String>,
    #[serde(default = "data_dir")]
    pub(super) data_dir: PathBuf,
    #[serde(default)]
    pub(super) admins: Vec<String>,
    #[serde(default)]
    pub(super) listen: Listen,
    pub(super) tls: Option<Tls>,
    #[serde(default)]
    pub(super) c2s: C2s,
    #[serde(default)]
    pub(super) s2s: S2s,
    #[serde(default)]
    pub(super) registration: Registration,
    #[serde(default)]
    pub(super) storage: Storage,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) offline: Offline,
    #[serde(default)]
    pub(super) contact: BTreeMap<String, Vec<String>>,
    pub(super) services: Option<Services>,
    #[serde(default)]
    pub(super) archive: Archive,
    pub(super) upload: Option<Upload>,
}

fn data_dir() -> PathBuf {
    "data".into()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Listen {
    pub(super) c2s: Vec<String>,
    pub(super) c2s_tls: Vec<String>,
    pub(super) s2s: Vec<String>,
    pub(super) s2s_tls: Vec<String>,
    pub(super) https: Option<Vec<String>>,
    pub(super) http: Option<Vec<String>>,
    pub(super) component: Option<Vec<String>>,
}

impl Default for Listen {
    fn default() -> Self {
        Listen {
            c2s: vec!["[::]:5222".into()],
            c2s_tls: vec!["[::]:5223".into()],
            s2s: vec!["[::]:5269".into()],
            s2s_tls: vec!["[::]:5270".into()],
            https: None,
            http: None,
            component: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    #[serde(default)]
    pub(super) acme: bool,
    #[serde(default)]
    pub(super) domains: BTreeMap<String, TlsDomain>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsDomain {
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct C2s {
    pub(super) allow_plaintext: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct S2s {
    pub(super) require_valid_certificate: bool,
    pub(super) extra_roots: Vec<PathBuf>,
    pub(super) resolver: String,
    pub(super) allow_plaintext: bool,
    pub(super) allow_private: bool,
    pub(super) deny: Vec<String>,
    pub(super) allow: Vec<String>,
    pub(super) hosts: BTreeMap<String, String>,
}

impl Default for S2s {
    fn default() -> Self {
        S2s {
            require_valid_certificate: true,
            extra_roots: Vec::new(),
            resolver: String::new(),
            allow_plaintext: false,
            allow_private: false,
            deny: Vec::new(),
            allow: Vec::new(),
            hosts: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum RegistrationMode {
    #[default]
    Closed,
    Invite,
    Approval,
    Open,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Registration {
    pub(super) mode: RegistrationMode,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Engine {
    #[default]
    Sqlite,
    Postgres,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Durability {
    #[default]
    Full,
    Relaxed,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Storage {
    pub(super) engine: Engine,
    pub(super) durability: Durability,
    pub(super) url: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) enabled: bool,
    pub(super) memory: Memory,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { enabled: true, memory: Memory(Ceiling::Auto) }
    }
}

/// `"auto"`, `"off"`, or a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "SizeText")]
pub(super) struct Memory(pub(super) Ceiling);

impl TryFrom<SizeText> for Memory {
    type Error = String;
    fn try_from(text: SizeText) -> Result<Self, String> {
        let Size(bytes) = match &text {
            SizeText::Text(word) if word == "auto" => return Ok(Memory(Ceiling::Auto)),
            SizeText::Text(word) if word == "off" => return Ok(Memory(Ceiling::Off)),
            SizeText::Text(word) => Size::try_from(SizeText::Text(word.clone()))
                .map_err(|_| format!("\"{word}\" is not \"auto\", \"off\" or a size, as \"2GiB\" is"))?,
            SizeText::Number(bytes) => Size(*bytes),
        };
        if bytes < crate::memory::LEAST {
            return Err(format!("{bytes} bytes are too few to serve anybody: at least \"16MiB\""));
        }
        Ok(Memory(Ceiling::At(bytes)))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Offline {
    pub(super) messages: u64,
    pub(super) bytes: Size,
}

impl Default for Offline {
    fn default() -> Self {
        let limits = stonechat_router::OfflineLimits::default();
        Offline { messages: limits.messages, bytes: Size(limits.bytes) }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Services {
    #[expect(dead_code, reason = "accepted by the contract; a notice says that it has no effect")]
    rooms: Option<String>,
    #[expect(dead_code, reason = "see above")]
    upload: Option<String>,
    #[expect(dead_code, reason = "see above")]
    pubsub: Option<String>,
    #[expect(dead_code, reason = "see above")]
    proxy: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Archive {
    pub(super) enabled: bool,
    pub(super) keep: Keep,
}

impl Default for Archive {
    fn default() -> Self {
        Archive { enabled: true, keep: Keep::For(Duration::from_secs(90 * DAY)) }
    }
}

const DAY: u64 = 24 * 3600;

/// How long something is kept: `"90d"`, `"12h"`, `"4w"`, `"1y"`, or `"forever"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Keep {
    For(Duration),
    Forever,
}

impl TryFrom<String> for Keep {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a time, as \"90d\", \"12h\", \"4w\", \"1y\" or \"forever\" is");
        let trimmed = text.trim();
        if trimmed == "forever" {
            return Ok(Keep::Forever);
        }
        let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
        let unit = match trimmed.get(digits.len()..).unwrap_or_default().trim() {
            "h" => 3600,
            "d" => DAY,
            "w" => 7 * DAY,
            "y" => 365 * DAY,
            _ => return Err(wrong()),
        };
        let seconds =
            digits.parse::<u64>().ok().filter(|number| *number > 0).and_then(|number| number.checked_mul(unit));
        seconds.map(|seconds| Keep::For(Duration::from_secs(seconds))).ok_or_else(wrong)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upload {
    #[expect(dead_code, reason = "see above")]
    max_size: Option<Size>,
    #[expect(dead_code, reason = "see above")]
    quota: Option<Size>,
    #[expect(dead_code, reason = "see above")]
    keep: Option<String>,
}

/// A number of bytes: `1048576`, or `"32MB"` (powers of 1000) or `"32MiB"` (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "SizeText")]
pub(super) struct Size(pub(super) u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum SizeText {
    Number(u64),
    Text(String),
}

impl TryFrom<SizeText> for Size {
    type Error = String;
    fn try_from(text: SizeText) -> Result<Self, String> {
        let text = match text {
            SizeText::Number(bytes) => return Ok(Size(bytes)),
            SizeText::Text(text) => text,
        };
        let trimmed = text.trim();
        let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
        let factor: u64 = match trimmed.get(digits.len()..).unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" | "k" => 1_000,
            "mb" | "m" => 1_000_000,
            "gb" | "g" => 1_000_000_000,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            _ => return Err(format!("\"{text}\" is not a size, as \"50MB\" is")),
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(Size)
            .ok_or_else(|| format!("\"{text}\" is not a size, as \"50MB\" is"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, days) in [("90d", 90), ("4w", 28), ("1y", 365), ("48h", 2), (" 7 d", 7)] {
            assert_eq!(Keep::try_from(text.to_owned()), Ok(Keep::For(Duration::from_secs(days * DAY))), "{text}");
        }
        assert_eq!(Keep::try_from("forever".to_owned()), Ok(Keep::Forever));
        for text in ["", "0d", "d", "-1d", "90", "90m", "99999999999999999y"] {
            assert!(Keep::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_memory_ceiling_is_a_size_or_a_word() {
        let text = |text: &str| Memory::try_from(SizeText::Text(text.into()));
        assert_eq!(text("auto"), Ok(Memory(Ceiling::Auto)));
        assert_eq!(text("off"), Ok(Memory(Ceiling::Off)));
        assert_eq!(text("2GiB"), Ok(Memory(Ceiling::At(2 << 30))));
        assert_eq!(Memory::try_from(SizeText::Number(16 << 20)), Ok(Memory(Ceiling::At(16 << 20))));
        for wrong in ["15MiB", "0", "none", "", "2 parsecs"] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [("50MB", 50_000_000), ("1 GB", 1_000_000_000), ("4KiB", 4096), ("7", 7)] {
            assert_eq!(Size::try_from(SizeText::Text(text.into())), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "MB", "-1MB", "5 parsecs", "99999999999GB"] {
            assert!(Size::try_from(SizeText::Text(text.into())).is_err(), "{text}");
        }
    }
}
