//! The command line: one definition that parsing, help, completions and man pages come from.

use crate::client;
use crate::output::{Failure, Format};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use stonechat_admin::{Command as AdminCommand, ErrorCode};

/// An XMPP server: instant, lossless, one binary.
#[derive(Debug, Parser)]
#[command(name = "stonechat", version, about, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// The configuration file. Without it, ./stonechat.toml and /etc/stonechat/stonechat.toml are looked for.
    #[arg(long, global = true, env = "STONECHAT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server in the foreground.
    Serve(Serve),
    /// Run a server for `localhost` with two accounts, to try things out.
    Demo(Demo),
    /// Write a commented configuration file.
    Init(Init),
    /// Check the configuration and what it names, without starting anything.
    Check,
    /// Accounts.
    #[command(subcommand)]
    User(User),
    /// Bound sessions of clients.
    #[command(subcommand)]
    Session(Session),
    /// Federation: what was tried, what happened, what is next.
    #[command(subcommand, name = "s2s")]
    S2s(S2s),
    /// Certificates.
    #[command(subcommand)]
    Cert(Cert),
    /// How the running server is.
    Status,
    /// Make the running server read its configuration again.
    Reload,
    /// End the running server gracefully.
    Stop,
    /// Explain an error code.
    Explain {
        /// The code, as in CFG-001.
        code: String,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory.
    Man {
        /// The directory.
        directory: PathBuf,
    },
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// How the log is written.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or a filter such as info,stonechat_net=debug.
    #[arg(long, env = "STONECHAT_LOG", default_value = "info")]
    pub(crate) log: String,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The port for clients (STARTTLS); direct TLS listens one above.
    #[arg(long, default_value_t = 5222)]
    pub(crate) port: u16,
    /// Where the demonstration keeps its data.
    #[arg(long, default_value = "stonechat-demo", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The domain: what comes after @.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: String,
    /// Where abuse and trouble can be reported.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) email: Option<String>,
}

#[derive(Debug, Args)]
struct Password {
    /// Read the password from the first line of standard input.
    #[arg(long, conflicts_with = "password_file")]
    password_stdin: bool,
    /// Read the password from the first line of a file.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum User {
    /// Make an account; the password is asked for.
    Add {
        /// Its address.
        jid: String,
        #[command(flatten)]
        password: Password,
    },
    /// List accounts.
    List {
        /// Of this domain only.
        #[arg(long)]
        domain: Option<String>,
    },
    /// Show one account.
    Show {
        /// Its address.
        jid: String,
    },
    /// Set a new password; it is asked for.
    Passwd {
        /// The account's address.
        jid: String,
        #[command(flatten)]
        password: Password,
    },
    /// Keep an account from logging in and end its sessions.
    Lock {
        /// Its address.
        jid: String,
    },
    /// Let a locked account log in again.
    Unlock {
        /// Its address.
        jid: String,
    },
    /// Delete an account and everything it kept.
    Delete {
        /// Its address.
        jid: String,
    },
    /// List the devices of an account.
    Devices {
        /// Its address.
        jid: String,
    },
    /// Take a device's token away and end its sessions. With the password it can come back.
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Revoke {
        /// The account's address.
        jid: String,
        /// The device's id, as `user devices` shows it.
        #[arg(group = "which")]
        device: Option<String>,
        /// All devices; every session of the account ends.
        #[arg(long, group = "which")]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Session {
    /// List bound sessions.
    List {
        /// Of this account only.
        #[arg(long, value_name = "JID")]
        account: Option<String>,
    },
    /// Show one session.
    Show {
        /// Its full address.
        jid: String,
    },
    /// End one session.
    Kill {
        /// Its full address.
        jid: String,
    },
}

#[derive(Debug, Subcommand)]
enum S2s {
    /// List streams and queues.
    List,
    /// Tell in words what was tried with a domain and what happened.
    Explain {
        /// The remote domain.
        domain: String,
    },
    /// Ping another server.
    Ping {
        /// The remote domain.
        domain: String,
        /// The domain of ours to ask from.
        #[arg(long)]
        from: Option<String>,
    },
    /// Close the streams of a domain and forget its failures.
    Reset {
        /// The remote domain.
        domain: String,
    },
}

#[derive(Debug, Subcommand)]
enum Cert {
    /// Show each domain's certificate.
    Status,
    /// Load the certificate files again.
    Reload,
}

/// A parsed command line.
pub(crate) struct Invocation {
    cli: Cli,
}

/// Parses the command line; help and version print and are done.
pub(crate) fn parse() -> Result<Invocation, ExitCode> {
    match Cli::try_parse() {
        Ok(cli) => Ok(Invocation { cli }),
        Err(error) => {
            let _ = error.print();
            Err(if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS })
        }
    }
}

