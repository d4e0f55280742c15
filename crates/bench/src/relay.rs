//! The floor: a relay that moves the same bytes between the same sockets with no XMPP work at all.
//!
//! The first line of a connection names its place: one of a pair, sender or member of a fan-out, or idle. The relay
//! answers `<ready/>`; from then on what a connection sends is written to its partner, or to all members, as it was
//! read. Nothing is framed, queued or looked at. A connection whose partner is not there yet loses what it sends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::{Connection, ServerConfig, ServerConnection};
use tokio::net::TcpListener;

use crate::endpoint::Security;
use crate::link::{self, Link};
use crate::{Result, tls};

/// Where a connection belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// One of the two of that pair.
    Pair(u32),
    /// Sends to all members.
    FanSender,
    /// Receives what the sender sends.
    FanMember,
    /// Alone.
    Idle,
}

impl Place {
    pub(crate) fn line(self) -> String {
        format!("{}\n", self.name().replace('-', " "))
    }

    /// A name that serves as the local part of an address.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Pair(number) => format!("pair-{number}"),
            Self::FanSender => "fan-sender".to_owned(),
            Self::FanMember => "fan-member".to_owned(),
            Self::Idle => "idle".to_owned(),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        match line {
            "fan sender" => Some(Self::FanSender),
            "fan member" => Some(Self::FanMember),
            "idle" => Some(Self::Idle),
            _ => line.strip_prefix("pair ")?.parse().ok().map(Self::Pair),
        }
    }
}

/// Those who receive what somebody sends.
type Receivers = Arc<Mutex<Vec<Arc<Link>>>>;

#[derive(Default)]
struct Places {
    /// The first of a pair, until the second comes: its link and its receivers.
    waiting: Mutex<HashMap<u32, (Arc<Link>, Receivers)>>,
    members: Receivers,
}

/// Listens and relays until the process ends.
pub(crate) async fn serve(address: SocketAddr, security: Security) -> Result<()> {
    let config = match security {
        Security::Direct => Some(tls::relay_config()?),
        Security::Plain => None,
        Security::Starttls => return Err("the relay speaks no XMPP: use --mode direct or plain".into()),
    };
    let listener = TcpListener::bind(address).await?;
    eprintln!("relay on {}", listener.local_addr()?);
    let places = Arc::new(Places::default());
    loop {
        let (socket, _) = listener.accept().await?;
        let places = Arc::clone(&places);
        let config = config.clone();
        let Ok((link, incoming)) = link::open(socket) else { continue };
        tokio::spawn(async move {
            // A connection that breaks ends; the client on the other side says so.
            let _ = relay(link, incoming, config, &places).await;
        });
    }
}

async fn relay(
    link: Arc<Link>,
    mut incoming: link::Incoming,
    config: Option<Arc<ServerConfig>>,
    places: &Places,
) -> Result<()> {
    let receivers = {
        // In a block, and boxed: nothing of the beginning stays in an idle connection's task.
        let begin = begin(&link, &mut incoming, config, places);
        Box::pin(begin).await?
    };
    loop {
        let received = incoming
            .receive_with(|bytes| {
                for receiver in receivers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    let _ = receiver.send(bytes);
                }
            })
            .await?;
        if received == 0 {
            return Ok(());
        }
    }
}

async fn begin(
    link: &Arc<Link>,
    incoming: &mut link::Incoming,
    config: Option<Arc<ServerConfig>>,
    places: &Places,
) -> Result<Receivers> {
    let mut line = match config {
        Some(config) => incoming.secure(Connection::from(ServerConnection::new(config)?)).await?,
        None => Vec::new(),
    };
    while !line.ends_with(b"\n") {
        if line.len() > 64 || incoming.receive(&mut line).await? == 0 {
            return Err("no first line".into());
        }
    }
    let place = Place::parse(std::str::from_utf8(&line)?.trim_end()).ok_or("unknown place")?;
    let receivers = places.take(place, link);
    link.send(b"<ready/>")?;
    Ok(receivers)
}

impl Places {
    fn take(&self, place: Place, link: &Arc<Link>) -> Receivers {
        match place {
            Place::Idle => Receivers::default(),
            Place::FanSender => Arc::clone(&self.members),
            Place::FanMember => {
                self.members.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(link));
                Receivers::default()
            }
            Place::Pair(number) => {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                match waiting.remove(&number) {
                    Some((partner, receivers)) => {
                        receivers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(link));
                        Arc::new(Mutex::new(vec![partner]))
                    }
                    None => {
                        let receivers = Receivers::default();
                        waiting.insert(number, (Arc::clone(link), Arc::clone(&receivers)));
                        receivers
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::endpoint::{Endpoint, Protocol, UserPattern};
    use crate::load::chat::{Drive, Ends};
    use crate::load::{chat, login, presence};
    use crate::measure::Window;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        for place in [Place::Pair(17), Place::FanSender, Place::FanMember, Place::Idle] {
            assert_eq!(Place::parse(place.line().trim_end()), Some(place));
        }
        assert_eq!(Place::parse("pair x"), None);
        assert_eq!(Place::parse("<stream:stream>"), None);
    }

    async fn relay_endpoint(security: Security) -> Endpoint {
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        tokio::spawn(serve(address, security));
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
        let users = UserPattern::new("u{n}").unwrap();
        Endpoint::new(address, "a.lab", security, Protocol::Relay, users, "").unwrap()
    }

    const WINDOW: Window = Window { warmup: Duration::from_millis(10), duration: Duration::from_millis(100) };

    #[tokio::test(flavor = "multi_thread")]
    async fn a_chat_over_the_relay_loses_nothing_with_and_without_tls() {
        for security in [Security::Direct, Security::Plain] {
            let endpoint = relay_endpoint(security).await;
            for drive in [Drive::Closed { outstanding: 3 }, Drive::Open { rate: 500.0 }] {
                let style = chat::Style::default();
                let plan = chat::Plan { pairs: 4, drive, body_bytes: 100, style, window: WINDOW };
                let report = chat::run(Ends::One(&endpoint), plan, &[]).await.unwrap();
                assert!(report.operations > 0, "{security:?} {drive:?}");
                assert_eq!((report.lost, report.errors), (0, 0), "{security:?} {drive:?}");
                assert!(report.latency.is_some());
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_message_larger_than_the_socket_buffers_arrives_whole() {
        let endpoint = relay_endpoint(Security::Direct).await;
        let drive = Drive::Closed { outstanding: 2 };
        let style = chat::Style::default();
        let plan = chat::Plan { pairs: 1, drive, body_bytes: 8 << 20, style, window: WINDOW };
        let report = chat::run(Ends::One(&endpoint), plan, &[]).await.unwrap();
        assert_eq!((report.lost, report.errors), (0, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_fan_out_over_the_relay_reaches_every_member() {
        let endpoint = relay_endpoint(Security::Direct).await;
        let report = presence::run(&endpoint, 5, WINDOW, &[]).await.unwrap();
        assert!(report.operations > 0);
        assert_eq!((report.lost, report.errors), (0, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn log_ins_at_the_relay_end_cleanly() {
        let endpoint = relay_endpoint(Security::Direct).await;
        let plan = login::Plan { way: login::Way::Steps, accounts: 4, in_flight: 2, window: WINDOW };
        let report = login::run(&endpoint, plan, &[]).await.unwrap();
        assert!(report.operations > 0);
    }
}
