//! `user devices`, `user revoke`

use super::user::refused;
use super::{Admin, account};
use crate::{AdminError, ErrorCode};
use serde::Serialize;
use stonechat_router::{DeviceView, PasswordProved};

/// One device of an account.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceRow {
    /// The id of its user agent.
    pub id: String,
    /// The software's name, when it said.
    pub software: Option<String>,
    /// The device's name, when it said.
    pub name: Option<String>,
    /// Its first log-in, seconds since the Unix epoch.
    pub first_seen: u64,
    /// Its last log-in, or now while it has a session; seconds since the Unix epoch.
    pub last_seen: u64,
    /// The mechanism with which it proved the password that the account has now.
    pub password: Option<String>,
    /// The mechanism of its token, the newest when it has two.
    pub token: Option<String>,
    /// When that token's time is over, seconds since the Unix epoch.
    pub token_expires: Option<u64>,
    /// Addresses of its sessions, those that wait to be resumed included.
    pub sessions: Vec<String>,
}

/// What was revoked.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Revoked {
    jid: String,
    device: String,
    /// Sessions that were ended.
    sessions: usize,
    /// Whether it proved the password that the account has now, and so can come back with it.
    knows_password: bool,
}

/// What was revoked of the whole account.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AllRevoked {
    jid: String,
    /// How many there were.
    devices: usize,
}

fn row(view: DeviceView) -> DeviceRow {
    let DeviceView { device, sessions } = view;
    let newest = device.tokens.last();
    DeviceRow {
        token: newest.map(|token| token.mechanism.clone()),
        token_expires: newest.map(|token| token.expires),
        id: device.id,
        software: device.software,
        name: device.name,
        first_seen: device.first_seen,
        last_seen: device.last_seen,
        password: device.mechanism,
        sessions: sessions.into_iter().map(|jid| jid.to_string()).collect(),
    }
}

pub(super) async fn list(admin: &Admin, jid: &str) -> Result<Vec<DeviceRow>, AdminError> {
    let jid = account(jid)?;
    let devices = admin.router.devices(&jid).await.map_err(|error| refused(&jid, error))?;
    Ok(devices.into_iter().map(row).collect())
}

pub(super) async fn revoke(admin: &Admin, jid: &str, device: &str) -> Result<Revoked, AdminError> {
    let jid = account(jid)?;
    let revoked = admin.router.revoke_device(&jid, device).await.map_err(|error| refused(&jid, error))?;
    let revoked =
        revoked.ok_or_else(|| AdminError::new(ErrorCode::NoSuchDevice, format!("{jid} has no device {device:?}")))?;
    Ok(Revoked {
        jid: jid.to_string(),
        device: device.to_owned(),
        sessions: revoked.sessions,
        knows_password: revoked.password == PasswordProved::Yes,
    })
}

pub(super) async fn revoke_all(admin: &Admin, jid: &str) -> Result<AllRevoked, AdminError> {
    let jid = account(jid)?;
    let devices = admin.router.revoke_devices(&jid).await.map_err(|error| refused(&jid, error))?;
    Ok(AllRevoked { jid: jid.to_string(), devices })
}
