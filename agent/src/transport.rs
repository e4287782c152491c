//! HTTPS to the server: who may answer, how long it may take, and what each way of failing means.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::http::{Method, Response, StatusCode, header};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;
use zeroize::Zeroizing;

use crate::certificate::KeyedCertificate;
use crate::problem::Problem;
use crate::secret::Secret;
use crate::server_url::ServerUrl;
use crate::trust::Roots;

mod error;

pub use error::CallError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_LIMIT_BYTES: u64 = 1024 * 1024;
/// What a connection that is kept holds in each direction; our requests and answers are smaller.
const KEPT_BUFFER_BYTES: usize = 16 * 1024;

/// The one crypto provider of this program; nothing depends on a process-wide default.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What a request proves itself with, besides a certificate of the connection.
#[derive(Clone, Copy, Debug)]
pub enum Credential<'a> {
    /// Nothing: a public route, or the certificate alone.
    None,
    /// `Authorization: Bearer`, for the claim secret.
    Bearer(&'a Secret),
    /// `X-API-Key`.
    ApiKey(&'a Secret),
}

/// A request, as data, so that it can be sent again by another credential.
pub struct Call {
    method: Method,
    path: String,
    body: Option<Zeroizing<Vec<u8>>>,
}

impl Call {
    /// A GET of a path that begins with a slash.
    pub fn get(path: String) -> Self {
        Self { method: Method::GET, path, body: None }
    }

    /// A DELETE of a path.
    pub fn delete(path: String) -> Self {
        Self { method: Method::DELETE, path, body: None }
    }

    /// A POST with a JSON body.
    ///
    /// # Errors
    /// When the body cannot be written as JSON.
    pub fn post<B: serde::Serialize>(path: String, body: &B) -> Result<Self, serde_json::Error> {
        Ok(Self { method: Method::POST, path, body: Some(serde_json::to_vec(body)?.into()) })
    }

    /// A POST without a body.
    pub fn post_empty(path: String) -> Self {
        Self { method: Method::POST, path, body: Some(Zeroizing::default()) }
    }

    /// The method and the path, as they stand in a request line.
    pub fn target(&self) -> (&Method, &str) {
        (&self.method, &self.path)
    }

    /// The body; empty where there is none.
    pub fn body(&self) -> &[u8] {
        self.body.as_ref().map_or(&[], |body| body.as_slice())
    }
}

/// A connection pool to one server under one trust and, perhaps, one client certificate.
pub struct Client {
    agent: Agent,
    server: ServerUrl,
    /// In seconds since 1970; 0 before the first answer.
    server_time: AtomicI64,
}

impl Client {
    /// A client that believes `roots` and shows `identity` to a server that asks for a certificate.
    pub fn new(server: &ServerUrl, roots: &Roots, identity: Option<&KeyedCertificate>) -> Self {
        Self::by(settings(mutual_tls(roots, identity)).build().new_agent(), server)
    }

    /// As [`Self::new`], but up to `connections` stay open for `idle` between requests, with small buffers.
    pub fn keeping(
        server: &ServerUrl,
        roots: &Roots,
        identity: Option<&KeyedCertificate>,
        connections: usize,
        idle: Duration,
    ) -> Self {
        let agent = settings(mutual_tls(roots, identity))
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .max_idle_age(idle)
            .input_buffer_size(KEPT_BUFFER_BYTES)
            .output_buffer_size(KEPT_BUFFER_BYTES)
            .build()
            .new_agent();
        Self::by(agent, server)
    }

    /// A client that believes anybody. It is for fetching public things that are then checked by their fingerprint.
    pub fn unverified(server: &ServerUrl) -> Self {
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(crypto_provider())
            .root_certs(RootCerts::from(std::iter::empty()))
            .disable_verification(true);
        Self::by(settings(tls.build()).build().new_agent(), server)
    }

    fn by(agent: Agent, server: &ServerUrl) -> Self {
        Self { agent, server: server.clone(), server_time: AtomicI64::new(0) }
    }

    /// Sends a request and reads the JSON of a successful answer.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn send<T: DeserializeOwned>(&self, call: &Call, credential: Credential<'_>) -> Result<T, CallError> {
        let body = self.exchange(call, credential, "application/json")?;
        serde_json::from_slice(&body).map_err(|error| self.not_ours(format!("an answer that does not fit ({error})")))
    }

    /// Sends a request whose answer says nothing beyond that it was done.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn send_for_effect(&self, call: &Call, credential: Credential<'_>) -> Result<(), CallError> {
        self.exchange(call, credential, "*/*").map(drop)
    }

    /// Fetches a public text, such as a PEM file.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn fetch_text(&self, path: &str, accept: &str) -> Result<String, CallError> {
        let body = self.exchange(&Call::get(path.to_owned()), Credential::None, accept)?;
        String::from_utf8(body).map_err(|_| self.not_ours("an answer that is no text".to_owned()))
    }

    /// The time of the server at its last answer, whatever that was; nothing before the first.
    pub fn server_time(&self) -> Option<OffsetDateTime> {
        match self.server_time.load(Ordering::Relaxed) {
            0 => None,
            seconds => OffsetDateTime::from_unix_timestamp(seconds).ok(),
        }
    }

    fn exchange(&self, call: &Call, credential: Credential<'_>, accept: &str) -> Result<Vec<u8>, CallError> {
        let url = self.server.join(&call.path);
        let sent = match &call.body {
            None if call.method == Method::DELETE => {
                with_credential(self.agent.delete(&url), credential).header(header::ACCEPT, accept).call()
            }
            None => with_credential(self.agent.get(&url), credential).header(header::ACCEPT, accept).call(),
            Some(body) if body.is_empty() => {
                with_credential(self.agent.post(&url), credential).header(header::ACCEPT, accept).send_empty()
            }
            Some(body) => with_credential(self.agent.post(&url), credential)
                .header(header::ACCEPT, accept)
                .header(header::CONTENT_TYPE, "application/json")
                .send(body.as_slice()),
        };
        let mut answer = sent.map_err(|error| CallError::from_ureq(&self.server, error))?;
        if let Some(date) = date_of(&answer) {
            self.server_time.store(date.unix_timestamp(), Ordering::Relaxed);
        }
        let body = answer
            .body_mut()
            .with_config()
            .limit(BODY_LIMIT_BYTES)
            .read_to_vec()
            .map_err(|error| CallError::from_ureq(&self.server, error))?;
        if !answer.status().is_success() {
            return Err(self.refusal(&answer, &body));
        }
        if accept == "application/json" && !content_type(&answer).contains("json") {
            return Err(self.not_ours(format!("{} (HTTP {})", kind_of(&answer), answer.status().as_u16())));
        }
        Ok(body)
    }

    fn refusal<B>(&self, answer: &Response<B>, body: &[u8]) -> CallError {
        let status = answer.status();
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => CallError::Refused(Box::new(Problem {
                status: status.as_u16(),
                retry_after_seconds: retry_after_seconds(answer),
                ..problem
            })),
            Err(_) if status.is_redirection() => {
                self.not_ours(format!("a redirection to another place (HTTP {})", status.as_u16()))
            }
            Err(_) => self.not_ours(format!("{} (HTTP {})", kind_of(answer), status.as_u16())),
        }
    }

    fn not_ours(&self, what: String) -> CallError {
        CallError::NotOurServer { server: self.server.clone(), what }
    }
}

