//! `init`: a commented configuration file, never over an existing one.

use crate::output::{self, Failure, Format};
use std::path::Path;
use stonechat_admin::ErrorCode;
use stonechat_jid::Domain;

pub(crate) fn run(named: Option<&Path>, options: &crate::cli::Init, format: Format) -> Result<(), Failure> {
    write(named, options)
        .map(|path| output::print(&serde_json::json!({ "written": path }), format))
        .map_err(|f| f.in_format(format))
}

fn write(named: Option<&Path>, options: &crate::cli::Init) -> Result<String, Failure> {
    let path = named.unwrap_or(Path::new(crate::config::SEARCHED[0]));
    let domain = Domain::parse(&options.domain).map_err(|_| {
        Failure::new(ErrorCode::BadArgument, format!("{:?} is not a domain name, as example.org is", options.domain))
    })?;
    let text = template(&domain, options.email.as_deref());
    // What is written must be what the server reads.
    crate::config::parse(path, &text).map_err(crate::client::config_failure)?;
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::new(ErrorCode::FileExists, format!("{} is there already and stays as it is", path.display()))
            }
            _ => Failure::new(ErrorCode::Internal, format!("cannot write {}: {source}", path.display())),
        })?;
    std::io::Write::write_all(&mut file, text.as_bytes())
        .map_err(|source| Failure::new(ErrorCode::Internal, format!("cannot write {}: {source}", path.display())))?;
    Ok(path.display().to_string())
}

fn template(domain: &Domain, email: Option<&str>) -> String {
    let contact = match email {
        Some(email) => format!("[contact]                            # told to clients and other servers (XEP-0157)\nabuse = [\"mailto:{email}\"]\n"),
        None => "# [contact]                          # told to clients and other servers (XEP-0157)\n# abuse = [\"mailto:abuse@example.org\"]\n".to_owned(),
    };
    format!(
        r#"# Stonechat. Every key and its default: docs/configuration.md
domains  = ["{domain}"]
data_dir = "data"                    # relative to this file; keep it on a local disk
admins   = []                        # as ["romeo@{domain}"]

[listen]                             # [] turns one off
c2s     = ["[::]:5222"]              # clients, STARTTLS
c2s_tls = ["[::]:5223"]              # clients, direct TLS
s2s     = ["[::]:5269"]              # servers, STARTTLS
s2s_tls = ["[::]:5270"]              # servers, direct TLS

# Without this section a self-signed certificate is made, which clients warn of.
# [tls]
# cert = "fullchain.pem"
# key  = "privkey.pem"

[registration]
mode = "closed"                      # closed: `stonechat user add` makes accounts; open: anybody may

{contact}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_the_server_reads() {
        for (domain, email) in [("example.org", None), ("bücher.example", Some("a@b.example"))] {
            let text = template(&Domain::parse(domain).unwrap(), email);
            let config = crate::config::parse(Path::new("/etc/stonechat/stonechat.toml"), &text).unwrap();
            assert_eq!(config.domains, [Domain::parse(domain).unwrap()]);
            assert_eq!(config.data_dir, Path::new("/etc/stonechat/data"));
            assert_eq!(config.settings.contacts.len(), usize::from(email.is_some()));
        }
    }
}
