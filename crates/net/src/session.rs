//! A TLS session that owns no buffer while nothing is under way.
//!
//! rustls's own buffers stay allocated for as long as a connection lives, 4 KiB of them; its unbuffered interface leaves
//! them to the caller. Here records are opened in the reading thread's buffer, and only a part of a record that has not
//! come whole, or sealed records that the socket has not taken, are kept.
//!
//! That interface has no exporter, which tls-exporter channel binding needs. It tells the exporter's secret to a key log,
//! though, and the rest is RFC 8446 §7.5: [`ExporterLog`] and [`ChannelSecret`].

use crate::pool;
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::tls13::OkmBlock;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, KeyLog, ProtocolVersion, ServerConfig, SupportedCipherSuite};
use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The most that is kept of what is not complete: a handshake's message may come in several records (abuse case 46).
const MAX_INCOMPLETE: usize = 64 * 1024;
/// What sealing adds to a record at most: header, explicit nonce, content type, tag.
const RECORD_OVERHEAD: usize = 64;
/// Bytes of plaintext in one record (RFC 8446 §5.1).
const RECORD: usize = 16 * 1024;

/// See the module.
pub(crate) struct TlsSession {
    end: End,
    /// A record, or a handshake's message, as far as it has come.
    incomplete: Vec<u8>,
    /// Sealed, for the socket.
    outgoing: Vec<u8>,
    /// Bytes of `outgoing` that the socket has taken.
    taken: usize,
    /// Plaintext that came with the last flight of the handshake.
    early: Vec<u8>,
    secret: Option<Box<ChannelSecret>>,
    peer_closed: bool,
    haste: Haste,
}

/// Whether somebody waits for what is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Haste {
    Pressing,
    /// It goes with what is sealed next.
    None,
}

enum End {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What is done when the session has come to where application data may be sent.
#[derive(Clone, Copy)]
enum Then<'a> {
    Nothing,
    Seal(&'a [u8]),
    Close,
}

/// Where processing stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// There is more to process.
    Not,
    /// More input is needed; nothing can be sent yet.
    Handshaking,
    /// Input is used up, application data flows.
    Traffic,
    /// Both sides have closed.
    Closed,
}

impl TlsSession {
    /// The accepting end; the client's first bytes have been read already.
    pub(crate) fn accepting(config: Arc<ServerConfig>, first: Vec<u8>) -> Result<Self, rustls::Error> {
        let mut session = Self::new(End::Server(UnbufferedServerConnection::new(config)?));
        session.incomplete = first;
        Ok(session)
    }

    /// The connecting end.
    pub(crate) fn connecting(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, rustls::Error> {
        Ok(Self::new(End::Client(UnbufferedClientConnection::new(config, name)?)))
    }

    fn new(end: End) -> Self {
        TlsSession {
            end,
            incomplete: Vec::new(),
            outgoing: Vec::new(),
            taken: 0,
            early: Vec::new(),
            secret: None,
            peer_closed: false,
            haste: Haste::Pressing,
        }
    }

    fn state(&self) -> &CommonState {
        match &self.end {
            End::Server(server) => server,
            End::Client(client) => client,
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    pub(crate) fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.state().protocol_version()
    }

    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.state().peer_certificates()
    }

    /// Whether the peer has ended the session; nothing comes after that.
    pub(crate) fn peer_has_closed(&self) -> bool {
        self.peer_closed
    }

    /// Sealed bytes that the socket has not taken.
    pub(crate) fn unsent(&self) -> &[u8] {
        self.outgoing.get(self.taken..).unwrap_or_default()
    }

    /// Whether there are sealed bytes that are to be sent now.
    pub(crate) fn presses(&self) -> bool {
        self.haste == Haste::Pressing && !self.unsent().is_empty()
    }

    /// The socket took so many of [`TlsSession::unsent`].
    pub(crate) fn sent(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(count);
        if self.taken >= self.outgoing.len() {
            self.taken = 0;
            pool::give(std::mem::take(&mut self.outgoing));
        }
    }

    /// Goes on with the handshake, with what has been read.
    pub(crate) fn advance(&mut self) -> Result<(), rustls::Error> {
        let nothing_before = self.unsent().is_empty();
        let mut incomplete = std::mem::take(&mut self.incomplete);
        let mut early = std::mem::take(&mut self.early);
        let used = self.process(&mut incomplete, &mut early, Then::Nothing);
        self.early = early;
        self.keep(incomplete, used?)?;
        // RFC 8446 §4.6.1: behind the client's Finished a server has nothing left to say but tickets, which are for another
        // day. They spare a write of their own.
        let tickets_alone = nothing_before
            && matches!(self.end, End::Server(_))
            && !self.is_handshaking()
            && self.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        if tickets_alone {
            self.haste = Haste::None;
        }
        Ok(())
    }

    /// Takes bytes of the handshake, for [`TlsSession::advance`].
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), rustls::Error> {
        if self.incomplete.len() > MAX_INCOMPLETE {
            return Err(rustls::Error::General("a message that does not end".to_owned()));
        }
        if self.incomplete.capacity() == 0 {
            self.incomplete = pool::take();
        }
        self.incomplete.extend_from_slice(bytes);
        Ok(())
    }

