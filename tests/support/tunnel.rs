//! The way of a mobile device to the server: a relay that cuts, stalls and tears, and comes out at another address each
//! time.

use super::chance::Chance;
use super::server::Port;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;

/// Milliseconds a connection lives, from and to.
const LIFE: (u64, u64) = (200, 3000);

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Both sides are told.
    Cut,
    /// Nothing passes for a while; then the device gives up, and the server is told much later, or never.
    Stall,
    /// What is on its way passes in part.
    Torn,
}

/// A radio that was silent for so long has gone to sleep: what comes next wakes it.
const SLEEP: Duration = Duration::from_millis(50);

/// What all tunnels of a test have in common.
#[derive(Clone, Default)]
pub struct Weather {
    calm: Arc<AtomicBool>,
    ends: Arc<AtomicU64>,
    traffic: Arc<Traffic>,
}

/// What devices' batteries pay for.
#[derive(Default)]
struct Traffic {
    up: AtomicU64,
    down: AtomicU64,
    wakes: AtomicU64,
}

impl Weather {
    /// From now on connections live, but for those that are doomed already.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }
    /// Connections that the weather has ended so far.
    pub fn ends(&self) -> u64 {
        self.ends.load(Ordering::Relaxed)
    }
    /// What went through the tunnels, in words.
    pub fn traffic(&self) -> String {
        let told = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let Traffic { up, down, wakes } = &*self.traffic;
        format!("{} bytes up, {} down, {} times a silent radio was woken", told(up), told(down), told(wakes))
    }
    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }
}

/// Opens a tunnel to the server; where its near end is.
pub async fn dig(target: &Port, weather: &Weather, mut chance: Chance) -> Port {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let near = Port::default();
    near.set(listener.local_addr().unwrap().port());
    let (target, weather) = (target.clone(), weather.clone());
    tokio::spawn(async move {
        let mut ghost = None;
        while let Ok((device, _)) = listener.accept().await {
            let passage = Passage { weather: weather.clone(), chance: chance.fork(chance.clone().next()) };
            chance.next();
            // One at a time: a device has one connection. What the last one left behind goes when this one ends.
            let left = passage.through(device, &target).await;
            ghost = left.or(ghost);
        }
    });
    near
}

struct Passage {
    weather: Weather,
    chance: Chance,
}

impl Passage {
    async fn through(mut self, mut device: TcpStream, target: &Port) -> Option<TcpStream> {
        let source = Ipv4Addr::new(127, 0, 0, self.chance.between(2, 250) as u8);
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind(SocketAddr::from((source, 0))).ok()?;
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target.get()));
        let mut server = socket.connect(target).await.ok()?;
        let (_, _) = (device.set_nodelay(true), server.set_nodelay(true));
        let life = self.chance.millis(LIFE.0, LIFE.1);
        let end = *self.chance.pick(&[End::Cut, End::Stall, End::Torn]);
        // Most live from the moment that the session is there, or a slow machine would never get one; some end before.
        let early = self.chance.percent(20);
        let begin = Instant::now();
        let mut doomed = early.then_some(begin + life);
        let (mut up, mut down) = ([0u8; 4096], [0u8; 4096]);
        let traffic = Arc::clone(&self.weather.traffic);
        let mut last = begin;
        loop {
            if self.weather.is_calm() {
                doomed = None;
            }
            let until = doomed.unwrap_or_else(|| Instant::now() + Duration::from_millis(100));
            tokio::select! {
                read = device.read(&mut up) => {
                    let Ok(count @ 1..) = read else { return None };
                    traffic.up.fetch_add(count as u64, Ordering::Relaxed);
                    last = Instant::now();
                    server.write_all(&up[..count]).await.ok()?;
                }
                read = server.read(&mut down) => {
                    let Ok(count @ 1..) = read else { return None };
                    traffic.down.fetch_add(count as u64, Ordering::Relaxed);
                    if std::mem::replace(&mut last, Instant::now()).elapsed() >= SLEEP {
                        traffic.wakes.fetch_add(1, Ordering::Relaxed);
                    }
                    let there = down[..count].windows(7).any(|word| word == b"enabled" || word == b"resumed");
                    if there && doomed.is_none() && !self.weather.is_calm() {
                        doomed = Some(Instant::now() + life);
                    }
                    device.write_all(&down[..count]).await.ok()?;
                }
                () = tokio::time::sleep_until(until) => {
                    if doomed.is_some_and(|doomed| Instant::now() >= doomed) {
                        break;
                    }
                }
            }
        }
        self.weather.ends.fetch_add(1, Ordering::Relaxed);
        match end {
            End::Cut => None,
            End::Stall => {
                tokio::time::sleep(self.chance.millis(100, 1200)).await;
                Some(server)
            }
            End::Torn => {
                self.tear(&mut device, &mut server, &mut up).await;
                self.tear(&mut server, &mut device, &mut down).await;
                None
            }
        }
    }

    /// A part of what comes next passes.
    async fn tear(&mut self, from: &mut TcpStream, to: &mut TcpStream, buffer: &mut [u8]) {
        let next = tokio::time::timeout(Duration::from_millis(100), from.read(buffer)).await;
        if let Ok(Ok(count @ 1..)) = next {
            let part = self.chance.between(0, count as u64) as usize;
            let _ = to.write_all(&buffer[..part]).await;
        }
    }
}
