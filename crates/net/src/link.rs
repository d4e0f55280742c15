//! One connection: a socket, its TLS session, and its outbox, behind one short lock.
//!
//! The lock is never held across an await. Reading (by the driver) and writing (by whoever routes to this connection)
//! both take it, since both need the TLS session.

use crate::pool;
use smallvec::SmallVec;
use std::future::Future;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use stonechat_router::{Delivery, Outbox, Pushed};
use stonechat_stanza::{ContentNamespace, StreamCondition, StreamError};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

/// How long a closed connection waits for its peer to close.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

/// Bounds of one connection's outbox.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// Bytes queued and not yet taken by the socket. Beyond it the connection ends (P4).
    pub outbox_bytes: usize,
}

impl Default for LinkLimits {
    fn default() -> Self {
        LinkLimits { outbox_bytes: 4 * 1024 * 1024 }
    }
}

/// The TLS session of a connection, when it has one.
pub(crate) enum Session {
    Plain,
    Tls(Box<rustls::Connection>),
}

/// A connection.
pub struct Link {
    socket: TcpStream,
    namespace: ContentNamespace,
    limits: LinkLimits,
    state: Mutex<State>,
    wake: Notify,
}

struct State {
    session: Session,
    /// Queued plaintext; with TLS it is sealed at the flush and then rustls holds what the socket does not take.
    plain: Vec<u8>,
    /// Bytes of `plain` that the socket took already (without TLS).
    offset: usize,
    /// Plaintext bytes that rustls holds sealed and the socket has not taken, as an upper bound.
    sealed: usize,
    dirty: bool,
    /// What others pushed while the stream's own answer is made, which goes first.
    corked: Option<Vec<u8>>,
    /// Who waits for everything queued to be taken by the socket.
    waiters: SmallVec<[oneshot::Sender<bool>; 1]>,
    closing: Closing,
}

/// How far the end of a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Not asked for.
    Open,
    /// The driver is asked to end the stream.
    Asked(Option<StreamError>),
    /// The driver has begun to.
    Begun,
    /// The socket is of no more use.
    Dead,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes were handed to the reader.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The peer has closed its side.
    End,
}

struct TryWrite<'a>(&'a TcpStream);

impl Write for TryWrite<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }
    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct TryRead<'a>(&'a TcpStream);

impl Read for TryRead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Link {
    /// Wraps a connected socket whose stanzas are written in this content namespace.
    pub fn new(socket: TcpStream, namespace: ContentNamespace, limits: LinkLimits) -> Link {
        Link {
            socket,
            namespace,
            limits,
            state: Mutex::new(State {
                session: Session::Plain,
                plain: Vec::new(),
                offset: 0,
                sealed: 0,
                dirty: false,
                corked: None,
                waiters: SmallVec::new(),
                closing: Closing::Open,
            }),
            wake: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when there may be something to read.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Resolves when the socket may take more.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Resolves when the driver has something to do besides reading: an unfinished write, or an end asked for.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Whether bytes wait for the socket.
    pub(crate) fn wants_write(&self) -> bool {
        self.lock().has_unwritten()
    }

    /// How far the end is.
    pub(crate) fn closing(&self) -> Closing {
        self.lock().closing.clone()
    }

    /// Notes that the driver has begun to end the stream: nothing is queued by others from here on.
    pub(crate) fn begin_closing(&self) {
        let mut state = self.lock();
        if state.closing != Closing::Dead {
            state.closing = Closing::Begun;
        }
    }

    /// Holds back what others push until [`Link::uncork`]: while the stream answers a request that changes who may send
    /// what, nothing overtakes its answer.
    pub(crate) fn cork(&self) {
        let mut state = self.lock();
        if state.corked.is_none() {
            state.corked = Some(Vec::new());
        }
    }

    /// Lets out what was held back, behind what was transmitted.
    pub(crate) fn uncork(&self) -> io::Result<()> {
        let mut state = self.lock();
        match state.corked.take() {
            Some(held) if !held.is_empty() => {
                state.append(|plain| plain.extend_from_slice(&held));
                state.write_out(&self.socket)
            }
            _ => Ok(()),
        }
    }

    /// Puts the connection behind TLS from the next byte on.
    pub(crate) fn set_tls(&self, mut tls: rustls::Connection) {
        // What is queued has its bound in the outbox; the library's own, 64 KiB, would end a connection over one stanza.
        tls.set_buffer_limit(None);
        let mut state = self.lock();
        state.session = Session::Tls(Box::new(tls));
    }

    /// Looks at the TLS session, when there is one.
    pub(crate) fn with_tls<T>(&self, look: impl FnOnce(&mut rustls::Connection) -> T) -> Option<T> {
        match &mut self.lock().session {
            Session::Tls(tls) => Some(look(tls)),
            Session::Plain => None,
        }
    }

    /// Reads raw bytes from the socket: the client's first TLS bytes, before there is a session.
    pub(crate) fn raw_reader(&self) -> impl Read + '_ {
        TryRead(&self.socket)
    }

    /// Writes raw bytes: a TLS alert before there is a session.
    pub(crate) fn raw_writer(&self) -> impl Write + '_ {
        TryWrite(&self.socket)
    }

