//! Errors of commands: a stable code, an exit status, and one line that says what to do.

use serde::{Deserialize, Serialize};

/// Exit statuses (PRODUCT.md, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// 1: it was tried and failed.
    Failed,
    /// 2: the command or its arguments are wrong.
    Usage,
    /// 3: what it names is not there.
    NotFound,
    /// 4: it is there already.
    Conflict,
    /// 5: it is not permitted.
    Refused,
    /// 6: the server is not running.
    NotRunning,
}

impl Exit {
    /// The number.
    pub fn status(self) -> u8 {
        match self {
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::Conflict => 4,
            Exit::Refused => 5,
            Exit::NotRunning => 6,
        }
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal, $exit:ident, $explanation:literal;)*) => {
        /// Stable codes of errors.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "each is explained by its text")]
        pub enum ErrorCode { $(#[serde(rename = $code)] $name,)* }
        impl ErrorCode {
            /// The code as shown.
            pub fn code(self) -> &'static str { match self { $(ErrorCode::$name => $code,)* } }
            /// The exit status that goes with it.
            pub fn exit(self) -> Exit { match self { $(ErrorCode::$name => Exit::$exit,)* } }
        }
        /// Every code with its explanation: cause, check, remedy.
        pub const CODES: &[(&str, &str)] = &[$(($code, $explanation)),*];
    };
}

codes! {
    ConfigMissing = "CFG-001", Failed, "No configuration file was found. Name one with --config or STONECHAT_CONFIG, or write one with `stonechat init --domain DOMAIN`.";
    ConfigUnreadable = "CFG-002", Failed, "The configuration file is there but cannot be read. Check that the user who runs the command may read it.";
    ConfigSyntax = "CFG-003", Failed, "The configuration file is not TOML, or has a key that does not exist there. The message names the line; where a known key is near, it is suggested.";
    ConfigValue = "CFG-004", Failed, "A key of the configuration file has a value that cannot be used. The message names the key and what was expected.";
    AddressTaken = "NET-001", Failed, "A port could not be bound. Another program listens there (`ss -ltnp` shows which), or the port is below 1024 and the user may not bind it.";
    CertificateUnusable = "TLS-001", Failed, "A certificate or key could not be loaded. Check that both files are PEM, belong together and may be read by the server's user. The certificate that was in force stays in force.";
    StoreUnusable = "DAT-001", Failed, "The database could not be opened. Check that data_dir exists or can be made, that the server's user owns it, and that no other Stonechat uses it.";
    StoreNewer = "DAT-002", Failed, "The database was written by a newer Stonechat. Start that one, or restore the snapshot that it took before it migrated.";
    StoreFailed = "DAT-003", Failed, "The database did not do what was asked: no space, a read-only file system, or too much work at once. Nothing was changed.";
    NotRunning = "CTL-001", NotRunning, "The command needs the running server, and none answers on the socket in data_dir. Start it with `stonechat serve`, or check that --config names the configuration it runs with.";
    SocketRefused = "CTL-002", Refused, "The admin socket is there but this user may not use it. Run the command as the server's user or as root.";
    BadArgument = "CTL-003", Usage, "An argument is malformed. The message says which and what is expected.";
    Internal = "CTL-004", Failed, "Something that should not happen did. The server's log has more; please report it.";
    AlreadyRunning = "CTL-005", Conflict, "Another Stonechat runs with this data_dir. Stop it first, or use another data_dir.";
    FileExists = "CTL-006", Conflict, "A file that would be written is there already. It is never overwritten: move it away first.";
    NoSuchUser = "USR-001", NotFound, "There is no account of that address. `stonechat user list` shows those there are.";
    UserExists = "USR-002", Conflict, "There is an account of that address, or the name was deleted not long ago and is kept back so that nobody inherits what was sent to it.";
    DomainNotServed = "USR-003", Refused, "The domain is not in `domains` of the configuration.";
    BadPassword = "USR-004", Usage, "The password is empty, too long, or has characters that passwords cannot have (RFC 8265).";
    NoSuchDevice = "USR-005", NotFound, "The account has no device of that id, and no session of one. `stonechat user devices JID` shows those there are.";
    NoSuchSession = "SES-001", NotFound, "No session is bound to that address. `stonechat session list` shows those there are.";
    NoSuchLink = "S2S-001", NotFound, "Nothing is known of that domain: no stream to it and no attempt. `stonechat s2s ping DOMAIN` makes one.";
    PingFailed = "S2S-002", Failed, "The other server did not answer. `stonechat s2s explain DOMAIN` tells what was tried and what happened.";
    MemoryShort = "MEM-001", Failed, "The server nears the memory that it may hold (`limits.memory`), and gives way: it forgets what it only remembers, ends the sessions that hold the most, lets nobody new in, and reads more slowly, in this order. Nothing that was acknowledged is lost. `stonechat session list` shows what is queued for whom; more memory, or a higher ceiling, ends it for good.";
    UnknownCode = "CTL-007", NotFound, "There is no such code.";
}

/// The explanation of a code.
pub fn explain(code: &str) -> Option<&'static str> {
    CODES.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)).map(|(_, text)| *text)
}

/// A command's failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    /// Stable code.
    pub code: ErrorCode,
    /// One line.
    pub message: String,
}

impl AdminError {
    /// With a message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        AdminError { code, message: message.into() }
    }
}

impl From<stonechat_store::Error> for AdminError {
    fn from(error: stonechat_store::Error) -> Self {
        AdminError::new(ErrorCode::StoreFailed, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_once() {
        for (index, (code, text)) in CODES.iter().enumerate() {
            assert!(text.len() > 20, "{code}");
            assert_eq!(CODES.iter().position(|(other, _)| other == code), Some(index), "{code} stands twice");
            assert_eq!(explain(&code.to_lowercase()), Some(*text));
        }
        assert_eq!(explain("XYZ-999"), None);
    }
}
