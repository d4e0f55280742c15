//! `user …`

use super::{Admin, account, account_at, domain};
use crate::{AdminError, ErrorCode, Secret};
use serde::Serialize;
use stonechat_jid::{BareJid, Level};
use stonechat_router::AccountError;
use stonechat_sasl::{Credentials, prepare_password};
use stonechat_store::{Account, AccountState};

/// Accounts read from the store at a time.
const PAGE: usize = 500;

/// One account.
#[derive(Clone, Debug, Serialize)]
pub struct UserRow {
    /// Address.
    pub jid: String,
    /// `active` or `locked`.
    pub state: &'static str,
    /// When it was made, seconds since the Unix epoch.
    pub created: u64,
    /// When its last session ended, seconds since the Unix epoch.
    pub last_activity: Option<u64>,
    /// Addresses of its bound sessions.
    pub sessions: Vec<String>,
    /// Messages kept for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline_messages: Option<u64>,
    /// Contacts on its roster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contacts: Option<usize>,
}

/// The address that was acted on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Done {
    jid: String,
}

fn done(jid: &BareJid) -> Done {
    Done { jid: jid.to_string() }
}

fn row(admin: &Admin, account: &Account) -> UserRow {
    let sessions = admin
        .router
        .sessions()
        .into_iter()
        .filter(|session| session.jid.to_bare() == account.jid)
        .map(|session| session.jid.to_string())
        .collect();
    UserRow {
        jid: account.jid.to_string(),
        state: match account.state {
            AccountState::Active => "active",
            AccountState::Locked => "locked",
        },
        created: account.created,
        last_activity: admin.router.last_activity(account).map(|(at, _)| at),
        sessions,
        offline_messages: None,
        contacts: None,
    }
}

async fn credentials(admin: &Admin, password: &Secret) -> Result<Credentials, AdminError> {
    let password = prepare_password(password.expose())
        .map_err(|error| AdminError::new(ErrorCode::BadPassword, error.to_string()))?;
    admin
        .router
        .derive_credentials(password)
        .await
        .ok_or_else(|| AdminError::new(ErrorCode::StoreFailed, "the server is too busy hashing passwords; try again"))
}

pub(super) fn refused(jid: &BareJid, error: AccountError) -> AdminError {
    match error {
        AccountError::NotFound => AdminError::new(ErrorCode::NoSuchUser, format!("there is no account {jid}")),
        AccountError::Conflict => AdminError::new(ErrorCode::UserExists, format!("{jid}: {error}")),
        AccountError::NotServed => {
            AdminError::new(ErrorCode::DomainNotServed, format!("{} is not a domain of this server", jid.domain()))
        }
        AccountError::Store(source) => source.into(),
    }
}

pub(super) async fn add(admin: &Admin, jid: &str, password: &Secret) -> Result<Done, AdminError> {
    let jid = account_at(jid, Level::Creating)?;
    let credentials = credentials(admin, password).await?;
    admin.router.create_account(jid.clone(), credentials).await.map_err(|error| refused(&jid, error))?;
    Ok(done(&jid))
}

pub(super) async fn list(admin: &Admin, of: Option<&str>) -> Result<Vec<UserRow>, AdminError> {
    let domains = match of {
        Some(text) => vec![domain(text)?],
        None => {
            let mut domains: Vec<_> = admin.router.hosts().iter().cloned().collect();
            domains.sort();
            domains
        }
    };
    let mut rows = Vec::new();
    for domain in domains {
        let mut after: Option<String> = None;
        loop {
            let page = admin.router.store().accounts(domain.as_str(), after.as_deref(), PAGE).await?;
            rows.extend(page.iter().map(|account| row(admin, account)));
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.jid.to_string()),
                _ => break,
            }
        }
    }
    Ok(rows)
}

pub(super) async fn show(admin: &Admin, jid: &str) -> Result<UserRow, AdminError> {
    let jid = account(jid)?;
    let account = admin.router.store().account(&jid).await?.ok_or_else(|| refused(&jid, AccountError::NotFound))?;
    let mut shown = row(admin, &account);
    shown.offline_messages = Some(admin.router.store().count_offline(account.id).await?);
    let roster = admin.router.store().roster(account.id).await?;
    shown.contacts = Some(roster.entries.iter().filter(|entry| entry.listed).count());
    Ok(shown)
}

pub(super) async fn passwd(admin: &Admin, jid: &str, password: &Secret) -> Result<Done, AdminError> {
    let jid = account(jid)?;
    let credentials = credentials(admin, password).await?;
    admin.router.set_credentials(&jid, credentials).await.map_err(|error| refused(&jid, error))?;
    Ok(done(&jid))
}

pub(super) async fn lock(admin: &Admin, jid: &str) -> Result<Done, AdminError> {
    let jid = account(jid)?;
    admin.router.set_account_state(&jid, AccountState::Locked).await.map_err(|error| refused(&jid, error))?;
    Ok(done(&jid))
}

pub(super) async fn unlock(admin: &Admin, jid: &str) -> Result<Done, AdminError> {
    let jid = account(jid)?;
    admin.router.set_account_state(&jid, AccountState::Active).await.map_err(|error| refused(&jid, error))?;
    Ok(done(&jid))
}

pub(super) async fn delete(admin: &Admin, jid: &str) -> Result<Done, AdminError> {
    let jid = account(jid)?;
    admin.router.delete_account(&jid).await.map_err(|error| refused(&jid, error))?;
    Ok(done(&jid))
}
