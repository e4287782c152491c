//! One GET at a time: the address that is checked is the one that is connected to, no redirect is followed, no proxy is
//! asked, and neither time nor size is unbounded.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CACHE_CONTROL, HOST, USER_AGENT};
use hyper::{HeaderMap, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::AddressPolicy;

/// How long one request may take, from the name's resolution to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of an answer.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// The file of trusted authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadRootsError {
    /// It cannot be read as PEM.
    #[error("`oidc.ca_certificate_file`: {path} cannot be read as PEM certificates")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// It has no certificate, or one that cannot be trusted.
    #[error("`oidc.ca_certificate_file`: {path} has no certificate that can be trusted")]
    Unusable {
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Why nothing was answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum GetError {
    #[error("the URL has no host")]
    NoHost,
    #[error("it took longer than {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("the host cannot be reached")]
    Connect(#[from] std::io::Error),
    #[error("the host's name leads to no address that may be connected to")]
    ForbiddenAddress,
    #[error("the host's name cannot stand in a certificate")]
    ServerName(#[from] rustls_pki_types::InvalidDnsNameError),
    #[error("HTTP failed")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be made")]
    Request(#[from] axum::http::Error),
    #[error("the answer is {0}, not 200; redirects are not followed")]
    Status(StatusCode),
    #[error("the answer broke off or is larger than {MAX_BODY_BYTES} bytes")]
    Body(#[source] axum::Error),
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// How long it says that it may be kept (RFC 9111, section 5.2.2).
    pub(super) fn max_age(&self) -> Option<Duration> {
        let values = self.headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        let directives: Vec<_> =
            values.flat_map(|value| value.split(',')).map(|each| each.trim().to_ascii_lowercase()).collect();
        if directives.iter().any(|directive| directive == "no-store" || directive == "no-cache") {
            return Some(Duration::ZERO);
        }
        let age = directives.iter().find_map(|directive| directive.strip_prefix("max-age="))?;
        age.trim_matches('"').parse().ok().map(Duration::from_secs)
    }
}

/// Asks hosts that somebody else names.
pub(super) struct HttpsClient {
    tls: TlsConnector,
    addresses: AddressPolicy,
}

impl HttpsClient {
    /// Trusts the authorities of a file, or the system's.
    pub(super) fn new(roots: Option<&Path>, addresses: AddressPolicy) -> Result<Self, ReadRootsError> {
        let roots = match roots {
            Some(path) => read_roots(path)?,
            None => system_roots(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), addresses })
    }

    /// The answer to a GET, if it is 200.
    pub(super) async fn get(&self, url: &Uri) -> Result<Answer, GetError> {
        tokio::time::timeout(TIMEOUT, self.get_at_leisure(url)).await.map_err(|_| GetError::Timeout)?
    }

    async fn get_at_leisure(&self, url: &Uri) -> Result<Answer, GetError> {
        let host = url.host().ok_or(GetError::NoHost)?;
        let is_secure = url.scheme_str() != Some("http");
        let socket = self.connect(host, url.port_u16().unwrap_or(if is_secure { 443 } else { 80 })).await?;
        if is_secure {
            let name = host.trim_start_matches('[').trim_end_matches(']');
            let name = match name.parse::<IpAddr>() {
                Ok(address) => ServerName::from(address),
                Err(_) => ServerName::try_from(name.to_owned())?,
            };
            exchange(self.tls.connect(name, socket).await?, url).await
        } else {
            exchange(socket, url).await
        }
    }

    /// Connects to the first address that may be connected to: the very one that was checked, so that a name that leads
    /// elsewhere a moment later gains nothing.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, GetError> {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<SocketAddr> = tokio::net::lookup_host((name, port)).await?.collect();
        let mut failure = GetError::ForbiddenAddress;
        for address in found.into_iter().filter(|address| self.addresses.allows(host, address.ip())) {
            match TcpStream::connect(address).await {
                Ok(socket) => return Ok(socket),
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }
}

async fn exchange<S>(stream: S, url: &Uri) -> Result<Answer, GetError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // A connection for one exchange: dropped with it, whatever it is in the middle of.
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, url.authority().map_or("", |authority| authority.as_str()))
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("signalbeam/", env!("CARGO_PKG_VERSION")))
        .body(Body::empty())?;
    let (parts, body) = sender.send_request(request).await?.into_parts();
    if parts.status != StatusCode::OK {
        return Err(GetError::Status(parts.status));
    }
    let body = to_bytes(Body::new(body), MAX_BODY_BYTES).await.map_err(GetError::Body)?;
    Ok(Answer { headers: parts.headers, body })
}

fn read_roots(path: &Path) -> Result<RootCertStore, ReadRootsError> {
    let unreadable = |source| ReadRootsError::Unreadable { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let unusable = |_| ReadRootsError::Unusable { path: path.to_owned() };
        roots.add(certificate.map_err(unreadable)?).map_err(unusable)?;
    }
    if roots.is_empty() { Err(ReadRootsError::Unusable { path: path.to_owned() }) } else { Ok(roots) }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (known, _odd) = roots.add_parsable_certificates(found.certs);
    if known == 0 {
        tracing::warn!("the system has no certificate authorities; set `oidc.ca_certificate_file`");
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_says_of_caching_is_read() {
        for (value, seconds) in [
            ("max-age=300", Some(300)),
            ("public, Max-Age=\"60\"", Some(60)),
            ("no-store", Some(0)),
            ("max-age=300, no-cache", Some(0)),
            ("private", None),
            ("max-age=soon", None),
        ] {
            let headers = HeaderMap::from_iter([(CACHE_CONTROL, value.parse().unwrap())]);
            let answer = Answer { headers, body: Bytes::new() };
            assert_eq!(answer.max_age(), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
