//! The states of the stream and what leads from one to the next.

use super::{Command, Config, Event};
use crate::{TlsFacts, Transmit};
use std::sync::Arc;
use std::time::Instant;
use stonechat_jid::Domain;

/// The machine.
pub struct S2sIn {
    #[expect(dead_code, reason = "being filled")]
    config: Arc<Config>,
}

impl S2sIn {
    /// A machine for a connection that was accepted now. With [`crate::S2sTransport::DirectTls`], [`S2sIn::on_tls`] comes
    /// first.
    pub fn new(_config: Arc<Config>, _now: Instant) -> Self {
        todo!()
    }
    /// Whether the machine can take input; while it waits for an answer, the driver should not read.
    pub fn wants_input(&self) -> bool {
        todo!()
    }
    /// Bytes from the peer.
    pub fn on_bytes(&mut self, _now: Instant, _bytes: &[u8]) {
        todo!()
    }
    /// The handshake is done.
    pub fn on_tls(&mut self, _now: Instant, _facts: TlsFacts) {
        todo!()
    }
    /// The connection ended.
    pub fn on_eof(&mut self) {
        todo!()
    }
    /// Time has passed.
    pub fn on_timeout(&mut self, _now: Instant) {
        todo!()
    }
    /// When [`S2sIn::on_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }
    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }
    /// Moves what is to be sent to the end of `out`. Whether there was anything.
    pub fn poll_transmit(&mut self, _out: &mut Vec<u8>) -> Transmit {
        todo!()
    }
    /// An answer, or something to do. An answer to a question that is not open is ignored.
    pub fn command(&mut self, _now: Instant, _command: Command) {
        todo!()
    }
    /// The pairs proved so far: the peer's domain, ours.
    pub fn authorised(&self) -> impl Iterator<Item = (&Domain, &Domain)> {
        std::iter::empty()
    }
}
