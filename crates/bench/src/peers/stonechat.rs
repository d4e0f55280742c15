//! Stonechat in the run: the real binary with the configuration file and the command line that its users have.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::rows::Flavour;
use super::server::{Server, Site};
use crate::Result;
use crate::endpoint::Security;
use crate::setup::RegisterCommand;

const ADMIN_LIMIT: Duration = Duration::from_secs(10);

/// One instance on disk.
pub(crate) struct Stonechat {
    binary: PathBuf,
    directory: PathBuf,
    site: Site,
}

impl Stonechat {
    /// Writes the configuration of an instance that knows the others by fixed addresses.
    pub(crate) fn prepare(
        binary: &Path,
        directory: &Path,
        site: &Site,
        others: &[Site],
        certificate: (&Path, &Path),
        security: Security,
        flavour: Flavour,
    ) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let binary = fs::canonicalize(binary).map_err(|error| format!("{}: {error}", binary.display()))?;
        fs::write(directory.join("stonechat.toml"), configuration(site, others, certificate, security, flavour)?)?;
        Ok(Self { binary, directory: directory.to_owned(), site: site.clone() })
    }

    pub(crate) fn start(&self) -> Result<Server> {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--config").arg(self.configuration()).current_dir(&self.directory);
        let mut server = Server::start(&mut command, &self.directory.join("output.log"), &self.site.ports())?;
        // Its socket for administrators may come up after the port.
        let deadline = Instant::now() + ADMIN_LIMIT;
        loop {
            server.check()?;
            let mut status = Command::new(&self.binary);
            status.arg("status").arg("--config").arg(self.configuration());
            let output = status.output()?;
            if output.status.success() {
                return Ok(server);
            }
            if Instant::now() > deadline {
                return Err(format!("stonechat status: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes an account over the running server's socket.
    pub(crate) fn register_command(&self) -> Result<RegisterCommand> {
        let words = [
            self.binary.display().to_string(),
            "user".to_owned(),
            "add".to_owned(),
            "{jid}".to_owned(),
            "--password-stdin".to_owned(),
            "--config".to_owned(),
            self.configuration().display().to_string(),
        ];
        RegisterCommand::from_words(words.to_vec(), Some("{password}\n".to_owned()))
    }

    fn configuration(&self) -> PathBuf {
        self.directory.join("stonechat.toml")
    }
}

/// What the binary calls itself, and how it is set up.
pub(crate) fn version(binary: &Path) -> Result<String> {
    let output =
        Command::new(binary).arg("--version").output().map_err(|error| format!("{}: {error}", binary.display()))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().trim_start_matches("stonechat ").to_owned();
    Ok(format!(
        "{version}, release build, limits off, archive where there is one, `durability = \"full\"` unless it is said"
    ))
}

fn configuration(
    site: &Site,
    others: &[Site],
    certificate: (&Path, &Path),
    security: Security,
    flavour: Flavour,
) -> Result<String> {
    let Site { domain, c2s, c2s_tls, s2s } = site;
    let archive = matches!(flavour, Flavour::Archived | Flavour::Relaxed);
    let durability = if flavour == Flavour::Relaxed { "relaxed" } else { "full" };
    let plaintext = security == Security::Plain;
    let mut text = format!(
        "domains = [\"{domain}\"]\ndata_dir = \"data\"\n\n\
         [listen]\nc2s = [\"127.0.0.1:{c2s}\"]\nc2s_tls = [\"127.0.0.1:{c2s_tls}\"]\n\
         s2s = [\"127.0.0.1:{s2s}\"]\ns2s_tls = []\n\n\
         [tls]\ncert = \"{}\"\nkey = \"{}\"\n\n\
         [c2s]\nallow_plaintext = {plaintext}\n\n\
         [limits]\nenabled = false\n\n\
         [storage]\ndurability = \"{durability}\"\n\n\
         [archive]\nenabled = {archive}\n\n\
         [s2s]\nrequire_valid_certificate = false\n\n[s2s.hosts]\n",
        certificate.0.display(),
        certificate.1.display()
    );
    for Site { domain, s2s, .. } in others {
        writeln!(text, "\"{domain}\" = \"127.0.0.1:{s2s}\"")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_allowed_for_its_own_rows_only() {
        let site = Site { domain: "a.lab".to_owned(), c2s: 1, c2s_tls: 2, s2s: 3 };
        let other = Site { domain: "b.lab".to_owned(), c2s: 4, c2s_tls: 5, s2s: 6 };
        let paths = (Path::new("/c.pem"), Path::new("/k.pem"));
        let text = configuration(&site, &[other], paths, Security::Direct, Flavour::Plain).unwrap();
        assert!(text.contains("allow_plaintext = false"), "{text}");
        assert!(text.contains("\n\"b.lab\" = \"127.0.0.1:6\"\n"), "{text}");
        assert!(text.contains("[archive]\nenabled = false") && text.contains("durability = \"full\""), "{text}");
        let text = configuration(&site, &[], paths, Security::Plain, Flavour::Relaxed).unwrap();
        assert!(text.contains("allow_plaintext = true"), "{text}");
        assert!(text.contains("[archive]\nenabled = true") && text.contains("durability = \"relaxed\""), "{text}");
    }
}