    /// Opens what was received and appends the plaintext. `received` is scratch afterwards.
    pub(crate) fn open(&mut self, received: &mut [u8], plain: &mut Vec<u8>) -> Result<(), rustls::Error> {
        if !self.early.is_empty() {
            plain.append(&mut self.early);
            self.early = Vec::new();
        }
        if self.incomplete.is_empty() {
            let used = self.process(received, plain, Then::Nothing)?;
            let rest = received.get(used..).unwrap_or_default();
            if !rest.is_empty() {
                self.incomplete = pool::take();
                self.incomplete.extend_from_slice(rest);
            }
            return Ok(());
        }
        self.receive(received)?;
        let mut incomplete = std::mem::take(&mut self.incomplete);
        let used = self.process(&mut incomplete, plain, Then::Nothing)?;
        self.keep(incomplete, used)
    }

    /// Plaintext that waits without anything to read: see [`TlsSession::early`].
    pub(crate) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    fn keep(&mut self, mut incomplete: Vec<u8>, used: usize) -> Result<(), rustls::Error> {
        incomplete.drain(..used.min(incomplete.len()));
        if incomplete.is_empty() {
            pool::give(incomplete);
        } else {
            self.incomplete = incomplete;
        }
        Ok(())
    }

    /// Seals plaintext, behind everything that was sealed before. Nothing may be sealed while the handshake runs.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Result<(), rustls::Error> {
        self.then(Then::Seal(plain))
    }

    /// Seals the end of the session (close_notify).
    pub(crate) fn close(&mut self) -> Result<(), rustls::Error> {
        self.then(Then::Close)
    }

    fn then(&mut self, then: Then<'_>) -> Result<(), rustls::Error> {
        self.haste = Haste::Pressing;
        // A record that has not come whole is looked at again, since its handshake messages may have been begun.
        let mut incomplete = std::mem::take(&mut self.incomplete);
        let mut early = std::mem::take(&mut self.early);
        let used = self.process(&mut incomplete, &mut early, then);
        self.early = early;
        self.keep(incomplete, used?)
    }

    /// Works off `input`; how many bytes of it were used. On an error the alert that says why is in the output.
    fn process(&mut self, input: &mut [u8], plain: &mut Vec<u8>, then: Then<'_>) -> Result<usize, rustls::Error> {
        let handshaking = self.is_handshaking();
        let mut used = 0;
        let mut then = then;
        let outcome = loop {
            let rest = input.get_mut(used..).unwrap_or_default();
            let out = &mut self.outgoing;
            let (discard, stop) = match &mut self.end {
                End::Server(server) => step(server.process_tls_records(rest), out, plain, &mut self.peer_closed, then),
                End::Client(client) => step(client.process_tls_records(rest), out, plain, &mut self.peer_closed, then),
            };
            used = used.saturating_add(discard);
            match stop {
                Ok(Stop::Not) => {}
                Ok(Stop::Traffic) => match std::mem::replace(&mut then, Then::Nothing) {
                    Then::Nothing => break Ok(used),
                    // What was sealed may have queued more, and there may be records left.
                    Then::Seal(_) | Then::Close => {}
                },
                Ok(Stop::Handshaking | Stop::Closed) => break Ok(used),
                Err(error) => break Err(error),
            }
        };
        if outcome.is_err() {
            self.haste = Haste::Pressing;
            self.encode_alert();
        }
        if handshaking {
            self.secret = EXPORTER_SECRET.take().or(self.secret.take());
        }
        outcome
    }

    /// After an error the session offers the alert behind what it had to say before.
    fn encode_alert(&mut self) {
        let (mut plain, mut closed) = (Vec::new(), false);
        while self.state().wants_write() {
            let out = &mut self.outgoing;
            let (_, stop) = match &mut self.end {
                End::Server(server) => {
                    step(server.process_tls_records(&mut []), out, &mut plain, &mut closed, Then::Nothing)
                }
                End::Client(client) => {
                    step(client.process_tls_records(&mut []), out, &mut plain, &mut closed, Then::Nothing)
                }
            };
            if stop != Ok(Stop::Not) {
                return;
            }
        }
    }

    /// The data of tls-exporter (RFC 9266 §2), once, when the handshake is done. On TLS 1.2 it would need the extended
    /// master secret (§4.2), which rustls does not report; so 1.3 alone.
    pub(crate) fn take_channel_binding(&mut self) -> Option<[u8; 32]> {
        let secret = self.secret.take()?;
        let suite = self.state().negotiated_cipher_suite()?;
        if self.is_handshaking() || self.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return None;
        }
        let mut data = [0; 32];
        secret.export(suite, b"EXPORTER-Channel-Binding", &mut data).then_some(data)
    }
}

