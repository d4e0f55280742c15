//! One connection: a socket, its TLS session, and its outbox, behind one short lock.
//!
//! The lock is never held across an await. Reading (by the driver) and writing (by whoever routes to this connection)
//! both take it, since both need the TLS session.

use crate::pool;
use crate::session::{self, TlsSession};
use smallvec::SmallVec;
use std::future::{Future, poll_fn};
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use stonechat_router::{Delivery, Holding, Memory, Outbox, Pushed, Room};
use stonechat_stanza::{ContentNamespace, StreamCondition, StreamError};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

/// How long a closed connection waits for its peer to close.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

/// Bounds of one connection's outbox.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// Bytes queued and not yet taken by the socket. Beyond it the connection ends (P4), and earlier when all queues of the
    /// server together are too much ([`Memory`]).
    pub outbox_bytes: usize,
}

impl Default for LinkLimits {
    fn default() -> Self {
        LinkLimits { outbox_bytes: 4 * 1024 * 1024 }
    }
}

/// How much is sealed ahead of what the socket takes: a slow reader's bytes wait as they were queued.
const SEAL: usize = 64 * 1024;

/// The TLS session of a connection, when it has one.
enum Session {
    Plain,
    Tls(Box<TlsSession>),
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
    /// Queued plaintext; with TLS it is sealed at the flush.
    plain: Vec<u8>,
    /// Bytes of `plain` that the socket took already, or that are sealed.
    offset: usize,
    dirty: bool,
    /// What others pushed while the stream's own answer is made, which goes first.
    corked: Option<Vec<u8>>,
    /// What is queued, as it is counted with what other connections have queued.
    holding: Holding,
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

/// What the handshake waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shake {
    Reading,
    Writing,
    /// It is complete, and its last flight is written.
    Done,
}

impl Link {
    /// Wraps a connected socket whose stanzas are written in this content namespace.
    pub fn new(socket: TcpStream, namespace: ContentNamespace, limits: LinkLimits, memory: &Arc<Memory>) -> Link {
        Link {
            socket,
            namespace,
            limits,
            state: Mutex::new(State {
                session: Session::Plain,
                plain: Vec::new(),
                offset: 0,
                dirty: false,
                corked: None,
                holding: Holding::new(memory),
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
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// Resolves when the socket may take more.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_writable(cx)).await
    }

    /// As [`Link::readable`]. One task alone waits for a connection, so the socket remembers it without a list.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Plaintext that came with the last flight of the handshake waits for no socket.
        if matches!(&self.lock().session, Session::Tls(tls) if tls.has_early()) {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_read_ready(cx)
    }

    /// As [`Link::writable`], for the same task.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_write_ready(cx)
    }

    /// Resolves when the driver has something to do besides reading: an unfinished write, or an end asked for.
    pub(crate) fn woken(&self) -> Notified<'_> {
        self.wake.notified()
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
    pub(crate) fn set_tls(&self, tls: TlsSession) {
        self.lock().session = Session::Tls(Box::new(tls));
    }

    /// Looks at the TLS session, when there is one.
    pub(crate) fn with_tls<T>(&self, look: impl FnOnce(&mut TlsSession) -> T) -> Option<T> {
        match &mut self.lock().session {
            Session::Tls(tls) => Some(look(tls)),
            Session::Plain => None,
        }
    }

    /// Reads what the socket has. When that is less than there is room for, nothing is left: the runtime is told so, which
    /// spares the attempt to read once more before each wait.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut outcome = Err(io::ErrorKind::WouldBlock.into());
        let drained = self.socket.try_io(Interest::READABLE, || {
            outcome = (&*socket2::SockRef::from(&self.socket)).read(buffer);
            match &outcome {
                // Its end, an error and more of it show at the next attempt.
                Ok(count) if *count == 0 || *count == buffer.len() => Ok(()),
                Ok(_) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error.kind().into()),
            }
        });
        // Only the runtime needs to know.
        drop(drained);
        outcome
    }

    /// Reads raw bytes from the socket: the client's first TLS bytes, before there is a session.
    pub(crate) fn read_raw(&self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        pool::with_read_buffer(|buffer| {
            let count = self.read(buffer)?;
            bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
            Ok(count)
        })
    }

    /// Writes raw bytes as far as the socket takes them: a TLS alert before there is a session.
    pub(crate) fn write_raw(&self, bytes: &[u8]) {
        let _ = self.socket.try_write(bytes);
    }

