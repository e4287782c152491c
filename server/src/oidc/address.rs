//! Which addresses the server may connect to on somebody else's word: public ones, unless the operator named the host.
//! A name that leads inward, to this machine, its network or a cloud's metadata service, leads nowhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the operator decided.
#[derive(Debug, Clone)]
pub(super) struct AddressPolicy {
    /// Hosts whose addresses need not be public, in lower case.
    allowed_hosts: Vec<String>,
    /// Whether this very machine may be asked.
    allow_loopback: bool,
}

impl AddressPolicy {
    pub(super) fn new(allowed_hosts: &[String], allow_loopback: bool) -> Self {
        Self { allowed_hosts: allowed_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(), allow_loopback }
    }

    /// Whether a host may be reached at an address that its name has led to.
    pub(super) fn allows(&self, host: &str, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if is_public(address) || (self.allow_loopback && address.is_loopback()) {
            return true;
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_named = self.allowed_hosts.iter().any(|allowed| host.eq_ignore_ascii_case(allowed));
        is_named && is_inner_host(address)
    }
}

/// Whether a host's name can only mean this machine.
pub(super) fn is_loopback_name(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// What an operator may mean by an inner host. Link-local addresses, among them the metadata services of clouds, and
/// addresses of many or of nobody are never meant.
fn is_inner_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || is_shared(address),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Not among the special-purpose addresses of IANA (RFC 6890).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let is_special = first == 0
        || first >= 240
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || is_shared(address)
        || (first, second, third) == (192, 0, 0)
        || (first, second, third) == (192, 88, 99)
        || (first == 198 && (second == 18 || second == 19));
    !is_special
}

/// The carriers' shared address space (RFC 6598).
fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && (64..128).contains(&second)
}

/// Global unicast (`2000::/3`), and not a wrapping of something else.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let is_global_unicast = segments[0] & 0xe000 == 0x2000;
    // Teredo, benchmarking, ORCHID and what else has `2001::/23`; documentation; 6to4, which wraps IPv4 addresses.
    let is_protocol = segments[0] == 0x2001 && segments[1] < 0x200;
    let is_documentation = (segments[0] == 0x2001 && segments[1] == 0xdb8) || segments[0] == 0x3fff;
    is_global_unicast && !is_protocol && !is_documentation && segments[0] != 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: [&str; 11] = [
        "127.0.0.1",
        "127.255.255.254",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "::1",
        "fd00::1",
        "::ffff:10.0.0.1",
    ];
    const NEVER: [&str; 27] = [
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "169.254.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::ffff:169.254.169.254",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "4000::1",
    ];

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn public_addresses_are_reached_whatever_the_host() {
        let policy = AddressPolicy::new(&[], false);
        for public in ["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "192.0.1.1", "2606:4700::1111", "2a00::1"] {
            assert!(policy.allows("id.example", address(public)), "{public}");
        }
    }

    #[test]
    fn inner_addresses_are_reached_by_named_hosts_alone_and_some_by_nobody() {
        let policy = AddressPolicy::new(&["Id.Internal".to_owned(), "::1".to_owned()], false);
        for inner in INNER {
            assert!(!policy.allows("id.example", address(inner)), "{inner}");
            assert!(!policy.allows("evil.id.internal", address(inner)), "{inner}");
            assert!(policy.allows("id.internal", address(inner)), "{inner}");
        }
        assert!(policy.allows("[::1]", address("::1")));
        let everything = AddressPolicy::new(&["id.internal".to_owned()], true);
        for never in NEVER {
            assert!(!everything.allows("id.internal", address(never)), "{never}");
        }
    }

    #[test]
    fn this_machine_is_reached_where_that_is_allowed() {
        let policy = AddressPolicy::new(&[], true);
        for local in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(policy.allows("localhost", address(local)), "{local}");
        }
        assert!(!policy.allows("localhost", address("10.0.0.1")));
    }
}
