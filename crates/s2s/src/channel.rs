//! A connection to another server, as federation sees it.

use async_trait::async_trait;
use std::io;
use std::net::SocketAddr;
use stonechat_jid::Domain;
use stonechat_stream::{TlsFacts, Validity};

/// What a presented certificate is worth, and why, for people.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The verdict.
    pub validity: Validity,
    /// In words.
    pub reason: String,
}

/// Which end of the handshake is ours.
#[derive(Clone, Debug)]
pub enum TlsRole {
    /// We begin it, as this domain of ours towards that one.
    Initiate {
        /// Ours: whose certificate is presented.
        local: Domain,
        /// Theirs: the server name.
        remote: Domain,
    },
    /// They begin it; the certificate is this domain's.
    Accept(Domain),
    /// They begin it with the first byte; the certificate is the one their server name asks for.
    AcceptByServerName,
}

/// A connection.
#[async_trait]
pub trait Channel: Send {
    /// Reads what there is, appending it. `0`: the peer has closed. Cancelling loses nothing.
    async fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize>;
    /// Writes everything.
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Bytes that the peer sent in the clear and that were not read.
    async fn secure(&mut self, role: TlsRole) -> io::Result<TlsFacts>;
    /// Judges the certificate the peer presented, for a domain.
    fn judge(&self, domain: &Domain) -> Judgement;
    /// Address and kind of connection, for people.
    fn describe(&self) -> String;
    /// Closes.
    async fn close(&mut self);
}

/// Opens connections.
#[async_trait]
pub trait Dialler: Send + Sync + 'static {
    /// Connects; the caller bounds the time.
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Channel>>;
}
