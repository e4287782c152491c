//! `[proxy]`: who stands in front of the server, and what is taken from him.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Which header of a trusted proxy names the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

/// How a terminating proxy hands on a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificateHeader {
    /// Not at all: such headers are ignored.
    #[default]
    None,
    /// `X-Forwarded-Client-Cert` as Envoy writes it.
    XForwardedClientCert,
    /// `Client-Cert` and `Client-Cert-Chain` (RFC 9440).
    ClientCert,
}

/// What a balancer says before the TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyProtocol {
    /// Nothing: connections begin with TLS.
    #[default]
    None,
    /// Every connection begins with a header of the PROXY protocol, version 2.
    V2,
}

/// `[proxy]`: reverse proxies and load balancers in front of the server. All of it can be reloaded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Proxy {
    /// Networks (CIDR) of proxies who are believed about their clients.
    /// `SIGNALBEAM__PROXY__TRUSTED` (comma-separated), default none.
    pub trusted: Vec<IpNet>,
    /// The header in which trusted proxies name the client's address: `x-forwarded-for`, `x-real-ip` or `forwarded`, and
    /// no other is read. `auto` reads `X-Forwarded-For` and, where that is missing, `X-Real-IP`; it is safe only where
    /// the proxies set or remove both. Name the one that yours set.
    /// `SIGNALBEAM__PROXY__ADDRESS_HEADER`, default `auto`.
    pub address_header: AddressHeader,
    /// The header in which trusted proxies hand on the certificate of a client that proved its key to them:
    /// `x-forwarded-client-cert` (Envoy, with `Cert` or `Chain`), `client-cert` (RFC 9440) or `none`. The proxies must
    /// remove the header where a client sends it. With any of them, the certificate of a trusted proxy's own handshake
    /// authenticates nobody. Needs `proxy.trusted`, and `mtls.enabled`.
    /// `SIGNALBEAM__PROXY__CLIENT_CERTIFICATE_HEADER`, default `none`.
    pub client_certificate_header: ClientCertificateHeader,
    /// What every connection to the HTTPS listener begins with: `none`, or `v2`, a header of the PROXY protocol, version 2,
    /// of at most 4 KiB and within the time of the TLS handshake. With `v2` only trusted proxies can connect. Needs
    /// `proxy.trusted`.
    /// `SIGNALBEAM__PROXY__PROTOCOL`, default `none`.
    pub protocol: ProxyProtocol,
}
