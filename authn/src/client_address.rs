//! Who the client is where a reverse proxy stands in between: its address, and the certificate that it showed to the proxy.
//! The peer's own word counts, unless the peer is a proxy that the operator trusts.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use ipnet::{IpNet, Ipv4Net};

use crate::connection::Connection;
use crate::forwarded_certificate::{ClientCertificateHeader, ForwardedCertificates};
use crate::forwarded_list::{elements_from_right, pairs_from_right, unquote};
use crate::http::context::single;

/// Which header of a trusted proxy names the client's address. Only this one is read: others may have come from the
/// client, through a proxy that passes on what it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressHeader {
    /// `X-Forwarded-For`; where that is missing, `X-Real-IP`.
    #[default]
    Auto,
    /// `X-Forwarded-For` alone.
    XForwardedFor,
    /// `X-Real-IP` alone.
    XRealIp,
    /// `Forwarded` (RFC 7239) alone.
    Forwarded,
}

/// The proxies whose word on the client's address, and on its certificate where the operator says so, is taken.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    address_header: AddressHeader,
    certificates: Option<Arc<ForwardedCertificates>>,
}

impl TrustedProxies {
    /// Trusts these networks; an empty list trusts nobody. IPv4 networks may be written as IPv6 (`::ffff:0:0/96`).
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self { networks: networks.into_iter().map(canonical).collect(), ..Self::default() }
    }

    /// Takes the client's address from this header.
    #[must_use]
    pub fn with_address_header(self, address_header: AddressHeader) -> Self {
        Self { address_header, ..self }
    }

    /// Takes the client's certificate from this header, and from nowhere else where a trusted proxy is the peer: its own
    /// certificate in the handshake is the proxy's, never a device's.
    #[must_use]
    pub fn with_client_certificate_header(self, header: ClientCertificateHeader) -> Self {
        Self { certificates: Some(Arc::new(ForwardedCertificates::new(header))), ..self }
    }

    /// Whether the address belongs to a trusted proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The right-most address in the header that is not a trusted proxy. What stands left of anything that is no address
    /// is not believed: the nearest address that was good is the answer. The header is believed only if the peer itself
    /// is trusted, for anybody can send it.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.contains(peer) {
            return peer.to_canonical();
        }
        match self.address_header {
            AddressHeader::Auto if headers.contains_key(X_FORWARDED_FOR) => {
                self.nearest(peer, x_forwarded_for(headers))
            }
            AddressHeader::XForwardedFor => self.nearest(peer, x_forwarded_for(headers)),
            AddressHeader::Auto | AddressHeader::XRealIp => {
                single(headers, "x-real-ip").and_then(parse).unwrap_or(peer).to_canonical()
            }
            AddressHeader::Forwarded => {
                self.nearest(peer, elements_from_right(headers, "forwarded").map(forwarded_for))
            }
        }
    }

    /// The connection as the client's, whose certificate a trusted proxy hands on; otherwise the connection as it is.
    pub(crate) fn client_connection(&self, connection: &Arc<Connection>, headers: &HeaderMap) -> Arc<Connection> {
        match &self.certificates {
            Some(certificates) if self.contains(connection.peer.ip()) => {
                Arc::new(Connection { certificate: certificates.presented(headers), ..Connection::clone(connection) })
            }
            _ => Arc::clone(connection),
        }
    }

    fn nearest(&self, peer: IpAddr, from_right: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut nearest = peer;
        for hop in from_right {
            let Some(address) = hop else { break };
            nearest = address;
            if !self.contains(address) {
                break;
            }
        }
        nearest.to_canonical()
    }
}

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Every line is part of one list, whose last address was added last.
fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    // Octets, not texts: what is no text on the left must not hide what a proxy has written behind it.
    let hops = lines.flat_map(|line| line.as_bytes().rsplit(|octet| *octet == b','));
    hops.map(|hop| std::str::from_utf8(hop).ok().and_then(parse))
}

/// The address in an element of `Forwarded` (RFC 7239, section 4); `None` for `unknown`, obfuscated identifiers, an
/// element without `for` or with more than one, and whatever is not an element.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in pairs_from_right(element) {
        let (name, value) = pair?;
        let value = unquote(value)?;
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
    }
    parse(&found?)
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

