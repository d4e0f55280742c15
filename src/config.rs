//! The configuration file: one TOML file that is the whole truth (PRODUCT.md, section 3).
//!
//! It is read in two steps: [`file`] is what may stand in it, key by key; [`Config`] is what it means, with addresses
//! parsed, paths made absolute and contradictions refused. Every error says what, where and what to do.

mod file;
mod suggest;

use crate::memory::Ceiling;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use stonechat_admin::ErrorCode;
use stonechat_jid::{BareJid, Domain, Level};
use stonechat_router::{ArchiveSettings, Durability, OfflineLimits, RegistrationMode, Settings};
use stonechat_s2s::Access;

/// The names that are looked for when none is given.
pub(crate) const SEARCHED: [&str; 2] = ["stonechat.toml", "/etc/stonechat/stonechat.toml"];

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("there is no configuration file: looked for {}; `stonechat init --domain DOMAIN` writes one", SEARCHED.join(" and "))]
    NotFound,
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: {message}", path.display())]
    Syntax { path: PathBuf, message: String },
    #[error("{}: {key}: {message}", path.display())]
    Value { path: PathBuf, key: String, message: String },
}

impl ConfigError {
    /// The stable code that `stonechat explain` knows.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            ConfigError::NotFound => ErrorCode::ConfigMissing,
            ConfigError::Unreadable { .. } => ErrorCode::ConfigUnreadable,
            ConfigError::Syntax { .. } => ErrorCode::ConfigSyntax,
            ConfigError::Value { .. } => ErrorCode::ConfigValue,
        }
    }
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) c2s: Vec<SocketAddr>,
    pub(crate) c2s_tls: Vec<SocketAddr>,
    pub(crate) s2s: Vec<SocketAddr>,
    pub(crate) s2s_tls: Vec<SocketAddr>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyPair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Made here and kept in `data_dir`.
    SelfSigned,
    /// From files; a domain without a pair of its own uses the first.
    Files { default: KeyPair, domains: BTreeMap<Domain, KeyPair> },
}

/// Whether something is permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    Allowed,
    Refused,
}

impl Config {
    /// Whether there is federation: a server that no other server can answer does not talk to any.
    pub(crate) fn federates(&self) -> Permission {
        Permission::from_flag(!self.listen.s2s.is_empty() || !self.listen.s2s_tls.is_empty())
    }
}

impl Permission {
    fn from_flag(flag: bool) -> Self {
        if flag { Permission::Allowed } else { Permission::Refused }
    }
}

/// A fixed address of a remote domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FixedHost {
    /// Direct TLS rather than STARTTLS.
    pub(crate) direct_tls: Permission,
    /// Host name or address literal.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Federation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Federation {
    pub(crate) require_valid_certificate: Permission,
    pub(crate) extra_roots: Vec<PathBuf>,
    pub(crate) resolver: Option<SocketAddr>,
    pub(crate) allow_plaintext: Permission,
    /// Whether DNS may send us to addresses that are not of the public internet.
    pub(crate) allow_private: Permission,
    /// Whom we speak with.
    pub(crate) access: Access,
    pub(crate) hosts: BTreeMap<Domain, FixedHost>,
}

/// What the file means.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    pub(crate) domains: Vec<Domain>,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: Listen,
    pub(crate) tls: Tls,
    pub(crate) plaintext_clients: Permission,
    pub(crate) federation: Federation,
    pub(crate) rate_limits: Permission,
    /// What the process may hold.
    pub(crate) memory: Ceiling,
    pub(crate) settings: Settings,
    /// What is accepted but not in force in this version; said at every start.
    pub(crate) notices: Vec<String>,
}

/// Finds the file: the one named, or the first of those looked for.
pub(crate) fn find(named: Option<&Path>) -> Result<PathBuf, ConfigError> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    SEARCHED.iter().map(PathBuf::from).find(|path| path.exists()).ok_or(ConfigError::NotFound)
}

/// Reads and checks a file.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Checks a text as if it stood in the file.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let file: file::File = toml::from_str(text)
        .map_err(|error| ConfigError::Syntax { path: path.to_owned(), message: suggest::describe(&error, text) })?;
    Checker { path, base: path.parent().unwrap_or(Path::new(".")) }.check(file)
}

/// Keys that everybody on the machine can read (abuse case 155). The server works with them, so they are told and no error.
fn readable_keys(tls: &Tls) -> Vec<String> {
    const OTHERS_READ: u32 = 0o004;
    let Tls::Files { default, domains } = tls else { return Vec::new() };
    let mut keys: Vec<&Path> =
        std::iter::once(default).chain(domains.values()).map(|pair| pair.key.as_path()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| std::fs::metadata(key).is_ok_and(|found| found.permissions().mode() & OTHERS_READ != 0));
    keys.iter()
        .map(|key| {
            format!("{0} is a private key that everybody on this machine can read: chmod o-rwx {0}", key.display())
        })
        .collect()
}

struct Checker<'a> {
    path: &'a Path,
    base: &'a Path,
}