    /// Reads what there is, at most one buffer's worth, and lends the plaintext to `consume`.
    pub(crate) fn receive(&self, consume: &mut dyn FnMut(&[u8])) -> io::Result<Received> {
        pool::with_read_buffer(|buffer| {
            let mut state = self.lock();
            match &mut state.session {
                Session::Plain => {
                    drop(state);
                    match self.read(buffer) {
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
                    let count = match self.read(buffer) {
                        Ok(count) => count,
                        // Plaintext that came with the handshake waits for nobody.
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock && tls.has_early() => 0,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
                        Err(error) => return Err(error),
                    };
                    let ended = count == 0 && !tls.has_early();
                    let mut plain = pool::take();
                    let opened = tls.open(buffer.get_mut(..count).unwrap_or_default(), &mut plain);
                    let ended = ended || tls.peer_has_closed();
                    // Tickets, key updates and alerts answer by themselves.
                    let written = if tls.presses() { state.write_out(&self.socket) } else { Ok(()) };
                    drop(state);
                    opened.map_err(session::invalid)?;
                    let count = plain.len();
                    if count > 0 {
                        consume(&plain);
                    }
                    pool::give(plain);
                    Ok(match count {
                        0 if ended || written.is_err() => Received::End,
                        0 => Received::Nothing,
                        count => Received::Bytes(count),
                    })
                }
            }
        })
    }

    /// Goes on with the handshake as far as the socket lets it.
    pub(crate) fn shake_hands(&self) -> io::Result<Shake> {
        pool::with_read_buffer(|buffer| {
            let mut state = self.lock();
            loop {
                let Session::Tls(tls) = &mut state.session else { return Ok(Shake::Done) };
                let advanced = tls.advance();
                if advanced.is_ok() && !tls.is_handshaking() && !tls.presses() {
                    return Ok(Shake::Done);
                }
                let written = state.write_out(&self.socket);
                // The alert that says why goes out as far as the socket takes it.
                advanced.map_err(session::invalid)?;
                written?;
                if state.has_unwritten() {
                    return Ok(Shake::Writing);
                }
                let Session::Tls(tls) = &mut state.session else { return Ok(Shake::Done) };
                if !tls.is_handshaking() {
                    return Ok(Shake::Done);
                }
                match self.read(buffer) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(count) => tls.receive(buffer.get(..count).unwrap_or_default()).map_err(session::invalid)?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Shake::Reading),
                    Err(error) => return Err(error),
                }
            }
        })
    }

    /// Queues the last words of the machine: [`Link::shut`] writes them.
    pub(crate) fn append(&self, bytes: &[u8]) {
        self.lock().append(|plain| plain.extend_from_slice(bytes));
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
        // What was queued goes before the end, in one write with it where that is little.
        if state.plain.len().saturating_sub(state.offset) > SEAL {
            let _ = state.write_out(&self.socket);
        }
        let _ = state.seal_end();
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
                let read = pool::with_read_buffer(|buffer| self.read(buffer));
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

impl State {
    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.plain.capacity() == 0 {
            self.plain = pool::take();
        }
        write(&mut self.plain);
    }

    fn queued(&self) -> usize {
        let corked = self.corked.as_ref().map_or(0, Vec::len);
        let sealed = match &self.session {
            Session::Tls(tls) => tls.unsent().len(),
            Session::Plain => 0,
        };
        self.plain.len().saturating_sub(self.offset).saturating_add(sealed).saturating_add(corked)
    }

    /// Counts what is queued with what others have queued.
    fn count(&mut self) {
        self.holding.holds(self.queued());
    }

    /// Queues what somebody else than the stream itself has to say.
    fn queue(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Pushed {
        let pushed = self.place(write);
        self.count();
        pushed
    }

    fn place(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Pushed {
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
                Session::Tls(tls) => tls.presses(),
                Session::Plain => false,
            }
    }

    fn write_out(&mut self, socket: &TcpStream) -> io::Result<()> {
        self.dirty = false;
        let result = self.try_write_out(socket);
        self.count();
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
        loop {
            let rest = self.plain.get(self.offset..).unwrap_or_default();
            let ready = match &self.session {
                Session::Plain => rest,
                // What nobody waits for goes with what is about to be sealed.
                Session::Tls(tls) if tls.presses() || rest.is_empty() => tls.unsent(),
                Session::Tls(_) => &[],
            };
            if !ready.is_empty() {
                let count = match socket.try_write(ready) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                };
                match &mut self.session {
                    Session::Plain => self.offset = self.offset.saturating_add(count),
                    Session::Tls(tls) => tls.sent(count),
                }
                continue;
            }
            if rest.is_empty() {
                break;
            }
            if let Session::Tls(tls) = &mut self.session {
                // Before the handshake is done there is nothing to seal with; the machine sends none then.
                if tls.is_handshaking() {
                    return Ok(());
                }
                let part = rest.get(..rest.len().min(SEAL)).unwrap_or_default();
                tls.seal(part).map_err(session::invalid)?;
                self.offset = self.offset.saturating_add(part.len());
            }
        }
        self.offset = 0;
        pool::give(std::mem::take(&mut self.plain));
        Ok(())
    }

    /// Seals what is queued, as far as one write takes it, and the end of the session.
    fn seal_end(&mut self) -> Result<(), rustls::Error> {
        let Session::Tls(tls) = &mut self.session else { return Ok(()) };
        if tls.is_handshaking() {
            return Ok(());
        }
        let rest = self.plain.get(self.offset..).unwrap_or_default();
        if !rest.is_empty() && rest.len() <= SEAL {
            tls.seal(rest)?;
            self.offset = self.plain.len();
        }
        tls.close()
    }

    fn die(&mut self) {
        self.closing = Closing::Dead;
        // Nobody is sent it any more, and the connection's task may take its time to end.
        self.plain = Vec::new();
        self.offset = 0;
        self.corked = None;
        self.count();
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
        let (size, most) = (delivery.stanza.size(), self.limits.outbox_bytes);
        // One turn may have more to say than the bound, and not because the peer does not read: the socket is asked first.
        if state.holding.room(size, most) == Room::None && state.write_out(&self.socket).is_err() {
            drop(state);
            self.wake.notify_one();
            return Pushed::Closed;
        }
        if state.holding.room(size, most) == Room::None {
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

    fn cork(&self) {
        Link::cork(self);
    }

    fn cut(&self) {
        self.lock().die();
        self.wake.notify_one();
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