/// A network of IPv4-mapped IPv6 addresses as what it is, since addresses are compared in that form.
pub fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUSTED: &[&str] = &["10.0.0.0/8", "2001:db8::/32", "::ffff:192.0.2.0/120"];

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(TRUSTED.iter().map(|network| network.parse().unwrap()).collect())
    }

    fn address(header: AddressHeader, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        proxies().with_address_header(header).client_address(peer.parse().unwrap(), &headers).to_string()
    }

    fn x_forwarded_for(lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| (X_FORWARDED_FOR, *line)).collect();
        address(AddressHeader::Auto, "10.0.0.1", &lines)
    }

    fn forwarded(lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        address(AddressHeader::Forwarded, "10.0.0.1", &lines)
    }

    #[test]
    fn nobody_is_believed_by_default() {
        let headers = HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), "203.0.113.9".parse().unwrap())]);
        let peer: IpAddr = "198.51.100.7".parse().unwrap();
        assert_eq!(TrustedProxies::default().client_address(peer, &headers), peer);
        assert_eq!(proxies().client_address(peer, &headers), peer);
    }

    #[test]
    fn the_right_most_stranger_counts() {
        assert_eq!(x_forwarded_for(&["6.6.6.6, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(x_forwarded_for(&["6.6.6.6", "203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(x_forwarded_for(&["[2001:db9::1]"]), "2001:db9::1");
        assert_eq!(x_forwarded_for(&["[2001:db9::1]:443"]), "2001:db9::1");
        assert_eq!(x_forwarded_for(&["::ffff:203.0.113.9, ::ffff:10.0.0.2"]), "203.0.113.9");
        assert_eq!(x_forwarded_for(&["203.0.113.9, 192.0.2.7"]), "203.0.113.9", "a network written as IPv6");
        assert_eq!(x_forwarded_for(&["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(x_forwarded_for(&["6.6.6.6, nonsense, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(x_forwarded_for(&[]), "10.0.0.1");
        assert_eq!(address(AddressHeader::Auto, "::ffff:10.0.0.1", &[("x-forwarded-for", "6.6.6.6")]), "6.6.6.6");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_says() {
        assert_eq!(forwarded(&["for=203.0.113.9"]), "203.0.113.9");
        assert_eq!(forwarded(&["For=6.6.6.6;proto=https, FOR=\"203.0.113.9:4711\";by=10.0.0.2"]), "203.0.113.9");
        assert_eq!(forwarded(&["for=\"[2001:db9:cafe::17]:4711\""]), "2001:db9:cafe::17");
        assert_eq!(forwarded(&["for=\"[2001:db9::1]\", for=\"[2001:db8::1]:4711\""]), "2001:db9::1");
        assert_eq!(forwarded(&["for=203.0.113.9", "for=10.0.0.2"]), "203.0.113.9");
        assert_eq!(forwarded(&["host=\"a, for=6.6.6.6;x=\\\"\";for=203.0.113.9"]), "203.0.113.9");
        assert_eq!(forwarded(&["for=\"[::ffff:203.0.113.9]\""]), "203.0.113.9");
        assert_eq!(forwarded(&["for=\"203.0.113.\\9\""]), "203.0.113.9", "escapes");
    }

    #[test]
    fn what_forwarded_does_not_tell_ends_the_walk() {
        for hidden in
            ["unknown", "_hidden", "\"_SEVKISEK:1\"", "\"unknown:80\"", "\"\"", "", "10.0.0.256", "\"10.0.0.2"]
        {
            assert_eq!(forwarded(&[&format!("for=6.6.6.6, for={hidden}, for=10.0.0.2")]), "10.0.0.2", "{hidden}");
        }
        for element in ["", "proto=https", "for", "for=6.6.6.6;for=7.7.7.7", "for=6.6.6.6;;", "for=6.6.6.6 7.7.7.7"] {
            assert_eq!(forwarded(&[element]), "10.0.0.1", "{element}");
        }
    }

    #[test]
    fn only_the_header_that_the_operator_names_is_read() {
        let all = &[("x-forwarded-for", "1.1.1.1"), ("x-real-ip", "2.2.2.2"), ("forwarded", "for=3.3.3.3")];
        for (header, expected) in [
            (AddressHeader::Auto, "1.1.1.1"),
            (AddressHeader::XForwardedFor, "1.1.1.1"),
            (AddressHeader::XRealIp, "2.2.2.2"),
            (AddressHeader::Forwarded, "3.3.3.3"),
        ] {
            assert_eq!(address(header, "10.0.0.1", all), expected, "{header:?}");
            assert_eq!(address(header, "198.51.100.7", all), "198.51.100.7", "{header:?}");
        }
        assert_eq!(address(AddressHeader::Auto, "10.0.0.1", &all[1..]), "2.2.2.2");
        assert_eq!(address(AddressHeader::XForwardedFor, "10.0.0.1", &all[1..]), "10.0.0.1");
        assert_eq!(address(AddressHeader::XRealIp, "10.0.0.1", &all[..1]), "10.0.0.1");
        assert_eq!(address(AddressHeader::Forwarded, "10.0.0.1", &all[..2]), "10.0.0.1");
    }
}
