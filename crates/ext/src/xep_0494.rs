//! XEP-0494: Client Access Management: the owner of an account sees which clients have access to it, and shuts them out.
//!
//! A client is a device that told the id of its user agent (XEP-0388), or, where it told none, its session. Listed is what can
//! be there without anybody's help: whoever proved the password that the account has now, has a token, or is connected. A
//! client that proved the password cannot be shut out but by another password (§3.2), which the answer says and then does
//! nothing; what it says holds until the password was changed.
//!
//! The specification names no feature to look for; its namespace on the account is that.
//!
//! Deliberately absent: clients of type `access`, restricted permissions and grants: whoever is let in here is a session
//! with all that its owner may do. How long devices are remembered is bounded by their number, not by time.

use stonechat_jid::BareJid;
use stonechat_router::time::utc;
use stonechat_router::{
    AccountError, Context, DeviceView, Extension, Info, IqAnswer, IqKind, IqRequest, IqTarget, Place, Registrar,
    Relation, SessionView,
};
use stonechat_stanza::{StanzaCondition, StanzaError, ns};
use stonechat_xml::Element;
use tracing::error;

/// Ids of devices begin so; the rest is what the client told.
const DEVICE: &str = "device-";
/// Ids of sessions that told no device begin so; the rest is the session's number.
const SESSION: &str = "session-";

pub(crate) struct ClientAccess;

impl Extension for ClientAccess {
    const INFO: Info = Info {
        xep: 494,
        name: "Client Access Management",
        version: "0.1.0",
        note: "devices and sessions; those with tokens alone can be revoked, others after a new password",
    };

    fn install(self, registrar: &mut Registrar) {
        registrar.disco_feature(Place::Account, ns::CLIENT_ACCESS);
        registrar.iq(Place::Account, IqKind::Get, ns::CLIENT_ACCESS, "list", list);
        registrar.iq(Place::Account, IqKind::Set, ns::CLIENT_ACCESS, "revoke", revoke);
    }
}

/// The account, if its owner asks.
fn owned(request: &IqRequest) -> Result<&BareJid, StanzaError> {
    match (&request.target, request.relation) {
        (IqTarget::Account(account), Relation::Owner) => Ok(account),
        _ => Err(StanzaCondition::Forbidden.into()),
    }
}

fn refused(error: &AccountError) -> StanzaError {
    match error {
        AccountError::Store(source) => {
            error!(event = "devices.store_failed", %source, "devices could not be read or written");
            StanzaCondition::InternalServerError.into()
        }
        AccountError::NotFound | AccountError::Conflict | AccountError::NotServed => {
            StanzaCondition::ItemNotFound.into()
        }
    }
}

fn empty(name: &'static str) -> Element {
    Element::new(name, ns::CLIENT_ACCESS)
}

/// Seconds since the Unix epoch as XEP-0082 has them, without parts of a second.
fn time(seconds: u64) -> String {
    utc(seconds.saturating_mul(1000)).replace(".000Z", "Z")
}

/// §3.1
async fn list(context: Context, request: IqRequest) -> IqAnswer {
    let account = owned(&request)?;
    let devices = context.devices(account).await.map_err(|error| refused(&error))?;
    let sessions = context.sessions(account);
    let now = context.unix().as_secs();
    let clients = devices
        .iter()
        .filter(|view| view.has_access())
        .map(device)
        .chain(sessions.iter().filter(|view| view.device.is_none()).map(|view| session(view, now)));
    Ok(Some(empty("clients").with_children(clients)))
}

/// What every client's element begins with.
fn client(id: String, connected: &'static str, first_seen: u64, last_seen: u64) -> Element {
    empty("client")
        .with_attribute("connected", connected)
        .with_attribute("id", id)
        .with_attribute("type", "session")
        .with_child(empty("first-seen").with_text(time(first_seen)))
        .with_child(empty("last-seen").with_text(time(last_seen)))
}

fn unrestricted() -> Element {
    empty("permission").with_attribute("status", "unrestricted")
}

fn device(view: &DeviceView) -> Element {
    let DeviceView { device, sessions } = view;
    let mut auth = empty("auth");
    if device.mechanism.is_some() {
        auth = auth.with_child(empty("password"));
    }
    if !device.tokens.is_empty() {
        auth = auth.with_child(empty("fast"));
    }
    let names = [("software", &device.software), ("device", &device.name)];
    let names = names.into_iter().filter_map(|(name, text)| Some(empty(name).with_text(text.as_deref()?)));
    let connected = if sessions.is_empty() { "false" } else { "true" };
    client(format!("{DEVICE}{}", device.id), connected, device.first_seen, device.last_seen)
        .with_child(auth)
        .with_child(unrestricted())
        .with_child(empty("user-agent").with_children(names))
}

/// A client that told no device: all that is known is that it is there, and that the password let it in.
fn session(view: &SessionView, now: u64) -> Element {
    client(format!("{SESSION}{}", view.id.0), "true", view.since.as_secs(), now)
        .with_child(empty("auth").with_child(empty("password")))
        .with_child(unrestricted())
        .with_child(empty("user-agent"))
}

/// §3.2
async fn revoke(context: Context, request: IqRequest) -> IqAnswer {
    let account = owned(&request)?;
    let id = request.payload.attribute("id").ok_or(StanzaCondition::BadRequest)?;
    let devices = context.devices(account).await.map_err(|error| refused(&error))?;
    if let Some(device) = id.strip_prefix(DEVICE) {
        let view = devices.iter().find(|view| view.device.id == device).ok_or(StanzaCondition::ItemNotFound)?;
        if view.device.mechanism.is_some() {
            return Err(password_reset_required());
        }
        let revoked = context.revoke_device(account, device).await.map_err(|error| refused(&error))?;
        return revoked.map(|_| None).ok_or_else(|| StanzaCondition::ItemNotFound.into());
    }
    let told_no_device = |view: &SessionView| view.device.is_none() && id == format!("{SESSION}{}", view.id.0);
    match context.sessions(account).iter().any(told_no_device) {
        true => Err(password_reset_required()),
        false => Err(StanzaCondition::ItemNotFound.into()),
    }
}

fn password_reset_required() -> StanzaError {
    StanzaError::new(StanzaCondition::ServiceUnavailable)
        .with_text("the client knows the password: choose another one, then revoke what is still there")
        .with_application(empty("password-reset-required"))
}
