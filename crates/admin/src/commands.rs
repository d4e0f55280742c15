//! What the commands do.

mod device;
mod server;
mod session;
mod user;

pub use device::DeviceRow;
pub use server::{CertificateView, LinkView, PingAnswer, Reloaded, StatusView};
pub use session::SessionRow;
pub use user::UserRow;

use crate::{AdminError, Command, ErrorCode};
use async_trait::async_trait;
use serde::Serialize;
use std::sync::Arc;
use stonechat_jid::{BareJid, Domain, FullJid, Level};
use stonechat_router::Router;

/// What commands may ask of federation.
#[async_trait]
pub trait Federation: Send + Sync {
    /// Streams and domains with something queued or tried.
    fn links(&self) -> Vec<LinkView>;
    /// In words, oldest first: what was tried for a domain and what happened; `None` when nothing is known of it.
    fn explain(&self, domain: &Domain) -> Option<Vec<String>>;
    /// Pings a server and waits for its answer.
    async fn ping(&self, from: &Domain, domain: &Domain) -> Result<PingAnswer, String>;
    /// Closes the streams of a domain and forgets what failed. `None` when nothing is known of it.
    fn reset(&self, domain: &Domain) -> Option<()>;
}

/// What commands may ask of certificates.
pub trait CertificatesControl: Send + Sync {
    /// Each domain's certificate.
    fn status(&self) -> Vec<CertificateView>;
    /// Loads the files again; what was in force stays when that fails.
    fn reload(&self) -> Result<Vec<CertificateView>, String>;
}

/// What commands may ask of the process.
pub trait Lifecycle: Send + Sync {
    /// Reads the configuration again; keeps the old one when the new one is wrong.
    fn reload(&self) -> Result<Reloaded, String>;
    /// Ends the server, gracefully.
    fn stop(&self);
    /// Where it listens, for people.
    fn listening(&self) -> Vec<String>;
}

/// What commands may reach. Without a running server only the router over the opened store is there.
pub struct Admin {
    /// The router.
    pub router: Router,
    /// Federation.
    pub federation: Option<Arc<dyn Federation>>,
    /// Certificates.
    pub certificates: Option<Arc<dyn CertificatesControl>>,
    /// The process.
    pub lifecycle: Option<Arc<dyn Lifecycle>>,
    /// The program's version.
    pub version: &'static str,
}

/// Runs a command.
pub async fn dispatch(admin: &Admin, command: Command) -> Result<serde_json::Value, AdminError> {
    match command {
        Command::UserAdd { jid, password } => value(user::add(admin, &jid, &password).await?),
        Command::UserList { domain } => value(user::list(admin, domain.as_deref()).await?),
        Command::UserShow { jid } => value(user::show(admin, &jid).await?),
        Command::UserPasswd { jid, password } => value(user::passwd(admin, &jid, &password).await?),
        Command::UserLock { jid } => value(user::lock(admin, &jid).await?),
        Command::UserUnlock { jid } => value(user::unlock(admin, &jid).await?),
        Command::UserDelete { jid } => value(user::delete(admin, &jid).await?),
        Command::UserDevices { jid } => value(device::list(admin, &jid).await?),
        Command::UserRevoke { jid, device } => value(device::revoke(admin, &jid, &device).await?),
        Command::UserRevokeAll { jid } => value(device::revoke_all(admin, &jid).await?),
        Command::SessionList { account } => value(session::list(admin, account.as_deref())?),
        Command::SessionShow { jid } => value(session::show(admin, &jid)?),
        Command::SessionKill { jid } => value(session::kill(admin, &jid)?),
        Command::S2sList => value(server::links(admin)?),
        Command::S2sExplain { domain } => value(server::explain(admin, &domain)?),
        Command::S2sPing { domain, from } => value(server::ping(admin, &domain, from.as_deref()).await?),
        Command::S2sReset { domain } => value(server::reset(admin, &domain)?),
        Command::CertStatus => value(server::certificates(admin)?),
        Command::CertReload => value(server::reload_certificates(admin)?),
        Command::Status => value(server::status(admin)?),
        Command::Reload => value(server::reload(admin)?),
        Command::Stop => value(server::stop(admin)?),
    }
}

fn value<T: Serialize>(answer: T) -> Result<serde_json::Value, AdminError> {
    serde_json::to_value(answer).map_err(|source| AdminError::new(ErrorCode::Internal, source.to_string()))
}

/// An account's address, as one that exists: leniently.
fn account(text: &str) -> Result<BareJid, AdminError> {
    account_at(text, Level::Routing)
}

fn account_at(text: &str, level: Level) -> Result<BareJid, AdminError> {
    BareJid::parse_at(text, level).ok().filter(|jid| jid.local().is_some()).ok_or_else(|| {
        AdminError::new(
            ErrorCode::BadArgument,
            format!("{text:?} is not an account's address, as romeo@example.org is"),
        )
    })
}

fn session_address(text: &str) -> Result<FullJid, AdminError> {
    FullJid::parse(text).map_err(|_| {
        AdminError::new(
            ErrorCode::BadArgument,
            format!("{text:?} is not a session's address, as romeo@example.org/phone is"),
        )
    })
}

fn domain(text: &str) -> Result<Domain, AdminError> {
    Domain::parse(text).map_err(|_| {
        AdminError::new(ErrorCode::BadArgument, format!("{text:?} is not a domain name, as example.org is"))
    })
}

fn needs_server<T>(part: &Option<T>) -> Result<&T, AdminError> {
    part.as_ref().ok_or_else(|| AdminError::new(ErrorCode::NotRunning, "the server is not running"))
}