/// Runs a command.
pub(crate) fn run(invocation: Invocation) -> Result<(), Failure> {
    let Cli { config, json, command } = invocation.cli;
    let format = if json { Format::Json } else { Format::Text };
    let admin = |command: AdminCommand| client::run(config.as_deref(), command, format);
    match command {
        Command::Serve(options) => crate::serve::run(config.as_deref(), &options).map_err(|f| f.in_format(format)),
        Command::Demo(options) => crate::demo::run(&options).map_err(|f| f.in_format(format)),
        Command::Init(options) => crate::init::run(config.as_deref(), &options, format),
        Command::Check => crate::serve::check(config.as_deref(), format),
        Command::User(user) => match user {
            User::Add { jid, password } => {
                let password = client::read_password(password.password_stdin, password.password_file.as_deref())
                    .map_err(|f| f.in_format(format))?;
                admin(AdminCommand::UserAdd { jid, password })
            }
            User::Passwd { jid, password } => {
                let password = client::read_password(password.password_stdin, password.password_file.as_deref())
                    .map_err(|f| f.in_format(format))?;
                admin(AdminCommand::UserPasswd { jid, password })
            }
            User::List { domain } => admin(AdminCommand::UserList { domain }),
            User::Show { jid } => admin(AdminCommand::UserShow { jid }),
            User::Lock { jid } => admin(AdminCommand::UserLock { jid }),
            User::Unlock { jid } => admin(AdminCommand::UserUnlock { jid }),
            User::Delete { jid } => admin(AdminCommand::UserDelete { jid }),
            User::Devices { jid } => admin(AdminCommand::UserDevices { jid }),
            // The command line has one of the two.
            User::Revoke { jid, device: Some(device), .. } => admin(AdminCommand::UserRevoke { jid, device }),
            User::Revoke { jid, device: None, .. } => admin(AdminCommand::UserRevokeAll { jid }),
        },
        Command::Session(session) => match session {
            Session::List { account } => admin(AdminCommand::SessionList { account }),
            Session::Show { jid } => admin(AdminCommand::SessionShow { jid }),
            Session::Kill { jid } => admin(AdminCommand::SessionKill { jid }),
        },
        Command::S2s(s2s) => match s2s {
            S2s::List => admin(AdminCommand::S2sList),
            S2s::Explain { domain } => admin(AdminCommand::S2sExplain { domain }),
            S2s::Ping { domain, from } => admin(AdminCommand::S2sPing { domain, from }),
            S2s::Reset { domain } => admin(AdminCommand::S2sReset { domain }),
        },
        Command::Cert(Cert::Status) => admin(AdminCommand::CertStatus),
        Command::Cert(Cert::Reload) => admin(AdminCommand::CertReload),
        Command::Status => admin(AdminCommand::Status),
        Command::Reload => admin(AdminCommand::Reload),
        Command::Stop => admin(AdminCommand::Stop),
        Command::Explain { code } => match stonechat_admin::explain(&code) {
            Some(text) => {
                crate::output::print_explanation(&code.to_uppercase(), text, format);
                Ok(())
            }
            None => Err(Failure::new(ErrorCode::UnknownCode, format!("there is no code {code}")).in_format(format)),
        },
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "stonechat", &mut std::io::stdout());
            Ok(())
        }
        Command::Man { directory } => man(&directory).map_err(|source| {
            Failure::new(ErrorCode::Internal, format!("cannot write man pages to {}: {source}", directory.display()))
        }),
    }
}

fn man(directory: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Cli::command(), directory)?;
    writeln!(std::io::stdout(), "man pages are in {}", directory.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_revoked_is_said() {
        assert!(Cli::try_parse_from(["stonechat", "user", "revoke", "a@b"]).is_err());
        assert!(Cli::try_parse_from(["stonechat", "user", "revoke", "a@b", "phone", "--all"]).is_err());
        assert!(Cli::try_parse_from(["stonechat", "user", "revoke", "a@b", "phone"]).is_ok());
        assert!(Cli::try_parse_from(["stonechat", "user", "revoke", "a@b", "--all"]).is_ok());
    }

    #[test]
    fn a_password_is_never_an_argument() {
        assert!(Cli::try_parse_from(["stonechat", "user", "add", "a@b", "secret"]).is_err());
        assert!(Cli::try_parse_from(["stonechat", "user", "add", "a@b", "--password", "secret"]).is_err());
    }
}
