//! One request, put together step by step, and what was answered.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde_json::Value;
use signalbeam_authn::{Connection, ErrorCode, Role};
use signalbeam_domain::Position;
use tower::ServiceExt as _;

use super::World;
use super::fleet::{DeviceCertificate, TestDevice};

/// A request that is being put together.
#[derive(Clone)]
pub(crate) struct Call<'a> {
    world: &'a World,
    method: &'static str,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
    connection: Arc<Connection>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(world: &'a World, method: &'static str, path: impl Into<String>) -> Self {
        let connection = Arc::new(Connection::plain(peer()));
        Self { world, method, path: path.into(), headers: vec![], body: vec![], connection }
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers.push((name, HeaderValue::from_bytes(value.as_ref()).unwrap()));
        self
    }

    /// By an admin of every tenant.
    pub(crate) fn admin(self, role: Role) -> Self {
        let token = self.world.admin_token(role, None);
        self.bearer(&token)
    }

    /// By an admin of one tenant.
    pub(crate) fn admin_of(self, role: Role, tenant_id: &str) -> Self {
        let token = self.world.admin_token(role, Some(tenant_id));
        self.bearer(&token)
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn api_key(self, key: &str) -> Self {
        self.header("x-api-key", key)
    }

    /// By a device with its API key.
    pub(crate) fn device(self, device: &TestDevice) -> Self {
        self.api_key(&device.api_key)
    }

    /// On a connection with this client certificate.
    pub(crate) fn certificate(self, certificate: &DeviceCertificate) -> Self {
        self.chain(vec![certificate.der.clone()])
    }

    /// On a connection with this chain, DER.
    pub(crate) fn chain(self, chain: Vec<Vec<u8>>) -> Self {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        self.on(&Arc::new(Connection::with_certificates(peer(), chain)))
    }

    /// On a connection that lives longer than one request.
    pub(crate) fn on(mut self, connection: &Arc<Connection>) -> Self {
        self.connection = Arc::clone(connection);
        self
    }

    /// By HTTP basic authentication.
    pub(crate) fn basic(self, user: &str, password: &str) -> Self {
        self.header("authorization", format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }

    pub(crate) fn idempotency_key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").raw(serde_json::to_vec(body).unwrap())
    }

    pub(crate) fn raw(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let mut request = Request::builder().method(self.method).uri(&self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let mut request = request.body(Body::from(self.body)).unwrap();
        request.extensions_mut().insert(self.connection);
        let response = self.world.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let kind = parts.headers.get("content-type").map_or("", |kind| kind.to_str().unwrap());
        let body = match &bytes {
            nothing if nothing.is_empty() => Value::Null,
            text if !kind.ends_with("json") => Value::String(String::from_utf8(text.to_vec()).unwrap()),
            json => serde_json::from_slice(json).unwrap(),
        };
        let route = format!("{} {}", self.method, self.path);
        Answer { route, status: parts.status, headers: parts.headers, body }
    }
}

fn peer() -> SocketAddr {
    "198.51.100.7:4711".parse().unwrap()
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    route: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The body, where the status is the expected one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}: {}", self.route, self.body);
        self.body
    }

    /// The body of a problem with this code, after everything has been checked that all problems have in common.
    #[track_caller]
    pub(crate) fn problem(self, code: ErrorCode) -> Value {
        let Self { route, status, headers, body } = self;
        assert_eq!(body["code"], code.as_str(), "{route}: {body}");
        assert_eq!(status, code.status(), "{route}: {body}");
        assert_eq!(body["status"], status.as_u16(), "{route}");
        assert_eq!(body["title"], code.title(), "{route}");
        assert!(body["type"].as_str().unwrap().ends_with(code.as_str()), "{route}");
        assert!(!body["detail"].as_str().unwrap().is_empty(), "{route}");
        assert_eq!(body["correlationId"], headers["x-correlation-id"].to_str().unwrap(), "{route}");
        assert_eq!(headers["content-type"], "application/problem+json", "{route}");
        assert_eq!(headers.contains_key("www-authenticate"), status == StatusCode::UNAUTHORIZED, "{route}");
        assert!(!headers.contains_key("x-event-position"), "{route}");
        body
    }

    /// The pointers of a malformed request's problem.
    #[track_caller]
    pub(crate) fn pointers(self) -> Vec<String> {
        let body = self.problem(ErrorCode::InvalidRequest);
        let errors = body["errors"].as_array().unwrap();
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn position(&self) -> Option<Position> {
        let header = self.headers.get("x-event-position")?;
        Some(Position(header.to_str().unwrap().parse().unwrap()))
    }
}
