//! The proxies in front of the server, from the words of the configuration to what the listener and the router take.

use signalbeam_authn::client_address::{AddressHeader, TrustedProxies};
use signalbeam_authn::forwarded_certificate::ClientCertificateHeader;

use crate::config;
use crate::listener::ProxyProtocol;

/// Who is believed, and about what.
pub(super) fn trusted(proxy: &config::Proxy) -> TrustedProxies {
    let proxies = TrustedProxies::new(proxy.trusted.clone()).with_address_header(match proxy.address_header {
        config::AddressHeader::Auto => AddressHeader::Auto,
        config::AddressHeader::XForwardedFor => AddressHeader::XForwardedFor,
        config::AddressHeader::XRealIp => AddressHeader::XRealIp,
        config::AddressHeader::Forwarded => AddressHeader::Forwarded,
    });
    match proxy.client_certificate_header {
        config::ClientCertificateHeader::None => proxies,
        config::ClientCertificateHeader::XForwardedClientCert => {
            proxies.with_client_certificate_header(ClientCertificateHeader::XForwardedClientCert)
        }
        config::ClientCertificateHeader::ClientCert => {
            proxies.with_client_certificate_header(ClientCertificateHeader::ClientCert)
        }
    }
}

/// What connections begin with.
pub(super) fn protocol(proxy: &config::Proxy) -> ProxyProtocol {
    match proxy.protocol {
        config::ProxyProtocol::None => ProxyProtocol::None,
        config::ProxyProtocol::V2 => ProxyProtocol::V2(TrustedProxies::new(proxy.trusted.clone())),
    }
}