fn mutual_tls(roots: &Roots, identity: Option<&KeyedCertificate>) -> TlsConfig {
    TlsConfig::builder()
        .unversioned_rustls_crypto_provider(crypto_provider())
        .root_certs(RootCerts::from(roots.certificates().iter().map(|der| Certificate::from_der(der).to_owned())))
        .client_cert(identity.and_then(client_certificate))
        .build()
}

fn settings(tls: TlsConfig) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .tls_config(tls)
        .https_only(true)
        .http_status_as_error(false)
        // A redirection would carry the credential to a place that nobody configured.
        .max_redirects(0)
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(CALL_TIMEOUT))
        .user_agent(concat!("signalbeam-agent/", env!("CARGO_PKG_VERSION")))
}

fn client_certificate(identity: &KeyedCertificate) -> Option<ClientCert> {
    let chain: Vec<_> = identity.chain().iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    let key = PrivateKey::from_pem(identity.key_pem().expose().as_bytes()).ok()?;
    Some(ClientCert::new_with_certs(&chain, key))
}

fn with_credential<B>(request: ureq::RequestBuilder<B>, credential: Credential<'_>) -> ureq::RequestBuilder<B> {
    match credential {
        Credential::None => request,
        Credential::Bearer(secret) => request.header(header::AUTHORIZATION, format!("Bearer {}", secret.expose())),
        Credential::ApiKey(key) => request.header("X-API-Key", key.expose()),
    }
}

fn content_type<B>(answer: &Response<B>) -> &str {
    answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn kind_of<B>(answer: &Response<B>) -> &'static str {
    if content_type(answer).contains("html") { "a web page" } else { "an unknown kind of answer" }
}

/// The `Date` header (RFC 9110, section 6.6.1).
fn date_of<B>(answer: &Response<B>) -> Option<OffsetDateTime> {
    let value = answer.headers().get(header::DATE)?.to_str().ok()?;
    OffsetDateTime::parse(value, &Rfc2822).ok()
}

/// Seconds to wait, where the answer says so in seconds (a date, the other form, is not used by our server).
fn retry_after_seconds<B>(answer: &Response<B>) -> Option<u64> {
    let busy = matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let value = answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    busy.then(|| value.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_time_is_read_from_its_answer() {
        let with_date = |value: &str| Response::builder().header(header::DATE, value).body(()).unwrap();
        let read = date_of(&with_date("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(read, Some(time::macros::datetime!(1994-11-06 08:49:37 UTC)));
        assert_eq!(date_of(&with_date("yesterday")), None);
    }
}
