//! Where another domain may send us (abuse case 132): its DNS is anybody's to write, and must not make us knock at doors
//! that only we can reach, or speak XMPP to what is no XMPP server.
//!
//! Fixed addresses of the configuration are the operator's own words and are not asked about here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether addresses that are not of the public internet are dialled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrivateAddresses {
    /// They are not.
    #[default]
    Refused,
    /// They are: for servers on a network of their own.
    Allowed,
}

/// The last port that only privileged programs listen on: where everything but XMPP is.
const LAST_PRIVILEGED: u16 = 1023;
/// The one of them that servers behind narrow firewalls use (XEP-0368).
const HTTPS: u16 = 443;

/// Whether an XMPP server may be at a port.
pub(crate) fn is_port_of_xmpp(port: u16) -> bool {
    port > LAST_PRIVILEGED || port == HTTPS
}

/// Whether an address is of the public internet (the registries of RFC 6890, and addresses that carry another in them).
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        // This network; private use; carriers' own (RFC 6598), where one cloud has its metadata; loopback
        (0 | 10, _, _) | (100, 64..=127, _) | (127, _, _)
        // Link-local, where most clouds have theirs; private use; protocol assignments, where one more has
        | (169, 254, _) | (172, 16..=31, _) | (192, 0, 0)
        // Private use; benchmarks (RFC 2544); multicast, reserved, broadcast
        | (192, 168, _) | (198, 18..=19, _) | (224..=255, _, _)
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    match segments {
        // ::, ::1, IPv4-compatible (RFC 4291 §2.5.5.1)
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => is_public_v4(embedded(high, low)),
        [0, 0, 0, 0, 0, 0, ..] => false,
        // IPv4-mapped; translated (RFC 6052 §2.1)
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(embedded(high, low)),
        // Translation within a network (RFC 8215); Teredo, which reaches behind somebody's NAT
        [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] => false,
        // 6to4
        [0x2002, high, low, ..] => is_public_v4(embedded(high, low)),
        // Unique local, link-local and site-local, multicast
        [first, ..] => !matches!(first, 0xfc00..=0xfdff | 0xfe80..=0xffff),
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abuse_132_addresses_that_are_not_public() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2001::1",
            "2002:7f00:1::1",
            "2002:c0a8:101::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "128.0.0.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.2.1",
            "192.167.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2001:db8::1",
            "2001:470::1",
            "2606:4700::1111",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
            "2002:101:101::1",
            "2a00::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn abuse_132_ports_that_are_not_of_xmpp() {
        for port in [0, 22, 25, 53, 80, 110, 143, 389, 445, 465, 587, 993, 1023] {
            assert!(!is_port_of_xmpp(port), "{port}");
        }
        for port in [443, 1024, 5222, 5269, 5270, 65_535] {
            assert!(is_port_of_xmpp(port), "{port}");
        }
    }
}
