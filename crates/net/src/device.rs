//! Devices that log in by XEP-0388: the machine's questions about them, asked of the router.

use stonechat_jid::BareJid;
use stonechat_router::time::utc;
use stonechat_router::{DeviceProof, LoginStart, Router, TokenKept, UserAgent};
use stonechat_sasl::{Failure, Hash, ScramKeys, TokenLookup, TokenMechanism};
use stonechat_stream::c2s::{Authorized, Granted, IssuedToken, TokenFate, TokensOf};
use tracing::error;

/// The tokens that a device may prove.
pub(crate) async fn candidates(router: &Router, of: &TokensOf) -> TokenLookup {
    router.token_candidates(&of.account, &of.device, of.mechanism).await
}

/// Lets a client in that proved itself, or does not: its device is noted, the use of its token too, and it is given one.
pub(crate) async fn admit(router: &Router, start: LoginStart, authorized: &Authorized) -> Result<Granted, Failure> {
    let agent = authorized
        .device
        .as_ref()
        .and_then(|told| UserAgent::new(&told.id, told.software.as_deref(), told.name.as_deref()));
    let proof = match authorized.used_token {
        None => DeviceProof::Password(authorized.mechanism),
        Some(seed) => DeviceProof::Token {
            mechanism: TokenMechanism::from_name(authorized.mechanism).ok_or(Failure::NotAuthorized)?,
            seed,
            count: authorized.count,
            kept: match authorized.invalidate {
                TokenFate::Kept => TokenKept::Kept,
                TokenFate::Invalidated => TokenKept::GivenBack,
            },
        },
    };
    let issued = match (agent, authorized.used_token) {
        (Some(agent), _) => {
            router.admit_device(start, &authorized.account, &agent, proof, authorized.requested_token).await?
        }
        (None, None) => None,
        // Tokens are those of devices.
        (None, Some(_)) => return Err(Failure::NotAuthorized),
    };
    let token = issued.map(|issued| IssuedToken {
        token: issued.token.expose().to_owned(),
        expiry: utc(issued.expires.saturating_mul(1000)),
    });
    Ok(Granted { token })
}

/// Keeps keys that a client brought. It is let in whether they could be kept or not.
pub(crate) async fn add_keys(router: &Router, start: LoginStart, account: &BareJid, hash: Hash, keys: ScramKeys) {
    if let Err(source) = router.add_keys(start, account, hash, keys).await {
        error!(event = "c2s.upgrade_failed", %source, "keys that a client brought could not be kept");
    }
}