impl Checker<'_> {
    fn error(&self, key: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError::Value { path: self.path.to_owned(), key: key.into(), message: message.into() }
    }

    fn at(&self, path: &Path) -> PathBuf {
        // Relative paths are relative to the file, not to where the command was typed.
        std::path::absolute(self.base.join(path)).unwrap_or_else(|_| self.base.join(path))
    }

    fn domain(&self, key: &str, text: &str) -> Result<Domain, ConfigError> {
        Domain::parse(text).map_err(|_| self.error(key, format!("\"{text}\" is not a domain name")))
    }

    fn check(&self, file: file::File) -> Result<Config, ConfigError> {
        if file.domains.is_empty() {
            return Err(self.error("domains", "name at least one domain, as in domains = [\"example.org\"]"));
        }
        let mut domains = Vec::new();
        for text in &file.domains {
            let domain = self.domain("domains", text)?;
            if domains.contains(&domain) {
                return Err(self.error("domains", format!("\"{text}\" stands there twice")));
            }
            domains.push(domain);
        }
        let listen = Listen {
            c2s: self.addresses("listen.c2s", &file.listen.c2s)?,
            c2s_tls: self.addresses("listen.c2s_tls", &file.listen.c2s_tls)?,
            s2s: self.addresses("listen.s2s", &file.listen.s2s)?,
            s2s_tls: self.addresses("listen.s2s_tls", &file.listen.s2s_tls)?,
        };
        if file.c2s.allow_plaintext
            && let Some(public) = listen.c2s.iter().find(|address| !address.ip().is_loopback())
        {
            return Err(self.error(
                "c2s.allow_plaintext",
                format!("passwords would cross the network in the clear at {public}: listen on a loopback address, or turn it off"),
            ));
        }
        let mut notices = Vec::new();
        self.not_yet(&file, &mut notices)?;
        let tls = self.tls(file.tls, &domains)?;
        notices.extend(readable_keys(&tls));
        if matches!(file.limits.memory.0, Ceiling::At(_)) && file.limits.memory.0.bytes().is_none() {
            notices
                .push("limits.memory has no effect: what a process holds cannot be measured on this system".to_owned());
        }
        Ok(Config {
            path: self.path.to_owned(),
            data_dir: self.at(&file.data_dir),
            tls,
            plaintext_clients: Permission::from_flag(file.c2s.allow_plaintext),
            federation: self.federation(file.s2s, &domains)?,
            rate_limits: Permission::from_flag(file.limits.enabled),
            memory: file.limits.memory.0,
            settings: Settings {
                archive: ArchiveSettings {
                    enabled: file.archive.enabled,
                    keep: match file.archive.keep {
                        file::Keep::For(time) => Some(time),
                        file::Keep::Forever => None,
                    },
                },
                durability: match file.storage.durability {
                    file::Durability::Full => Durability::Full,
                    file::Durability::Relaxed => Durability::Relaxed,
                },
                ..self.settings(&file.admins, file.registration.mode, file.offline, file.contact, &domains)?
            },
            domains,
            listen,
            notices,
        })
    }

    /// Keys of the contract whose feature is not there: accepted where leaving it out does no harm, refused where the
    /// operator would rely on it.
    fn not_yet(&self, file: &file::File, notices: &mut Vec<String>) -> Result<(), ConfigError> {
        if file.storage.engine == file::Engine::Postgres || file.storage.url.is_some() {
            return Err(self.error("storage.engine", "this version has the engine \"sqlite\" only"));
        }
        if file.tls.as_ref().is_some_and(|tls| tls.acme) {
            return Err(
                self.error("tls.acme", "this version cannot fetch certificates itself: set tls.cert and tls.key")
            );
        }
        match file.registration.mode {
            file::RegistrationMode::Invite | file::RegistrationMode::Approval => {
                return Err(self.error("registration.mode", "this version knows \"closed\" and \"open\""));
            }
            file::RegistrationMode::Closed | file::RegistrationMode::Open => {}
        }
        for (key, set) in [
            ("listen.https", file.listen.https.is_some()),
            ("listen.http", file.listen.http.is_some()),
            ("listen.component", file.listen.component.is_some()),
            ("services", file.services.is_some()),
            ("upload", file.upload.is_some()),
        ] {
            if set {
                notices.push(format!("{key} is set, but this version does not have the feature: it has no effect"));
            }
        }
        Ok(())
    }

    fn addresses(&self, key: &str, texts: &[String]) -> Result<Vec<SocketAddr>, ConfigError> {
        texts
            .iter()
            .map(|text| {
                text.parse().map_err(|_| {
                    self.error(
                        key,
                        format!("\"{text}\" is not an address and port, as \"[::]:5222\" or \"127.0.0.1:5222\" is"),
                    )
                })
            })
            .collect()
    }

    fn tls(&self, tls: Option<file::Tls>, domains: &[Domain]) -> Result<Tls, ConfigError> {
        let Some(tls) = tls else { return Ok(Tls::SelfSigned) };
        let pair = |key: &str, cert: Option<PathBuf>, private: Option<PathBuf>| match (cert, private) {
            (Some(cert), Some(private)) => Ok(Some(KeyPair { cert: self.at(&cert), key: self.at(&private) })),
            (None, None) => Ok(None),
            _ => Err(self.error(key, "cert and key go together: set both")),
        };
        let default = pair("tls", tls.cert, tls.key)?;
        let mut own = BTreeMap::new();
        for (name, entry) in tls.domains {
            let key = format!("tls.domains.\"{name}\"");
            let domain = self.domain(&key, &name)?;
            if !domains.contains(&domain) {
                return Err(self.error(key, "it is not in `domains`"));
            }
            if let Some(pair) = pair(&key, entry.cert, entry.key)? {
                own.insert(domain, pair);
            }
        }
        match default.or_else(|| domains.first().and_then(|first| own.get(first)).cloned()) {
            Some(default) => Ok(Tls::Files { default, domains: own }),
            None if own.is_empty() => Ok(Tls::SelfSigned),
            None => Err(self.error("tls", "set cert and key for the first domain too")),
        }
    }

    /// Domains of `[s2s] deny` or `allow`.
    fn remotes(&self, key: &str, texts: &[String], own: &[Domain]) -> Result<Vec<Domain>, ConfigError> {
        let mut remotes = Vec::new();
        for text in texts {
            if text.starts_with('*') || text.starts_with('.') {
                let message = format!("\"{text}\": name the domain alone, what is below it is meant too");
                return Err(self.error(key, message));
            }
            let domain = self.domain(key, text)?;
            if own.contains(&domain) {
                return Err(self.error(key, format!("\"{text}\" is one of `domains`: it is this server itself")));
            }
            remotes.push(domain);
        }
        Ok(remotes)
    }

    fn federation(&self, s2s: file::S2s, own: &[Domain]) -> Result<Federation, ConfigError> {
        let access = Access {
            deny: self.remotes("s2s.deny", &s2s.deny, own)?,
            allow: self.remotes("s2s.allow", &s2s.allow, own)?,
        };
        let resolver = match s2s.resolver.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                self.error("s2s.resolver", format!("\"{text}\" is not an address and port, as \"127.0.0.1:53\" is"))
            })?),
        };
        let mut hosts = BTreeMap::new();
        for (name, target) in s2s.hosts {
            let key = format!("s2s.hosts.\"{name}\"");
            let domain = self.domain(&key, &name)?;
            let (direct_tls, rest) = match target.strip_prefix("tls:") {
                Some(rest) => (Permission::Allowed, rest),
                None => (Permission::Refused, target.as_str()),
            };
            let (host, port) = rest
                .rsplit_once(':')
                .and_then(|(host, port)| Some((host, port.parse().ok()?)))
                .filter(|(host, _)| !host.is_empty())
                .ok_or_else(|| self.error(&key, format!("\"{target}\" is not HOST:PORT or tls:HOST:PORT")))?;
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            hosts.insert(domain, FixedHost { direct_tls, host, port });
        }
        Ok(Federation {
            require_valid_certificate: Permission::from_flag(s2s.require_valid_certificate),
            extra_roots: s2s.extra_roots.iter().map(|path| self.at(path)).collect(),
            resolver,
            allow_plaintext: Permission::from_flag(s2s.allow_plaintext),
            allow_private: Permission::from_flag(s2s.allow_private),
            access,
            hosts,
        })
    }

    fn settings(
        &self,
        admins: &[String],
        mode: file::RegistrationMode,
        offline: file::Offline,
        contact: BTreeMap<String, Vec<String>>,
        domains: &[Domain],
    ) -> Result<Settings, ConfigError> {
        let mut parsed = Vec::new();
        for text in admins {
            let jid = BareJid::parse_at(text, Level::Creating)
                .ok()
                .filter(|jid| jid.local().is_some())
                .ok_or_else(|| self.error("admins", format!("\"{text}\" is not an account's address")))?;
            if !domains.contains(&jid.to_domain()) {
                return Err(self.error("admins", format!("\"{text}\" is not at one of `domains`")));
            }
            parsed.push(jid);
        }
        let mut contacts = Vec::new();
        for (kind, addresses) in contact {
            const KINDS: [&str; 7] = ["abuse", "admin", "feedback", "sales", "security", "status", "support"];
            let key = format!("contact.{kind}");
            if !KINDS.contains(&kind.as_str()) {
                return Err(self.error(key, format!("known kinds are {}", KINDS.join(", "))));
            }
            if let Some(bad) = addresses.iter().find(|address| !address.contains(':')) {
                return Err(self.error(key, format!("\"{bad}\" is not a URI, as \"mailto:abuse@example.org\" is")));
            }
            contacts.push((format!("{kind}-addresses"), addresses));
        }
        Ok(Settings {
            admins: parsed,
            registration: match mode {
                file::RegistrationMode::Open => RegistrationMode::Open,
                _ => RegistrationMode::Closed,
            },
            offline: OfflineLimits { messages: offline.messages, bytes: offline.bytes.0 },
            contacts,
            ..Settings::default()
        })
    }
}
