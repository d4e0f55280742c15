//! Who floods is slowed, and nobody else.

use crate::world::{Answering, Server, World, numbers};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stonechat_jid::Domain;
use stonechat_router::Record;
use stonechat_s2s::{Arrived, Pace, Settings};

/// So many stanzas of one domain are free; behind them its stream stands still for a while, once.
struct Gate {
    domain: &'static str,
    free: Mutex<usize>,
    bytes: Mutex<usize>,
}

impl Pace for Gate {
    fn spend(&self, domain: &Domain, arrived: Arrived, _now: Instant) -> Duration {
        if domain.as_str() != self.domain {
            return Duration::ZERO;
        }
        match arrived {
            Arrived::Bytes(count) => {
                *self.bytes.lock().unwrap() += count;
                Duration::ZERO
            }
            Arrived::Stanza => {
                let mut free = self.free.lock().unwrap();
                *free = free.wrapping_sub(1);
                if *free == 0 { Duration::from_secs(2) } else { Duration::ZERO }
            }
        }
    }
}

#[tokio::test]
async fn abuse_137_a_flood_slows_its_domain_alone_and_nothing_is_dropped() {
    let world = World::new();
    let gate = Arc::new(Gate { domain: "loud.example", free: Mutex::new(3), bytes: Mutex::new(0) });
    let here = Server::paced(&world, "here.example", Settings::default(), gate.clone()).await;
    let loud = Server::start(&world, "loud.example").await;
    let calm = Server::start(&world, "calm.example").await;
    world.name("here.example", &["192.0.2.1"]);
    world.place("192.0.2.1:5269", Answering::Server(here.clone()));
    let client = here.log_in("x").await;
    // Each goes by itself, so that reading can stop between them.
    for number in 0..6 {
        loud.send(loud.message("here.example", number), Record::Unkept);
        let came = client.message_within(Duration::from_millis(if number < 3 { 10_000 } else { 50 })).await;
        assert_eq!(came.is_some(), number < 3, "stanza {number}");
    }
    calm.send(calm.message("here.example", 77), Record::Unkept);
    let next = client.message().await;
    assert_eq!(next.from().unwrap().domain(), "calm.example", "another domain is not slowed");
    assert!(*gate.bytes.lock().unwrap() > 0, "bytes are counted");
    // Nothing was lost of what waited.
    assert_eq!(client.ids(3).await, numbers(3..6));
    assert!(client.message_within(Duration::from_millis(20)).await.is_none());
}
