//! The client's address: the peer's, unless the peer is a proxy that the operator trusts.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

use crate::http::context::single;

/// The proxies whose word on the client's address is taken.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts these networks; an empty list trusts nobody.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether the address belongs to a trusted proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The right-most address in `X-Forwarded-For` that is not a trusted proxy; where that header is missing, the
    /// `X-Real-IP`. Both are believed only if the peer itself is trusted, for anybody can send them.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.contains(peer) {
            return peer.to_canonical();
        }
        let hops: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .map(|v| v.to_str().unwrap_or(""))
            .flat_map(|v| v.split(','))
            .collect();
        if hops.is_empty() {
            return single(headers, "x-real-ip").and_then(parse).unwrap_or(peer).to_canonical();
        }
        let mut nearest = peer;
        for hop in hops.iter().rev() {
            // What stands left of something unreadable was written by whoever wrote that.
            let Some(address) = parse(hop) else { break };
            nearest = address;
            if !self.contains(address) {
                break;
            }
        }
        nearest.to_canonical()
    }
}

/// An address, with or without a port, IPv6 with or without brackets.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some(socket.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let proxies = TrustedProxies::new(trusted.iter().map(|n| n.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        proxies.client_address(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn nobody_is_believed_by_default() {
        assert_eq!(address(&[], "198.51.100.7", &["203.0.113.9"]), "198.51.100.7");
        assert_eq!(address(&["10.0.0.0/8"], "198.51.100.7", &["203.0.113.9"]), "198.51.100.7");
    }

    #[test]
    fn the_right_most_stranger_counts() {
        let trusted = &["10.0.0.0/8", "2001:db8::/32"];
        assert_eq!(address(trusted, "10.0.0.1", &["6.6.6.6, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(address(trusted, "10.0.0.1", &["6.6.6.6", "203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(address(trusted, "::ffff:10.0.0.1", &["[2001:db9::1]"]), "2001:db9::1");
        assert_eq!(address(trusted, "10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(address(trusted, "10.0.0.1", &["6.6.6.6, nonsense, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(address(trusted, "10.0.0.1", &[]), "10.0.0.1");
    }
}
