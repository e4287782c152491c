//! The API of the server that runs on a data directory, as an operator on its machine uses it: over loopback, as an admin
//! for a minute, and only with the server whose certificate the directory's own authorities vouch for.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;
use signalbeam_authn::{AdminPrincipal, AdminTokens, Role};
use signalbeam_domain::authority::AuthorityStatus;
use signalbeam_event_store::{Clock, SystemClock};
use signalbeam_pki::certificates_from_pem;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::survey::Survey;
use super::{Failure, PlaceArgs};
use crate::cli::restore::user;
use crate::data_dir::{reachable, read_secret, running};
use crate::serve::ADMIN_KEY_FILE;

/// How long a step may take: a large key in a slow vault.
const TIMEOUT: Duration = Duration::from_mins(1);
/// The most bytes of an answer.
const MAX_BODY_BYTES: usize = 1 << 20;
/// How long the token is good that is made for one command.
const TOKEN_SECONDS: i64 = 120;
/// What every server certificate of ours names.
const SERVER_NAME: &str = "localhost";

/// Why the server did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    #[error("no server is running on {}: start it first (`signalbeam serve`), then type this again", .0.display())]
    NotRunning(PathBuf),
    #[error("the server (pid {0}) does not listen yet: wait, or look into its log")]
    NotListening(String),
    #[error("the server's certificate file, {}, cannot be read (`tls.certificate_file`)", path.display())]
    CertificateFile {
        path: PathBuf,
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    #[error("the data directory knows no certificate authority that could vouch for the server")]
    NoAuthority,
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    #[error("the data directory's authorities cannot vouch for the server")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    #[error("the server at {address} cannot be reached, or shows a certificate that is not its own")]
    Connect {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("HTTP failed")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be made")]
    Request(#[from] axum::http::Error),
    #[error("the answer broke off; whether it was done, `signalbeam ca status` tells")]
    Body(#[source] axum::Error),
    #[error("the server did not answer within {} s; whether it was done, `signalbeam ca status` tells", TIMEOUT.as_secs())]
    Timeout,
    #[error("the server refused ({status} {code}): {detail}")]
    Refused { status: StatusCode, code: String, detail: String },
}

/// A server that can be told what to do.
pub(super) struct RunningServer {
    address: SocketAddr,
    tls: TlsConnector,
    token: Zeroizing<String>,
}

impl RunningServer {
    /// Finds the server that runs on the data directory.
    pub(super) async fn find(place: &PlaceArgs) -> Result<Self, Failure> {
        let data_dir = &place.data_dir.data_dir;
        let not_running = || Failure::of(ServerError::NotRunning(data_dir.clone()));
        let found = running(data_dir).map_err(Failure::of)?.ok_or_else(not_running)?;
        let address = found.address.ok_or_else(|| Failure::of(ServerError::NotListening(found.pid)))?;
        let verifier = own_server(place).await?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(Failure::of)?.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let secret = read_secret(data_dir, ADMIN_KEY_FILE).map_err(Failure::of)?;
        let admin = AdminPrincipal { subject: user(), role: Role::Admin, tenant_id: None };
        let token = AdminTokens::new(&secret).sign(&admin, SystemClock.now(), TOKEN_SECONDS).map_err(Failure::of)?;
        let tls = TlsConnector::from(Arc::new(builder.with_no_client_auth()));
        Ok(Self { address: reachable(address), tls, token: Zeroizing::new(token) })
    }

    /// The answer to a POST, where it succeeded.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, ServerError> {
        tokio::time::timeout(TIMEOUT, self.exchange(path, body)).await.map_err(|_| ServerError::Timeout)?
    }

    async fn exchange(&self, path: &str, body: &Value) -> Result<Value, ServerError> {
        let unreachable = |source| ServerError::Connect { address: self.address, source };
        let socket = TcpStream::connect(self.address).await.map_err(unreachable)?;
        let name = ServerName::try_from(SERVER_NAME).map_err(|error| unreachable(io::Error::other(error)))?;
        let stream = self.tls.connect(name, socket).await.map_err(unreachable)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // A connection for one exchange: dropped with it, whatever it is in the middle of.
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(connection);
        let request = Request::post(path)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", *self.token))
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("signalbeam/", env!("CARGO_PKG_VERSION")))
            .body(Body::from(body.to_string()))?;
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = to_bytes(Body::new(body), MAX_BODY_BYTES).await.map_err(ServerError::Body)?;
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        if parts.status.is_success() {
            return Ok(said);
        }
        let field = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        Err(ServerError::Refused { status: parts.status, code: field("code"), detail: field("detail") })
    }
}

/// Who counts as our own server: whom the data directory's authorities vouch for, or who shows the configured certificate.
async fn own_server(place: &PlaceArgs) -> Result<OwnServer, Failure> {
    let survey = Survey::of(&place.data_dir).await?;
    let trusted = survey.authorities.iter().filter(|one| one.known.status != AuthorityStatus::Retired);
    let mut anchors = RootCertStore::empty();
    for one in trusted {
        let created = &one.known.created;
        for pem in std::iter::once(&created.certificate_pem).chain(&created.issuers_pem) {
            anchors
                .add_parsable_certificates(certificates_from_pem(pem).unwrap_or_default().into_iter().map(Into::into));
        }
    }
    if anchors.is_empty() {
        return Err(Failure::of(ServerError::NoAuthority));
    }
    let configured = place.config()?.tls.certificate_file.map(|path| {
        let read = CertificateDer::from_pem_file(&path);
        read.map_err(|source| Failure::of(ServerError::CertificateFile { path, source }))
    });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let by_authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(anchors), provider).build();
    Ok(OwnServer { by_authorities: by_authorities.map_err(Failure::of)?, configured: configured.transpose()? })
}

#[derive(Debug)]
struct OwnServer {
    by_authorities: Arc<WebPkiServerVerifier>,
    /// The certificate that others made for the server.
    configured: Option<CertificateDer<'static>>,
}

impl ServerCertVerifier for OwnServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.configured.as_ref() == Some(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        self.by_authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_authorities.supported_verify_schemes()
    }
}
