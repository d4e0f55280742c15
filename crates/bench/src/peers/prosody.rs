//! Prosody of Debian as a rival: installed when it is missing, in a data directory of its own, in the foreground.

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::rows::Flavour;
use super::server::{Server, Site};
use crate::Result;
use crate::endpoint::Endpoint;
use crate::setup::{self, RegisterCommand};

const TEMPLATE: &str = include_str!("../../../../conformance/peers/prosody-bench.cfg.lua");
/// The server, its resolver, and what its archive needs.
const PACKAGES: [&str; 3] = ["prosody", "lua-unbound", "lua-dbi-sqlite3"];
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// One instance on disk.
pub(crate) struct Prosody {
    directory: PathBuf,
    site: Site,
    owner: Owner,
}

/// The user that Prosody runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    user: u32,
    group: u32,
}

impl Prosody {
    /// Writes the configuration of an instance.
    pub(crate) fn prepare(
        directory: &Path,
        site: &Site,
        certificate: (&Path, &Path),
        dns_port: u16,
        flavour: Flavour,
    ) -> Result<Self> {
        let owner = find_owner(&fs::read_to_string("/etc/passwd")?).ok_or("there is no user called prosody")?;
        fs::create_dir_all(directory.join("data"))?;
        let (pem, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
        fs::copy(certificate.0, &pem)?;
        fs::copy(certificate.1, &key)?;
        let text = fill(TEMPLATE, directory, site, dns_port, flavour);
        fs::write(directory.join("prosody.cfg.lua"), text)?;
        for path in [directory, &directory.join("data"), &pem, &key] {
            chown(path, Some(owner.user), Some(owner.group))?;
        }
        Ok(Self { directory: directory.to_owned(), site: site.clone(), owner })
    }

    pub(crate) fn start(&self) -> Result<Server> {
        let mut command = Command::new("prosody");
        command.arg("-F").arg("--config").arg(self.configuration());
        command.uid(self.owner.user).gid(self.owner.group).current_dir(&self.directory);
        Server::start(&mut command, &self.directory.join("output.log"), &self.site.ports())
    }

    /// Makes accounts, whether the server runs or not: the first by Prosody's own command, which takes a tenth of a
    /// second, the others as copies of it. All of them have one password.
    pub(crate) async fn make_accounts(&self, endpoint: &Endpoint, numbers: RangeInclusive<u32>) -> Result<()> {
        let first = *numbers.start();
        let configuration = self.configuration().display().to_string();
        let words = ["prosodyctl", "--config", &configuration, "register", "{user}", "{domain}", "{password}"];
        let command = RegisterCommand::from_words(words.map(str::to_owned).to_vec(), None)?;
        setup::by_command(endpoint, [first], &command).await?;
        let host = self.site.domain.replace('.', "%2e").replace('-', "%2d");
        let accounts = self.directory.join("data").join(host).join("accounts");
        let of = |number| accounts.join(format!("{}.dat", endpoint.users.user(number)));
        for number in numbers.skip(1) {
            fs::copy(of(first), of(number))?;
            chown(of(number), Some(self.owner.user), Some(self.owner.group))?;
        }
        Ok(())
    }

    fn configuration(&self) -> PathBuf {
        self.directory.join("prosody.cfg.lua")
    }
}

fn fill(template: &str, directory: &Path, site: &Site, dns_port: u16, flavour: Flavour) -> String {
    let (modules, storage) = match flavour {
        Flavour::Plain => ("", "\"internal\""),
        Flavour::Managed => ("\"smacks\"; \"carbons\"", "\"internal\""),
        Flavour::Archived | Flavour::Relaxed => {
            ("\"smacks\"; \"carbons\"; \"mam\"", "{ \"internal\"; archive = \"sql\" }")
        }
    };
    let path = |name: &str| directory.join(name).display().to_string();
    template
        .replace("@MODULES@", modules)
        .replace("@STORAGE@", storage)
        .replace("@DATA@", &path("data"))
        .replace("@LOG@", &path("data/prosody.log"))
        .replace("@CERTIFICATE@", &path("certificate.pem"))
        .replace("@KEY@", &path("key.pem"))
        .replace("@DOMAIN@", &site.domain)
        .replace("@C2S@", &site.c2s.to_string())
        .replace("@C2S_TLS@", &site.c2s_tls.to_string())
        .replace("@S2S@", &site.s2s.to_string())
        .replace("@DNS@", &dns_port.to_string())
}

fn find_owner(passwd: &str) -> Option<Owner> {
    let line = passwd.lines().find(|line| line.starts_with("prosody:"))?;
    let mut fields = line.split(':').skip(2);
    Some(Owner { user: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
}

/// Installs Prosody and its resolver from Debian unless they are there, without starting a service; returns the
/// version and the settings.
pub(crate) fn install() -> Result<String> {
    let package = |name: &str| -> Option<String> {
        let output = Command::new("dpkg-query").args(["-W", "-f=${db:Status-Abbrev}${Version}", name]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.strip_prefix("ii ")?.trim().to_owned())
    };
    if !rustix::process::geteuid().is_root() {
        return Err("Prosody is installed and started as another user: this needs root".into());
    }
    if PACKAGES.iter().any(|name| package(name).is_none()) {
        // Debian's own switch: 101 forbids a package's scripts to start services.
        let ours = !Path::new(POLICY).exists();
        if ours {
            fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
            fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        }
        let installed = apt(&["update"])
            .and_then(|()| apt(&[&["install", "--yes", "--no-install-recommends"][..], &PACKAGES[..]].concat()));
        if ours {
            fs::remove_file(POLICY)?;
        }
        installed?;
    }
    let version = package("prosody").ok_or("Prosody is not there after its installation")?;
    Ok(format!(
        "{version}, epoll, `gc = {{ mode = \"generational\" }}`, limits off, files, not synced; archive in SQLite where there \
         is one; no SASL2: Debian's `mod_sasl2` needs a newer one"
    ))
}

fn apt(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("apt-get {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_the_template_is_filled() {
        let site = Site { domain: "a.lab".to_owned(), c2s: 1, c2s_tls: 2, s2s: 3 };
        let text = fill(TEMPLATE, Path::new("/x"), &site, 53, Flavour::Plain);
        assert!(!text.contains("mam") && !text.contains("smacks"), "{text}");
        let archived = fill(TEMPLATE, Path::new("/x"), &site, 53, Flavour::Archived);
        assert!(archived.contains("\"mam\"") && archived.contains("archive = \"sql\""), "{archived}");
        assert!(text.contains("VirtualHost \"a.lab\"") && text.contains("c2s_direct_tls_ports = { 2 }"), "{text}");
        assert!(text.contains("\"127.0.0.1@53\""));
        assert_eq!(text.matches('@').count(), 1);
    }

    #[test]
    fn the_owner_is_read_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nprosody:x:102:105:,,,:/var/lib/prosody:/usr/sbin/nologin\n";
        assert_eq!(find_owner(passwd), Some(Owner { user: 102, group: 105 }));
        assert_eq!(find_owner("root:x:0:0::/:/bin/sh\n"), None);
    }
}
