//! The command line.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::num::NonZeroU32;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::endpoint::{Endpoint, Protocol, Security, UserPattern};
use crate::load::{archive, chat, idle, login, offline, presence};
use crate::measure::Window;
use crate::process::ProcessTree;
use crate::report::{Format, Report};
use crate::session::Continuity;
use crate::setup::{self, RegisterCommand};
use crate::{Result, peers, relay};

/// Load generator for any XMPP server
#[derive(Debug, Parser)]
#[command(name = "stonechat-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the accounts 1 to COUNT, by a command or else in band (XEP-0077)
    Setup {
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        count: u32,
        /// A command per account, split at white space, with {user}, {domain}, {jid} and {password}
        #[arg(long)]
        register_command: Option<String>,
        /// What the command reads, with the same places, for example '{password}'
        #[arg(long, requires = "register_command")]
        register_input: Option<String>,
    },
    /// Sessions that are present and silent: memory of each
    Idle {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        time: Time,
        #[arg(long, default_value_t = 1000)]
        sessions: u32,
    },
    /// Messages between pairs of accounts
    Chat {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        time: Time,
        #[command(flatten)]
        chat: ChatLoad,
    },
    /// Pages of an archive, from the newest backwards, by four devices of account 1
    Archive {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        time: Time,
        /// Messages that are read; those that are missing are sent by account 2 first
        #[arg(long, default_value_t = 1000)]
        messages: u32,
        #[arg(long, default_value_t = 250)]
        page: u32,
        #[arg(long, default_value_t = 100)]
        body_bytes: usize,
    },
    /// Log in and out, or come back into sessions whose links were cut
    Login {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        time: Time,
        #[arg(long, value_enum, default_value_t = login::Way::Steps)]
        way: login::Way,
        /// Log-ins under way at a time
        #[arg(long, default_value_t = 32)]
        in_flight: u32,
        /// Accounts to take turns
        #[arg(long, default_value_t = 128)]
        accounts: u32,
    },
    /// Messages to accounts that are away, and their delivery at log-in
    Offline {
        #[command(flatten)]
        target: Target,
        #[arg(long, default_value_t = 10_000)]
        messages: u32,
        /// The accounts 1 to N send
        #[arg(long, default_value_t = 10)]
        senders: u32,
        /// The next N accounts are away
        #[arg(long, default_value_t = 100)]
        absent: u32,
        #[arg(long, default_value_t = 100)]
        body_bytes: usize,
    },
    /// Presence of account 1 to the next N accounts, which are subscribed first
    Presence {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        time: Time,
        #[arg(long, default_value_t = 200)]
        contacts: u32,
    },
    /// Messages between pairs whose ends are on two servers
    Federation {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        time: Time,
        #[command(flatten)]
        chat: ChatLoad,
        #[arg(long, default_value = "127.0.0.1")]
        remote_host: String,
        #[arg(long)]
        remote_port: u16,
        #[arg(long)]
        remote_domain: String,
    },
    /// Be the floor: a relay without XMPP, for runs with --relay
    Relay {
        #[arg(long, default_value = "127.0.0.1")]
        host: String,
        #[arg(long)]
        port: u16,
        #[arg(long, value_enum, default_value_t = Security::Direct)]
        mode: Security,
    },
    /// Measure the floor, Prosody and Stonechat in one run
    Peers(peers::Options),
}

/// The server under test.
#[derive(Debug, Args)]
pub(crate) struct Target {
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    #[arg(long, default_value_t = 5222)]
    port: u16,
    #[arg(long, default_value = "localhost")]
    domain: String,
    #[arg(long, value_enum, default_value_t = Security::Starttls)]
    mode: Security,
    /// Account names, {n} being the number
    #[arg(long, default_value = "bench{n}")]
    user_pattern: String,
    /// The password of all accounts
    #[arg(long, default_value = "bench-password")]
    password: String,
    /// A process of the server; its whole tree is measured. Repeatable
    #[arg(long)]
    pid: Vec<u32>,
    /// Print JSON lines instead of tables
    #[arg(long)]
    json: bool,
    /// The other side is the relay: no XMPP log-in
    #[arg(long)]
    relay: bool,
}

/// How long.
#[derive(Debug, Args)]
pub(crate) struct Time {
    /// Seconds of load that are not counted
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Seconds of load that are counted
    #[arg(long, default_value_t = 6.0)]
    duration: f64,
}

/// What kind of chat.
#[derive(Debug, Args)]
pub(crate) struct ChatLoad {
    #[arg(long, default_value_t = 50)]
    pairs: u32,
    /// Closed loop: messages in flight in each pair
    #[arg(long, default_value_t = 1)]
    outstanding: u32,
    /// Open loop: messages per second over all pairs
    #[arg(long, conflicts_with = "outstanding")]
    rate: Option<f64>,
    #[arg(long, default_value_t = 100)]
    body_bytes: usize,
    /// Stream management, the client asking for an acknowledgement behind so many messages
    #[arg(long)]
    acknowledged: Option<NonZeroU32>,
    /// With stream management: sessions that may be resumed
    #[arg(long, requires = "acknowledged")]
    resumable: bool,
    /// More devices of each account, with carbons; deliveries are counted then
    #[arg(long, default_value_t = 0)]
    watching: u32,
}

