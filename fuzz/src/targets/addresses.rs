//! `X-Forwarded-For`, `X-Real-IP` and `Forwarded`.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use signalbeam_authn::client_address::{AddressHeader, TrustedProxies};

use super::{appended, header_lines};

pub(crate) const DICTIONARY: &[&str] = &[
    "for=",
    "by=",
    ";",
    ",",
    "\"",
    "\\\"",
    "\\",
    "[",
    "]",
    "::1",
    "::ffff:10.0.0.2",
    "10.0.0.2",
    "203.0.113.7:80",
    "unknown",
    "_hidden",
    "\n",
    "for=\"[2001:db8::1]:4711\"",
    ", ",
];

/// Nobody that an input could name by chance.
const CLIENT: &str = "198.51.100.250";

/// Whoever is not trusted changes nothing, and whatever he writes changes nothing in what a trusted proxy writes behind it.
pub(crate) fn run(input: &[u8]) {
    let stranger: IpAddr = "192.0.2.66".parse().unwrap();
    let proxy: IpAddr = "10.0.0.1".parse().unwrap();
    let client: IpAddr = CLIENT.parse().unwrap();
    let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
    for (name, header, written) in [
        ("x-forwarded-for", AddressHeader::Auto, CLIENT.to_owned()),
        ("x-forwarded-for", AddressHeader::XForwardedFor, format!("{CLIENT}:4711")),
        ("forwarded", AddressHeader::Forwarded, format!("for={CLIENT}")),
        ("forwarded", AddressHeader::Forwarded, format!("by=10.0.0.1;For=\"{CLIENT}:4711\";host=\"a,\\\"b\\\\\"")),
    ] {
        let proxies = trusted.clone().with_address_header(header);
        let headers = header_lines(name, input);
        assert_eq!(proxies.client_address(stranger, &headers), stranger);
        let found = proxies.client_address(proxy, &headers);
        assert_eq!(found, found.to_canonical());
        // Said again by the nearest proxy alone, it is the same.
        let again =
            HeaderMap::from_iter([(HeaderName::from_static("x-forwarded-for"), found.to_string().parse().unwrap())]);
        assert_eq!(trusted.client_address(proxy, &again), found);
        for headers in appended(&headers, name, &written) {
            assert_eq!(proxies.client_address(proxy, &headers), client, "{headers:?}");
        }
    }
    let real = header_lines("x-real-ip", input);
    let found = trusted.clone().with_address_header(AddressHeader::XRealIp).client_address(proxy, &real);
    assert!(found == proxy || real.len() == 1);
}
