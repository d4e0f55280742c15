//! A socket with or without TLS, for the load generator's connections and for the relay.
//!
//! One task reads a link; anybody may send on it. A send encrypts and writes at once, in the caller's task, and only
//! what the socket does not take waits for a task of its own. Nothing else is cheaper on this runtime, which is what
//! makes the relay built from it a floor. While it is idle a link owns no buffer besides what rustls keeps.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Read as _, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustls::Connection;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;

const READ_SIZE: usize = 64 * 1024;

thread_local! {
    /// What a read brings, before TLS.
    static RECEIVED: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
    /// What TLS makes of it, taken out while the bytes are handed on.
    static OPENED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The sending side, shared.
pub(crate) struct Link {
    socket: OwnedWriteHalf,
    state: Mutex<State>,
    runtime: Handle,
}

struct State {
    tls: Option<Box<Connection>>,
    /// Bytes of a plain connection that the socket did not take.
    pending: Vec<u8>,
    flushing: bool,
}

/// The receiving side, owned by the task that reads.
pub(crate) struct Incoming {
    socket: OwnedReadHalf,
    link: Arc<Link>,
}

/// Turns a connected socket into a link without TLS.
pub(crate) fn open(socket: TcpStream) -> io::Result<(Arc<Link>, Incoming)> {
    socket.set_nodelay(true)?;
    let (reader, writer) = socket.into_split();
    let state = Mutex::new(State { tls: None, pending: Vec::new(), flushing: false });
    let link = Arc::new(Link { socket: writer, state, runtime: Handle::current() });
    Ok((Arc::clone(&link), Incoming { socket: reader, link }))
}

impl Link {
    /// Sends the bytes: at once as far as the socket takes them, the rest as it becomes writable.
    pub(crate) fn send(self: &Arc<Self>, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let state = &mut *self.state();
        match &mut state.tls {
            Some(tls) => tls.writer().write_all(bytes)?,
            None if state.pending.is_empty() => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    match self.socket.try_write(rest) {
                        Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
                state.pending.extend_from_slice(rest);
            }
            None => state.pending.extend_from_slice(bytes),
        }
        self.flush(state)
    }

    /// Says goodbye at the TLS layer; the socket closes when both sides of the link are dropped.
    pub(crate) fn close(self: &Arc<Self>) -> io::Result<()> {
        let mut state = self.state();
        if let Some(tls) = &mut state.tls {
            tls.send_close_notify();
        }
        self.flush(&mut state)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        if !state.flushing && self.write_pending(state)? == Progress::Blocked {
            state.flushing = true;
            let link = Arc::clone(self);
            self.runtime.spawn(async move {
                loop {
                    if link.socket.writable().await.is_err() {
                        break;
                    }
                    let mut state = link.state();
                    match link.write_pending(&mut state) {
                        Ok(Progress::Blocked) => {}
                        // A broken socket shows itself to the reading task.
                        Ok(Progress::Done) | Err(_) => {
                            state.flushing = false;
                            break;
                        }
                    }
                }
            });
        }
        Ok(())
    }

    fn write_pending(&self, state: &mut State) -> io::Result<Progress> {
        let blocked = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => Ok(Progress::Blocked),
            _ => Err(error),
        };
        if let Some(tls) = &mut state.tls {
            while tls.wants_write() {
                if let Err(error) = tls.write_tls(&mut Unblocked(&self.socket)) {
                    return blocked(error);
                }
            }
        }
        while !state.pending.is_empty() {
            match self.socket.try_write(&state.pending) {
                Ok(written) => drop(state.pending.drain(..written)),
                Err(error) => return blocked(error),
            }
        }
        Ok(Progress::Done)
    }
}

#[derive(PartialEq, Eq)]
enum Progress {
    Done,
    Blocked,
}

impl Incoming {
    /// Negotiates TLS from here on; returns what the peer sent behind its last handshake message.
    pub(crate) async fn secure(&mut self, tls: Connection) -> io::Result<Vec<u8>> {
        let mut tls = Box::new(tls);
        tls.set_buffer_limit(None);
        {
            let mut state = self.link.state();
            state.tls = Some(tls);
            self.link.flush(&mut state)?;
        }
        let mut early = Vec::new();
        while self.handshaking() {
            let step = std::future::poll_fn(|cx| {
                RECEIVED.with_borrow_mut(|buffer| self.poll_open(cx, buffer, &mut early, &mut |_| {}))
            });
            if step.await? == Opened::Closed {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed during the TLS handshake"));
            }
        }
        Ok(early)
    }

    fn handshaking(&self) -> bool {
        self.link.state().tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Waits for bytes, appends them and says how many; 0 means that the peer has closed.
    pub(crate) async fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_receive(cx, &mut |bytes| into.extend_from_slice(bytes))).await
    }

    /// As [`Incoming::receive`], handing the bytes to `sink` from a buffer of the thread.
    pub(crate) async fn receive_with(&mut self, mut sink: impl FnMut(&[u8])) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_receive(cx, &mut sink)).await
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, sink: &mut dyn FnMut(&[u8])) -> Poll<io::Result<usize>> {
        loop {
            let mut opened = OPENED.take();
            opened.clear();
            let outcome = RECEIVED.with_borrow_mut(|buffer| self.poll_open(cx, buffer, &mut opened, sink));
            let read = opened.len();
            if read > 0 {
                // The link's lock is free again: a sink may take another link's.
                sink(&opened);
            }
            OPENED.set(opened);
            match ready!(outcome)? {
                Opened::Plain(read) => return Poll::Ready(Ok(read)),
                Opened::Records if read == 0 => {}
                Opened::Records | Opened::Closed => return Poll::Ready(Ok(read)),
            }
        }
    }

    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        opened: &mut Vec<u8>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<Opened>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        let mut sealed = buffer.filled();
        if sealed.is_empty() {
            return Poll::Ready(Ok(Opened::Closed));
        }
        let mut state = self.link.state();
        let Some(tls) = &mut state.tls else {
            drop(state);
            sink(sealed);
            return Poll::Ready(Ok(Opened::Plain(sealed.len())));
        };
        let mut closed = false;
        while !sealed.is_empty() && !closed {
            tls.read_tls(&mut sealed)?;
            let news = match tls.process_new_packets() {
                Ok(news) => news,
                Err(error) => {
                    // The alert that tells the peer why.
                    let _ = self.link.write_pending(&mut state);
                    return Poll::Ready(Err(io::Error::other(error)));
                }
            };
            let more = news.plaintext_bytes_to_read();
            if more > 0 {
                let begin = opened.len();
                opened.resize(begin + more, 0);
                tls.reader().read_exact(opened.get_mut(begin..).unwrap_or_default())?;
            }
            closed = news.peer_has_closed();
        }
        if tls.wants_write() {
            self.link.flush(&mut state)?;
        }
        Poll::Ready(Ok(if closed { Opened::Closed } else { Opened::Records }))
    }
}

#[derive(PartialEq, Eq)]
enum Opened {
    /// Bytes of a plain connection, already handed on.
    Plain(usize),
    /// TLS records, which may have held nothing for us.
    Records,
    Closed,
}

/// A socket as rustls wants to write it, without waiting.
struct Unblocked<'a>(&'a OwnedWriteHalf);

impl Write for Unblocked<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
