//! What `[proxy]` must hold: settings that would lock everybody out, or that nobody would ever notice, are refused.

use signalbeam_authn::client_address::canonical;

use super::Broken;
use crate::config::sections::{ClientCertificateHeader, Config, ProxyProtocol};

pub(super) fn broken(config: &Config, found: &mut Vec<Broken>) {
    let proxy = &config.proxy;
    for network in proxy.trusted.iter().filter(|network| **network != network.trunc()) {
        let allowed =
            format!("`{}`, or `{}` for that address alone", network.trunc(), ipnet::IpNet::from(network.addr()));
        found.push(("proxy.trusted", format!("`{network}`"), allowed));
    }
    let trusts_nobody = proxy.trusted.is_empty();
    if proxy.protocol == ProxyProtocol::V2 && trusts_nobody {
        let allowed = "`none`, or networks in `proxy.trusted`: nobody else could connect";
        found.push(("proxy.protocol", "`v2`".to_owned(), allowed.to_owned()));
    }
    let header = match proxy.client_certificate_header {
        ClientCertificateHeader::None => return,
        ClientCertificateHeader::XForwardedClientCert => "`x-forwarded-client-cert`",
        ClientCertificateHeader::ClientCert => "`client-cert`",
    };
    let mut refuse =
        |allowed: &str| found.push(("proxy.client_certificate_header", header.to_owned(), allowed.to_owned()));
    if trusts_nobody {
        refuse("`none`, or networks in `proxy.trusted`: from nobody else is it taken");
    } else if proxy.trusted.iter().any(|network| canonical(*network).prefix_len() == 0) {
        refuse("`none`, or proxies in `proxy.trusted`: with all addresses there, everybody could be any device");
    }
    if !config.mtls.enabled {
        refuse("`none`, or `mtls.enabled = true`: without it no certificate is looked at");
    }
}