/// Handles one state of the session: bytes to be removed from the front of the input, and how it goes on.
fn step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    out: &mut Vec<u8>,
    plain: &mut Vec<u8>,
    peer_closed: &mut bool,
    then: Then<'_>,
) -> (usize, Result<Stop, rustls::Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let stop = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut outcome = Ok(Stop::Not);
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard = discard.saturating_add(record.discard);
                        plain.extend_from_slice(record.payload);
                    }
                    Err(error) => outcome = Err(error),
                }
            }
            outcome
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => write_with(out, RECORD_OVERHEAD, |space| {
            data.encode(space).map_err(|error| match error {
                EncodeError::InsufficientSize(size) => Short::By(size.required_size),
                EncodeError::AlreadyEncoded => Short::Never("encoded twice"),
            })
        })
        .map(|()| Stop::Not),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It is in the output, in its place; that is where it is transmitted from.
            data.done();
            Ok(Stop::Not)
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let short = |error| match error {
                EncryptError::InsufficientSize(size) => Short::By(size.required_size),
                EncryptError::EncryptExhausted => Short::Never("the keys are used up"),
            };
            let sealed = match then {
                Then::Nothing => Ok(()),
                Then::Seal(text) => {
                    let records = text.len().div_ceil(RECORD);
                    let size = text.len().saturating_add(records.saturating_mul(RECORD_OVERHEAD));
                    write_with(out, size, |space| traffic.encrypt(text, space).map_err(short))
                }
                Then::Close => {
                    write_with(out, RECORD_OVERHEAD, |space| traffic.queue_close_notify(space).map_err(short))
                }
            };
            sealed.map(|()| Stop::Traffic)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Stop::Handshaking),
        Ok(ConnectionState::PeerClosed) => {
            *peer_closed = true;
            Ok(Stop::Not)
        }
        Ok(ConnectionState::Closed) => Ok(Stop::Closed),
        // Early data is not accepted (abuse cases: it can be replayed).
        Ok(_) => Err(rustls::Error::General("a state that was not asked for".to_owned())),
        Err(error) => Err(error),
    };
    (discard, stop)
}

