//! What one network address may do: connections at a time, new connections a second, and password work.
//!
//! An IPv6 address counts by its /64, since that is what one subscriber gets.

use crate::bucket::{Bucket, Rate, Spent};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Bounds per address.
#[derive(Clone, Copy, Debug)]
pub struct AddressLimits {
    /// Connections at a time.
    pub connections: u32,
    /// New connections.
    pub arrivals: Rate,
    /// Failed or slow authentications (each may cost a password hash).
    pub authentications: Rate,
    /// Addresses remembered; beyond it, those with nothing to remember go first and new ones are refused.
    pub addresses: usize,
}

impl Default for AddressLimits {
    fn default() -> Self {
        AddressLimits {
            connections: 100,
            arrivals: Rate { per_second: 10, burst: 100 },
            authentications: Rate { per_second: 1, burst: 30 },
            addresses: 100_000,
        }
    }
}

/// The addresses that were seen lately.
pub struct Addresses {
    limits: Option<AddressLimits>,
    seen: Mutex<HashMap<IpAddr, Address>>,
}

struct Address {
    connections: u32,
    arrivals: Bucket,
    authentications: Bucket,
}

/// A place among the connections of an address; given back when dropped.
pub struct Place {
    addresses: Arc<Addresses>,
    address: Option<IpAddr>,
}

/// Why a connection is refused at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many connections at a time.
    Connections,
    /// Too many new ones in a short time.
    Arrivals,
    /// The table is full.
    Table,
}

impl Addresses {
    /// A table; `None` for no limits at all (measurements).
    pub fn new(limits: Option<AddressLimits>) -> Arc<Addresses> {
        Arc::new(Addresses { limits, seen: Mutex::new(HashMap::new()) })
    }

    /// Takes a place for a new connection.
    pub fn arrive(self: &Arc<Self>, peer: SocketAddr, now: Instant) -> Result<Place, Refused> {
        let Some(limits) = self.limits else { return Ok(Place { addresses: Arc::clone(self), address: None }) };
        let key = key(peer.ip());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= limits.addresses && !seen.contains_key(&key) {
            seen.retain(|_, address| {
                address.connections > 0 || !address.arrivals.is_full(now) || !address.authentications.is_full(now)
            });
            if seen.len() >= limits.addresses {
                return Err(Refused::Table);
            }
        }
        let address = seen.entry(key).or_insert_with(|| Address {
            connections: 0,
            arrivals: Bucket::full(limits.arrivals, now),
            authentications: Bucket::full(limits.authentications, now),
        });
        if address.connections >= limits.connections {
            return Err(Refused::Connections);
        }
        if address.arrivals.try_spend(1, now) == Spent::Refused {
            return Err(Refused::Arrivals);
        }
        address.connections = address.connections.saturating_add(1);
        Ok(Place { addresses: Arc::clone(self), address: Some(key) })
    }
}

impl Place {
    /// Spends one authentication of the address's budget (abuse cases 54, 146).
    pub(crate) fn spend_authentication(&self, now: Instant) -> Spent {
        let Some(key) = self.address else { return Spent::Granted };
        let mut seen = self.addresses.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get_mut(&key).map_or(Spent::Granted, |address| address.authentications.try_spend(1, now))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(key) = self.address {
            let mut seen = self.addresses.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(address) = seen.get_mut(&key) {
                address.connections = address.connections.saturating_sub(1);
            }
        }
    }
}

fn key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => IpAddr::V4(address),
            None => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> AddressLimits {
        AddressLimits {
            connections: 2,
            arrivals: Rate { per_second: 1, burst: 3 },
            authentications: Rate { per_second: 1, burst: 2 },
            addresses: 2,
        }
    }

    fn at(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 1)
    }

    #[test]
    fn abuse_143_an_address_has_so_many_connections_and_arrivals() {
        let addresses = Addresses::new(Some(limits()));
        let now = Instant::now();
        let first = addresses.arrive(at("192.0.2.1"), now).ok().unwrap();
        let _second = addresses.arrive(at("::ffff:192.0.2.1"), now).ok().unwrap();
        assert_eq!(addresses.arrive(at("192.0.2.1"), now).err(), Some(Refused::Connections));
        drop(first);
        let _third = addresses.arrive(at("192.0.2.1"), now).ok().unwrap();
        drop(_third);
        assert_eq!(addresses.arrive(at("192.0.2.1"), now).err(), Some(Refused::Arrivals));
        assert!(addresses.arrive(at("192.0.2.1"), now + std::time::Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn abuse_143_a_slash_64_counts_as_one_and_the_table_is_bounded() {
        let addresses = Addresses::new(Some(limits()));
        let now = Instant::now();
        let _a = addresses.arrive(at("2001:db8::1"), now).ok().unwrap();
        let _b = addresses.arrive(at("2001:db8::ffff"), now).ok().unwrap();
        assert_eq!(addresses.arrive(at("2001:db8::2"), now).err(), Some(Refused::Connections));
        let c = addresses.arrive(at("2001:db8:0:1::1"), now).ok().unwrap();
        assert_eq!(addresses.arrive(at("2001:db8:0:2::1"), now).err(), Some(Refused::Table));
        assert!(addresses.arrive(at("2001:db8:0:1::2"), now).is_ok(), "who is known is no new entry");
        // Somebody who is there, or has a debt, is remembered; somebody else is forgotten for those who come.
        let hour = |hours: u64| now + std::time::Duration::from_secs(3600 * hours);
        drop(c);
        assert_eq!(addresses.arrive(at("2001:db8:0:2::1"), now).err(), Some(Refused::Table), "it arrived just now");
        let d = addresses.arrive(at("2001:db8:0:2::1"), hour(1)).ok().unwrap();
        assert_eq!(addresses.arrive(at("2001:db8:0:3::1"), hour(1)).err(), Some(Refused::Table), "both are there");
        assert_eq!(d.spend_authentication(hour(2)), Spent::Granted);
        drop(d);
        assert_eq!(addresses.arrive(at("2001:db8:0:3::1"), hour(2)).err(), Some(Refused::Table), "that is a debt");
        assert!(addresses.arrive(at("2001:db8:0:3::1"), hour(3)).is_ok());
        assert_eq!(addresses.arrive(at("2001:db8::2"), hour(3)).err(), Some(Refused::Connections), "still there");
    }

    #[test]
    fn abuse_146_password_work_has_a_budget_per_address() {
        let addresses = Addresses::new(Some(limits()));
        let now = Instant::now();
        let place = addresses.arrive(at("192.0.2.1"), now).ok().unwrap();
        assert_eq!(place.spend_authentication(now), Spent::Granted);
        assert_eq!(place.spend_authentication(now), Spent::Granted);
        assert_eq!(place.spend_authentication(now), Spent::Refused);
    }
}
