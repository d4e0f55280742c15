//! What goes over the admin socket: one JSON object a line, a command there, a reply back.

use crate::AdminError;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A password on its way; wiped when dropped, never printed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps it.
    pub fn new(text: String) -> Self {
        Secret(Zeroizing::new(text))
    }
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A command with its arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields are the arguments of the command line, described there")]
pub enum Command {
    UserAdd { jid: String, password: Secret },
    UserList { domain: Option<String> },
    UserShow { jid: String },
    UserPasswd { jid: String, password: Secret },
    UserLock { jid: String },
    UserUnlock { jid: String },
    UserDelete { jid: String },
    UserDevices { jid: String },
    UserRevoke { jid: String, device: String },
    UserRevokeAll { jid: String },
    SessionList { account: Option<String> },
    SessionShow { jid: String },
    SessionKill { jid: String },
    S2sList,
    S2sExplain { domain: String },
    S2sPing { domain: String, from: Option<String> },
    S2sReset { domain: String },
    CertStatus,
    CertReload,
    Status,
    Reload,
    Stop,
}

impl Command {
    /// Whether it works on the store alone, without a running server.
    pub fn works_offline(&self) -> bool {
        matches!(
            self,
            Command::UserAdd { .. }
                | Command::UserList { .. }
                | Command::UserShow { .. }
                | Command::UserPasswd { .. }
                | Command::UserLock { .. }
                | Command::UserUnlock { .. }
                | Command::UserDelete { .. }
                | Command::UserDevices { .. }
                | Command::UserRevoke { .. }
                | Command::UserRevokeAll { .. }
        )
    }
}

/// What comes back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// The answer; its form is the command's.
    Ok(serde_json::Value),
    /// It failed.
    Error(AdminError),
}