impl Target {
    fn endpoint(&self) -> Result<Endpoint> {
        self.endpoint_at(&self.host, self.port, &self.domain)
    }

    fn endpoint_at(&self, host: &str, port: u16, domain: &str) -> Result<Endpoint> {
        let protocol = if self.relay { Protocol::Relay } else { Protocol::Xmpp };
        let users = UserPattern::new(&self.user_pattern)?;
        Endpoint::new(resolve(host, port)?, domain, self.mode, protocol, users, &self.password)
    }

    fn servers(&self) -> Vec<ProcessTree> {
        self.pid.iter().copied().map(ProcessTree).collect()
    }

    fn print(&self, report: &Report) -> Result<()> {
        println!("{}", report.render(if self.json { Format::JsonLine } else { Format::Table })?);
        Ok(())
    }
}

impl Time {
    fn window(&self) -> Result<Window> {
        let (warmup, duration) =
            (Duration::try_from_secs_f64(self.warmup)?, Duration::try_from_secs_f64(self.duration)?);
        if duration.is_zero() { Err("the duration is zero".into()) } else { Ok(Window { warmup, duration }) }
    }
}

impl ChatLoad {
    fn plan(&self, window: Window) -> Result<chat::Plan> {
        let drive = match self.rate {
            Some(rate) if rate > 0.0 && rate.is_finite() => chat::Drive::Open { rate },
            Some(rate) => return Err(format!("a rate of {rate} messages per second is none").into()),
            None => chat::Drive::Closed { outstanding: self.outstanding },
        };
        let continuity = if self.resumable { Continuity::Resumable } else { Continuity::EndsWithItsLink };
        let style = chat::Style { acknowledged: self.acknowledged, continuity, watching: self.watching };
        Ok(chat::Plan { pairs: self.pairs, drive, body_bytes: self.body_bytes, style, window })
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr> {
    let mut found = (host, port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    Ok(found.next().ok_or_else(|| format!("{host} has no address"))?)
}

/// Does what was asked for.
pub(crate) fn run(command: Command) -> Result<()> {
    raise_open_files_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(dispatch(command))
}

async fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Setup { target, count, register_command, register_input } => {
            let endpoint = target.endpoint()?;
            match register_command {
                Some(template) => {
                    let command = RegisterCommand::new(&template, register_input)?;
                    setup::by_command(&endpoint, 1..=count, &command).await?;
                }
                None => setup::in_band(&endpoint, 1..=count).await?,
            }
            println!("{count} accounts are there");
            Ok(())
        }
        Command::Idle { target, time, sessions } => {
            target.print(&idle::run(&target.endpoint()?, sessions, time.window()?, &target.servers()).await?)
        }
        Command::Chat { target, time, chat } => {
            let plan = chat.plan(time.window()?)?;
            target.print(&chat::run(chat::Ends::One(&target.endpoint()?), plan, &target.servers()).await?)
        }
        Command::Archive { target, time, messages, page, body_bytes } => {
            let plan = archive::Plan { messages, page, body_bytes, window: time.window()? };
            target.print(&archive::run(&target.endpoint()?, plan, &target.servers()).await?)
        }
        Command::Login { target, time, way, in_flight, accounts } => {
            let plan = login::Plan { way, accounts, in_flight, window: time.window()? };
            target.print(&login::run(&target.endpoint()?, plan, &target.servers()).await?)
        }
        Command::Offline { target, messages, senders, absent, body_bytes } => {
            let plan = offline::Plan { senders, absent, messages, body_bytes };
            for report in offline::run(&target.endpoint()?, plan, &target.servers()).await? {
                target.print(&report)?;
            }
            Ok(())
        }
        Command::Presence { target, time, contacts } => {
            target.print(&presence::run(&target.endpoint()?, contacts, time.window()?, &target.servers()).await?)
        }
        Command::Federation { target, time, chat, remote_host, remote_port, remote_domain } => {
            let plan = chat.plan(time.window()?)?;
            let remote = target.endpoint_at(&remote_host, remote_port, &remote_domain)?;
            let ends = chat::Ends::Two(&target.endpoint()?, &remote);
            let report = chat::run(ends, plan, &target.servers()).await?;
            target.print(&report.named("federation", "message"))
        }
        Command::Relay { host, port, mode } => relay::serve(resolve(&host, port)?, mode).await,
        Command::Peers(options) => peers::run(options).await,
    }
}

/// Asks for as many open files as this process may have; each connection is one.
fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        eprintln!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_open_loop_excludes_a_closed_one() {
        let parse = |words: &str| Cli::try_parse_from(words.split(' '));
        assert!(parse("bench chat --rate 500 --pid 1 --pid 2").is_ok());
        assert!(parse("bench chat --rate 500 --outstanding 3").is_err());
        assert!(parse("bench chat --acknowledged 5 --watching 1").is_ok());
        assert!(parse("bench chat --acknowledged 0").is_err());
        assert!(parse("bench login --way resume-token").is_ok());
        assert!(parse("bench federation --remote-port 1").is_err());
    }
}
