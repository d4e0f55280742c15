//! The typed registry of administrators' commands: one definition each, behind the command line and the admin socket
//! (and, later, the HTTP interface and ad-hoc commands).
//!
//! A command is a name, typed arguments and an answer that serialises; what it may reach is [`Admin`]. Passwords travel as
//! values of the request and are wiped; they never stand in a command line or a log.
//!
//! Deliberately absent: parsing command lines and printing for people (the binary's), sockets' permissions.

mod commands;
mod error;
mod protocol;
mod socket;

pub use commands::{
    Admin, CertificateView, CertificatesControl, DeviceRow, Federation, Lifecycle, LinkView, PingAnswer, Reloaded,
    SessionRow, StatusView, UserRow, dispatch,
};
pub use error::{AdminError, CODES, ErrorCode, Exit, explain};
pub use protocol::{Command, Reply, Secret};
pub use socket::{SocketError, call, serve};
