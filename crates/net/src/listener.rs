//! Listening sockets: bound before anything runs, opened when everything does, accepted from in one loop each, and quiet
//! when the machine is full.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tracing::warn;

/// Connections the system may hold for us before we accept them.
const BACKLOG: u32 = 1024;
/// How long accepting pauses when no file descriptor is left (abuse case 143).
const PAUSE: Duration = Duration::from_millis(200);

/// Silence after which the system probes a connection, and the time between probes.
const KEEPALIVE: Duration = Duration::from_secs(300);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// A socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenerError {
    /// Where.
    pub address: SocketAddr,
    /// Why.
    pub source: std::io::Error,
}

/// A bound socket: its address is ours, and nobody can connect to it yet.
pub struct Bound {
    socket: TcpSocket,
    address: SocketAddr,
}

/// A socket that others can connect to.
pub struct Listener {
    inner: TcpListener,
    address: SocketAddr,
}

/// Binds. `[::]` takes IPv4 as well where the system lets it.
pub fn bind(address: SocketAddr) -> Result<Bound, ListenerError> {
    let wrap = |source| ListenerError { address, source };
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(wrap)?;
    socket.set_reuseaddr(true).map_err(wrap)?;
    socket.bind(address).map_err(wrap)?;
    let address = socket.local_addr().map_err(wrap)?;
    Ok(Bound { socket, address })
}

impl Bound {
    /// Where it is bound; the real port when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets others connect.
    pub fn listen(self) -> Result<Listener, ListenerError> {
        let Bound { socket, address } = self;
        let inner = socket.listen(BACKLOG).map_err(|source| ListenerError { address, source })?;
        Ok(Listener { inner, address })
    }
}

impl Listener {
    /// The next connection. Errors of single connections are passed over; when descriptors run out it waits, and the
    /// connections that exist go on unharmed.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.inner.accept().await {
                Ok((socket, peer)) => {
                    // Stanzas are small and people wait for them: no Nagle. A peer that vanished shows by the probes.
                    let probes = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_INTERVAL);
                    let alive = socket2::SockRef::from(&socket).set_tcp_keepalive(&probes);
                    if socket.set_nodelay(true).and(alive).is_ok() {
                        return (socket, peer);
                    }
                }
                Err(source) if is_of_one_connection(&source) => {}
                Err(source) => {
                    warn!(event = "listener.paused", address = %self.address, %source, "cannot accept connections for now");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}