    /// Reads what there is, at most one buffer's worth, and lends the plaintext to `consume`.
    pub(crate) fn receive(&self, consume: &mut dyn FnMut(&[u8])) -> io::Result<Received> {
        pool::with_read_buffer(|buffer| {
            let mut state = self.lock();
            match &mut state.session {
                Session::Plain => {
                    drop(state);
                    match self.socket.try_read(buffer) {
                        Ok(0) => Ok(Received::End),
                        Ok(count) => {
                            consume(buffer.get(..count).unwrap_or_default());
                            Ok(Received::Bytes(count))
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
                        Err(error) => Err(error),
                    }
                }
                Session::Tls(tls) => {
                    let mut ended = false;
                    let mut count = take_plaintext(tls, buffer, &mut ended)?;
                    if count == 0 && !ended {
                        match tls.read_tls(&mut TryRead(&self.socket)) {
                            Ok(0) => ended = true,
                            Ok(_) => {}
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
                            Err(error) => return Err(error),
                        }
                        if let Err(error) = tls.process_new_packets() {
                            // The alert that says why goes out as far as the socket takes it.
                            let _ = tls.write_tls(&mut TryWrite(&self.socket));
                            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                        }
                        if !ended {
                            count = take_plaintext(tls, buffer, &mut ended)?;
                        }
                    }
                    // The handshake, tickets and key updates answer by themselves.
                    if state.write_out(&self.socket).is_err() {
                        ended = true;
                    }
                    drop(state);
                    if count > 0 {
                        consume(buffer.get(..count).unwrap_or_default());
                        return Ok(Received::Bytes(count));
                    }
                    Ok(if ended { Received::End } else { Received::Nothing })
                }
            }
        })
    }

    /// Reads during a handshake: whatever plaintext its last flight brings stays in the session for [`Link::receive`].
    pub(crate) fn receive_handshake(&self) -> io::Result<Received> {
        let mut state = self.lock();
        let Session::Tls(tls) = &mut state.session else { return Ok(Received::Nothing) };
        let result = match tls.read_tls(&mut TryRead(&self.socket)) {
            Ok(0) => return Ok(Received::End),
            Ok(count) => Received::Bytes(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
            Err(error) => return Err(error),
        };
        if let Err(error) = tls.process_new_packets() {
            let _ = tls.write_tls(&mut TryWrite(&self.socket));
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(result)
    }

    /// Queues bytes that the machine wants sent, and writes them out as far as the socket takes them.
    pub(crate) fn transmit(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.append(|plain| plain.extend_from_slice(bytes));
        state.write_out(&self.socket)
    }

    /// Writes on, as far as the socket takes it.
    pub(crate) fn write_out(&self) -> io::Result<()> {
        self.lock().write_out(&self.socket)
    }

    /// Ends the TLS session (close_notify) and gives up the socket's writing side.
    pub(crate) fn shut(&self) {
        let mut state = self.lock();
        if let Session::Tls(tls) = &mut state.session {
            tls.send_close_notify();
        }
        let _ = state.write_out(&self.socket);
        state.die();
    }

    /// Waits until the peer has closed too, so that our last words reach it: a socket closed with input unread takes what
    /// it sent with it. Call it after [`Link::shut`], when nothing else depends on the connection any more.
    pub(crate) async fn linger(&self) {
        if socket2::SockRef::from(&self.socket).shutdown(std::net::Shutdown::Write).is_err() {
            return;
        }
        let emptied = async {
            while self.socket.readable().await.is_ok() {
                let read = pool::with_read_buffer(|buffer| self.socket.try_read(buffer));
                match read {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        };
        // Whoever does not close in time is cut off.
        let _ = tokio::time::timeout(LINGER, emptied).await;
    }

    /// The peer's network address.
    pub fn peer(&self) -> Option<std::net::SocketAddr> {
        self.socket.peer_addr().ok()
    }
}

fn take_plaintext(tls: &mut rustls::Connection, buffer: &mut [u8], ended: &mut bool) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match tls.reader().read(rest) {
            Ok(0) => {
                *ended = true;
                break;
            }
            Ok(count) => filled = filled.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // The peer cut the connection without close_notify: what was received stands, the rest is the end.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                *ended = true;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl State {
    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.plain.capacity() == 0 {
            self.plain = pool::take();
        }
        write(&mut self.plain);
    }

    fn queued(&self) -> usize {
        let corked = self.corked.as_ref().map_or(0, Vec::len);
        self.plain.len().saturating_sub(self.offset).saturating_add(self.sealed).saturating_add(corked)
    }

    /// Queues what somebody else than the stream itself has to say.
    fn queue(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Pushed {
        match &mut self.corked {
            // It is flushed when the cork comes off.
            Some(held) => {
                write(held);
                Pushed::Queued
            }
            None => {
                self.append(write);
                if std::mem::replace(&mut self.dirty, true) { Pushed::Queued } else { Pushed::First }
            }
        }
    }

    fn has_unwritten(&self) -> bool {
        self.plain.len() > self.offset
            || match &self.session {
                Session::Tls(tls) => tls.wants_write(),
                Session::Plain => false,
            }
    }

    fn write_out(&mut self, socket: &TcpStream) -> io::Result<()> {
        self.dirty = false;
        let result = self.try_write_out(socket);
        match &result {
            Ok(()) if !self.has_unwritten() => {
                for waiter in self.waiters.drain(..) {
                    let _ = waiter.send(true);
                }
            }
            Ok(()) => {}
            Err(_) => self.die(),
        }
        result
    }

    fn try_write_out(&mut self, socket: &TcpStream) -> io::Result<()> {
        match &mut self.session {
            Session::Plain => {
                while let Some(rest) = self.plain.get(self.offset..).filter(|rest| !rest.is_empty()) {
                    match socket.try_write(rest) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(count) => self.offset = self.offset.saturating_add(count),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                        Err(error) => return Err(error),
                    }
                }
                self.offset = 0;
                pool::give(std::mem::take(&mut self.plain));
            }
            Session::Tls(tls) => {
                // Before the handshake is done rustls keeps plaintext itself; the machine sends none then.
                if !self.plain.is_empty() && !tls.is_handshaking() {
                    tls.writer().write_all(&self.plain)?;
                    self.sealed = self.sealed.saturating_add(self.plain.len());
                    pool::give(std::mem::take(&mut self.plain));
                }
                while tls.wants_write() {
                    match tls.write_tls(&mut TryWrite(socket)) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                        Err(error) => return Err(error),
                    }
                }
                self.sealed = 0;
            }
        }
        Ok(())
    }

    fn die(&mut self) {
        self.closing = Closing::Dead;
        for waiter in self.waiters.drain(..) {
            let _ = waiter.send(false);
        }
    }
}

impl Outbox for Link {
    fn push(&self, delivery: Delivery<'_>) -> Pushed {
        let mut state = self.lock();
        if state.closing != Closing::Open {
            return Pushed::Closed;
        }
        if state.queued().saturating_add(delivery.stanza.size()) > self.limits.outbox_bytes {
            // P4: a reader that does not keep up loses its connection, never slows anybody else.
            let error = StreamError::new(StreamCondition::ResourceConstraint).with_text("you read too slowly");
            state.closing = Closing::Asked(Some(error));
            drop(state);
            self.wake.notify_one();
            return Pushed::Overflow;
        }
        state.queue(|plain| delivery.stanza.write_addressed(delivery.from, delivery.to, self.namespace, plain))
    }

    fn flush(&self) {
        let mut state = self.lock();
        if !state.dirty {
            return;
        }
        let failed = state.write_out(&self.socket).is_err();
        let unfinished = state.has_unwritten();
        drop(state);
        if failed || unfinished {
            self.wake.notify_one();
        }
    }

    fn written(&self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        let mut state = self.lock();
        if state.closing == Closing::Dead {
            return Box::pin(std::future::ready(false));
        }
        if !state.has_unwritten() {
            return Box::pin(std::future::ready(true));
        }
        let (sender, receiver) = oneshot::channel();
        state.waiters.push(sender);
        Box::pin(async move { receiver.await.unwrap_or(false) })
    }

    fn close(&self, error: Option<StreamError>) {
        let mut state = self.lock();
        if state.closing == Closing::Open {
            state.closing = Closing::Asked(error);
            drop(state);
            self.wake.notify_one();
        }
    }

    fn queued_bytes(&self) -> usize {
        self.lock().queued()
    }

    fn is_open(&self) -> bool {
        self.lock().closing == Closing::Open
    }

    fn request_acknowledgement(&self) -> Pushed {
        let mut state = self.lock();
        if state.closing != Closing::Open {
            return Pushed::Closed;
        }
        state.queue(|plain| plain.extend_from_slice(b"<r xmlns='urn:xmpp:sm:3'/>"))
    }
}
