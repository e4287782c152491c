//! How the vault and the token services are reached: rustls with ring, no proxy, no redirect, and a bound on everything.
//! What opens the vault is sent to the vault alone: its answers name further pages by whole addresses, which the SDK would
//! follow anywhere, token and all.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::{AUTHORIZATION, HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request, Url};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

/// How long one request may take, from the connection to the last octet.
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BODY_OCTETS: usize = 1024 * 1024;

/// Connections that are kept open between requests.
#[derive(Debug)]
pub(super) struct HttpsTransport {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    vault: Url,
}

impl HttpsTransport {
    /// For a vault at this address. Trusts the given authorities, or the system's where none is given.
    pub(super) fn new(vault: &Url, roots: &[CertificateDer<'static>]) -> Result<Self, rustls::Error> {
        let mut trusted = RootCertStore::empty();
        if roots.is_empty() {
            // Some systems have a few that cannot be read; those that can are enough.
            trusted.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        } else {
            roots.iter().try_for_each(|root| trusted.add(root.clone()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trusted)
            .with_no_client_auth();
        // Managed identities' token services speak plain HTTP on the machine itself.
        let connector =
            hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), vault: vault.clone() })
    }

    async fn send(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        if request.headers().get_optional_str(&AUTHORIZATION).is_some() && request.url().origin() != self.vault.origin()
        {
            let refused = format!("the vault sent us on to another host, {}", request.url().authority());
            return Err(Error::with_message(ErrorKind::Other, refused));
        }
        let Body::Bytes(body) = request.body().clone() else {
            return Err(Error::with_message(ErrorKind::Other, "streamed bodies are not sent"));
        };
        let mut outgoing = hyper::Request::builder().method(request.method().as_str()).uri(request.url().as_str());
        for (name, value) in request.headers().iter() {
            outgoing = outgoing.header(name.as_str(), value.as_str());
        }
        let other = |error| Error::with_error(ErrorKind::Other, error, "the request cannot be made");
        let outgoing = outgoing.body(Full::new(body)).map_err(other)?;
        let answer = self.client.request(outgoing).await.map_err(|error| {
            // Its own text does not say why.
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Error::with_error(ErrorKind::Io, error, format!("the connection failed: {cause}"))
        })?;
        let status = answer.status().as_u16().into();
        let headers = headers(answer.headers());
        let body = Limited::new(answer.into_body(), MAX_BODY_OCTETS).collect().await;
        let body =
            body.map_err(|error| Error::with_error(ErrorKind::Io, error, "the answer broke off or is too large"))?;
        Ok(AsyncRawResponse::from_bytes(status, headers, body.to_bytes()))
    }
}

#[async_trait]
impl HttpClient for HttpsTransport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let slow = |_| Error::with_message(ErrorKind::Io, format!("no answer within {} s", TIMEOUT.as_secs()));
        tokio::time::timeout(TIMEOUT, self.send(request)).await.map_err(slow)?
    }
}

fn headers(received: &hyper::HeaderMap) -> Headers {
    let pairs = received.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?.to_owned();
        Some((HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value)))
    });
    pairs.collect::<std::collections::HashMap<_, _>>().into()
}