/// Why something did not fit.
enum Short {
    By(usize),
    Never(&'static str),
}

/// Appends what `write` writes into the space it is given: `size` bytes, or as many as it says it needs.
fn write_with(
    out: &mut Vec<u8>,
    size: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Short>,
) -> Result<(), rustls::Error> {
    if out.capacity() == 0 {
        *out = pool::take();
    }
    let start = out.len();
    let mut size = size;
    for _ in 0..2 {
        out.resize(start.saturating_add(size), 0);
        match write(out.get_mut(start..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(start.saturating_add(written));
                return Ok(());
            }
            Err(Short::By(required)) => size = required,
            Err(Short::Never(why)) => {
                out.truncate(start);
                return Err(rustls::Error::General(why.to_owned()));
            }
        }
    }
    out.truncate(start);
    Err(rustls::Error::General("a record does not fit the space it asked for".to_owned()))
}

thread_local! {
    /// Told by the session that this thread is just processing, and taken right behind it.
    static EXPORTER_SECRET: RefCell<Option<Box<ChannelSecret>>> = const { RefCell::new(None) };
}

/// Takes the exporter's secret of TLS 1.3 from the handshake that this thread is processing; nothing else is logged.
#[derive(Debug)]
pub(crate) struct ExporterLog;

impl ExporterLog {
    const LABEL: &'static str = "EXPORTER_SECRET";
}

impl KeyLog for ExporterLog {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if label == Self::LABEL {
            EXPORTER_SECRET.set(Some(Box::new(ChannelSecret(Zeroizing::new(secret.to_vec())))));
        }
    }

    fn will_log(&self, label: &str) -> bool {
        label == Self::LABEL
    }
}

/// The exporter's secret of a session, kept from the handshake until channel binding was computed.
struct ChannelSecret(Zeroizing<Vec<u8>>);

impl ChannelSecret {
    /// TLS-Exporter of RFC 8446 §7.5 with an empty context; whether it could be computed.
    fn export(&self, suite: SupportedCipherSuite, label: &[u8], output: &mut [u8]) -> bool {
        let SupportedCipherSuite::Tls13(suite) = suite else { return false };
        if self.0.len() > OkmBlock::MAX_LEN {
            return false;
        }
        let hash_of_nothing = suite.common.hash_provider.hash(&[]);
        let mut derived = Zeroizing::new(vec![0; suite.common.hash_provider.output_len()]);
        let expander = suite.hkdf_provider.expander_for_okm(&OkmBlock::new(&self.0));
        let expanded = expand_label(&*expander, label, hash_of_nothing.as_ref(), &mut derived).and_then(|()| {
            let expander = suite.hkdf_provider.expander_for_okm(&OkmBlock::new(&derived));
            expand_label(&*expander, b"exporter", hash_of_nothing.as_ref(), output)
        });
        expanded.is_some()
    }
}

/// HKDF-Expand-Label (RFC 8446 §7.1).
fn expand_label(
    expander: &dyn rustls::crypto::tls13::HkdfExpander,
    label: &[u8],
    context: &[u8],
    output: &mut [u8],
) -> Option<()> {
    const PREFIX: &[u8] = b"tls13 ";
    let length = u16::try_from(output.len()).ok()?.to_be_bytes();
    let label_length = [u8::try_from(PREFIX.len().checked_add(label.len())?).ok()?];
    let context_length = [u8::try_from(context.len()).ok()?];
    expander.expand_slice(&[&length, &label_length, PREFIX, label, &context_length, context], output).ok()
}

/// The session as io errors tell it.
pub(crate) fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
pub(crate) mod tests;
