//! A stand-in for an Azure Key Vault and the services that hand out tokens for it, over TLS on this machine. Its keys are
//! OpenSSL's. It keeps to the vault's interface 7.6 and says no to whatever a vault would say no to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey;

use super::SECRET;
use crate::fixture::Forge;

/// What managed identities show to their token service.
pub(super) const IDENTITY_HEADER: &str = "identity-header";
/// What a pod shows for its token.
pub(super) const ASSERTION: &str = "pods-assertion";
pub(super) const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub(super) const CLIENT: &str = "66666666-7777-8888-9999-000000000000";
const RESOURCE: &str = "https://vault.azure.net";

/// What the stand-in does with requests to the vault; the processes that use it say so in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// 500.
    Failing,
    /// No answer.
    Hanging,
    /// 429 for this many requests.
    Throttling(u32),
    /// 403.
    Forbidding,
    /// A signature that is none.
    Lying,
    /// Further pages are elsewhere: at this port of the machine.
    Luring(u16),
}

impl Mood {
    pub(super) fn set(self, folder: &Path) {
        let text = match self {
            Self::Well => "well".to_owned(),
            Self::Failing => "failing".to_owned(),
            Self::Hanging => "hanging".to_owned(),
            Self::Throttling(times) => format!("throttling {times}"),
            Self::Forbidding => "forbidding".to_owned(),
            Self::Lying => "lying".to_owned(),
            Self::Luring(port) => format!("luring {port}"),
        };
        let draft = folder.join("mood.new");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, folder.join("mood")).unwrap();
    }

    fn read(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join("mood")).unwrap_or_default();
        match text.split_once(' ') {
            Some(("throttling", times)) => Self::Throttling(times.parse().unwrap()),
            Some(("luring", port)) => Self::Luring(port.parse().unwrap()),
            _ => match text.as_str() {
                "failing" => Self::Failing,
                "hanging" => Self::Hanging,
                "forbidding" => Self::Forbidding,
                "lying" => Self::Lying,
                _ => Self::Well,
            },
        }
    }
}

/// The requests that reached the vault, as `METHOD path status`.
pub(super) fn seen(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join("seen")).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A running stand-in.
pub(super) struct StandIn {
    pub(super) address: String,
    _runtime: tokio::runtime::Runtime,
}

struct Vault {
    folder: PathBuf,
    address: String,
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    keys: HashMap<String, Vec<Version>>,
    secrets: HashMap<String, Vec<Version>>,
    made: u32,
}

#[derive(Clone)]
struct Version {
    id: String,
    created: i64,
    /// The JSON web key, or the secret.
    body: Value,
    /// A key's file.
    file: PathBuf,
}

impl Version {
    fn attributes(&self) -> Value {
        json!({"enabled": true, "created": self.created, "updated": self.created, "recoveryLevel": "Recoverable"})
    }
}

type Answer = Response<Full<Bytes>>;

fn answer(status: StatusCode, body: &Value) -> Answer {
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    Response::builder().status(status).header("content-type", "application/json").body(Full::new(body)).unwrap()
}

fn refusal(status: StatusCode, code: &str) -> Answer {
    answer(status, &json!({"error": {"code": code, "message": format!("the stand-in says {code}")}}))
}

impl StandIn {
    /// Starts one; its root goes to `root.der` in the folder.
    pub(super) fn start(folder: &Path) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let acceptor = tls(folder);
        let vault = Arc::new(Vault { folder: folder.to_owned(), address: address.clone(), contents: Mutex::default() });
        runtime.spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, vault) = (acceptor.clone(), Arc::clone(&vault));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let service = service_fn(|request| {
                        let vault = Arc::clone(&vault);
                        async move { Ok::<_, Infallible>(vault.serve(request).await) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _closed = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, _runtime: runtime }
    }
}

fn tls(folder: &Path) -> TlsAcceptor {
    let root = Forge::root();
    fs::write(folder.join("root.der"), &root.certificate).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &root.issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

impl Vault {
    async fn serve(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match parts[..] {
            ["msi", "token"] => return managed_token(query, header("x-identity-header")),
            [_, "oauth2", "v2.0", "token"] => return workload_token(parts[0], &body),
            _ => {}
        }
        let answer = self.judge(&head.method, &parts, query, header(AUTHORIZATION.as_str()), &body).await;
        let mut log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("seen")).unwrap();
        writeln!(log, "{} {path} {}", head.method, answer.status().as_u16()).unwrap();
        answer
    }

    async fn judge(&self, method: &Method, parts: &[&str], query: &str, authorization: &str, body: &[u8]) -> Answer {
        if authorization.is_empty() {
            assert!(body.is_empty(), "a body must not be shown to a vault that has not said who it is");
            let mut challenge = refusal(StatusCode::UNAUTHORIZED, "Unauthorized");
            let text = format!("Bearer authorization=\"{}/{TENANT}\", resource=\"{RESOURCE}\"", self.address);
            challenge.headers_mut().insert(WWW_AUTHENTICATE, text.parse().unwrap());
            return challenge;
        }
        if authorization != format!("Bearer {SECRET}") {
            return refusal(StatusCode::FORBIDDEN, "Forbidden");
        }
        if !query.split('&').any(|pair| pair == "api-version=7.6") {
            return refusal(StatusCode::BAD_REQUEST, "BadApiVersion");
        }
        let mood = Mood::read(&self.folder);
        match mood {
            Mood::Failing => return refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
            Mood::Forbidding => return refusal(StatusCode::FORBIDDEN, "ForbiddenByRbac"),
            Mood::Hanging => tokio::time::sleep(Duration::from_hours(1)).await,
            Mood::Throttling(times) if times > 0 => {
                Mood::Throttling(times - 1).set(&self.folder);
                let mut throttled = refusal(StatusCode::TOO_MANY_REQUESTS, "Throttled");
                throttled.headers_mut().insert(RETRY_AFTER, "1".parse().unwrap());
                return throttled;
            }
            Mood::Luring(port) if parts.last() == Some(&"versions") => {
                let elsewhere = format!("https://localhost:{port}/keys?api-version=7.6");
                return answer(StatusCode::OK, &json!({"value": [], "nextLink": elsewhere}));
            }
            Mood::Well | Mood::Throttling(_) | Mood::Lying | Mood::Luring(_) => {}
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        match (method.as_str(), parts) {
            ("POST", ["keys", name, "create"]) => self.create_key(name, &body),
            ("GET", [kind, name, "versions"]) => self.versions(kind, name, query),
            ("GET", ["keys", name, id]) => self.shown("keys", name, id),
            ("POST", ["keys", name, id, "sign"]) => self.sign(name, id, &body, mood),
            ("PUT", ["secrets", name]) => self.set_secret(name, &body),
            ("GET", ["secrets", name, id]) => self.shown("secrets", name, id),
            _ => refusal(StatusCode::NOT_FOUND, "NoSuchOperation"),
        }
    }

    fn create_key(&self, name: &str, body: &Value) -> Answer {
        assert_eq!(body["key_ops"], json!(["sign", "verify"]), "the key must do nothing else");
        let file = self.folder.join(format!("{name}-{}.pem", self.next()));
        let kind = match (body["kty"].as_str(), body["key_size"].as_u64(), body["crv"].as_str()) {
            (Some("RSA"), Some(bits), None) => format!("rsa_keygen_bits:{bits}"),
            (Some("EC"), None, Some(curve)) => format!("ec_paramgen_curve:{curve}"),
            _ => return refusal(StatusCode::BAD_REQUEST, "BadParameter"),
        };
        openssl(&["genpkey", "-algorithm", body["kty"].as_str().unwrap(), "-pkeyopt", &kind, "-out", text(&file)], &[]);
        let spki = openssl(&["pkey", "-in", text(&file), "-pubout", "-outform", "DER"], &[]);
        let version = self.add("keys", name, file, |id| {
            let mut key = web_key(&spki);
            key["kid"] = json!(id);
            key["key_ops"] = body["key_ops"].clone();
            json!({"key": key})
        });
        self.shown("keys", name, &version)
    }

    fn set_secret(&self, name: &str, body: &Value) -> Answer {
        assert_eq!(body["contentType"], "application/x-pem-file");
        let value = body["value"].clone();
        let version = self.add("secrets", name, PathBuf::new(), |id| json!({"id": id, "value": value}));
        self.shown("secrets", name, &version)
    }

    fn next(&self) -> u32 {
        let mut contents = self.contents.lock().unwrap();
        contents.made += 1;
        contents.made
    }

    /// Adds a version; later ones sort before earlier ones by their id, as random ones may.
    fn add(&self, kind: &str, name: &str, file: PathBuf, body: impl FnOnce(&str) -> Value) -> String {
        let id = format!("{:032x}", u32::MAX - self.next());
        let body = body(&format!("{}/{kind}/{name}/{id}", self.address));
        #[expect(clippy::disallowed_methods, reason = "the vault's own clock")]
        let created = OffsetDateTime::now_utc().unix_timestamp();
        let mut contents = self.contents.lock().unwrap();
        contents.of(kind).entry(name.to_owned()).or_default().push(Version { id: id.clone(), created, body, file });
        id
    }

    fn found(&self, kind: &str, name: &str, id: &str) -> Option<Version> {
        let mut contents = self.contents.lock().unwrap();
        contents.of(kind).get(name)?.iter().find(|version| version.id == id).cloned()
    }

    fn shown(&self, kind: &str, name: &str, id: &str) -> Answer {
        let Some(version) = self.found(kind, name, id) else { return refusal(StatusCode::NOT_FOUND, "NotFound") };
        let mut shown = version.body.clone();
        shown["attributes"] = version.attributes();
        answer(StatusCode::OK, &shown)
    }

    /// One version to a page, so that whoever looks has to turn pages.
    fn versions(&self, kind: &str, name: &str, query: &str) -> Answer {
        let query = query.replace("%24", "$");
        let skip = query.split('&').find_map(|pair| pair.strip_prefix("$skiptoken=")).unwrap_or("0");
        let skip: usize = skip.parse().unwrap();
        let mut contents = self.contents.lock().unwrap();
        let all = contents.of(kind).get(name).cloned().unwrap_or_default();
        let field = if kind == "keys" { "kid" } else { "id" };
        let id = |version: &Version| format!("{}/{kind}/{name}/{}", self.address, version.id);
        let page = all.iter().skip(skip).take(1);
        let page: Vec<_> = page.map(|one| json!({field: id(one), "attributes": one.attributes()})).collect();
        let more = (skip + 1 < all.len())
            .then(|| format!("{}/{kind}/{name}/versions?api-version=7.6&$skiptoken={}", self.address, skip + 1));
        answer(StatusCode::OK, &json!({"value": page, "nextLink": more}))
    }

    fn sign(&self, name: &str, id: &str, body: &Value, mood: Mood) -> Answer {
        let Some(version) = self.found("keys", name, id) else { return refusal(StatusCode::NOT_FOUND, "KeyNotFound") };
        let digest = URL_SAFE_NO_PAD.decode(body["value"].as_str().unwrap()).unwrap();
        let key = &version.body["key"];
        let (hash, octets) = match (body["alg"].as_str().unwrap(), key["kty"].as_str().unwrap(), key["crv"].as_str()) {
            ("RS256", "RSA", None) | ("ES256", "EC", Some("P-256")) => ("digest:sha256", 32),
            ("ES384", "EC", Some("P-384")) => ("digest:sha384", 48),
            _ => return refusal(StatusCode::BAD_REQUEST, "BadParameter"),
        };
        if digest.len() != octets {
            return refusal(StatusCode::BAD_REQUEST, "BadParameter");
        }
        let signature = openssl(&["pkeyutl", "-sign", "-inkey", text(&version.file), "-pkeyopt", hash], &digest);
        let signature = if key["kty"] == "EC" { raw(&signature, octets) } else { signature };
        let signature = if mood == Mood::Lying { vec![7; 5] } else { signature };
        answer(StatusCode::OK, &json!({"kid": key["kid"], "value": URL_SAFE_NO_PAD.encode(signature)}))
    }
}

impl Contents {
    fn of(&mut self, kind: &str) -> &mut HashMap<String, Vec<Version>> {
        if kind == "keys" { &mut self.keys } else { &mut self.secrets }
    }
}

fn managed_token(query: &str, header: &str) -> Answer {
    let has = |pair: &str| query.split('&').any(|found| found == pair);
    let is_right = has("api-version=2019-08-01") && has("resource=https%3A%2F%2Fvault.azure.net");
    if header != IDENTITY_HEADER || !is_right {
        return refusal(StatusCode::BAD_REQUEST, "invalid_request");
    }
    let token =
        json!({"access_token": SECRET, "expires_on": "4102444800", "resource": RESOURCE, "token_type": "Bearer"});
    answer(StatusCode::OK, &token)
}

fn workload_token(tenant: &str, body: &[u8]) -> Answer {
    let form = String::from_utf8_lossy(body).into_owned();
    let has = |pair: &str| form.split('&').any(|found| found == pair);
    let is_right = has("grant_type=client_credentials")
        && has(&format!("client_id={CLIENT}"))
        && has(&format!("client_assertion={ASSERTION}"))
        && has("client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer")
        && has("scope=https%3A%2F%2Fvault.azure.net%2F.default");
    if tenant != TENANT || !is_right {
        return answer(StatusCode::BAD_REQUEST, &json!({"error": "invalid_request", "error_description": form}));
    }
    answer(StatusCode::OK, &json!({"access_token": SECRET, "expires_in": 3600, "token_type": "Bearer"}))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn web_key(spki: &[u8]) -> Value {
    let (_, spki) = SubjectPublicKeyInfo::from_der(spki).unwrap();
    let encode = |octets: &[u8]| json!(URL_SAFE_NO_PAD.encode(octets));
    match spki.parsed().unwrap() {
        PublicKey::RSA(key) => {
            let modulus = key.modulus.strip_prefix(&[0]).unwrap_or(key.modulus);
            json!({"kty": "RSA", "n": encode(modulus), "e": encode(key.exponent)})
        }
        PublicKey::EC(point) => {
            let coordinates = &point.data()[1..];
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            let curve = if x.len() == 32 { "P-256" } else { "P-384" };
            json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
        }
        _ => panic!("no such key is made"),
    }
}

/// OpenSSL's DER signature as the two numbers that a vault answers with.
fn raw(der: &[u8], octets: usize) -> Vec<u8> {
    let mut numbers = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        numbers.extend(vec![0; octets - number.len()]);
        numbers.extend(number);
        rest = &rest[2 + length..];
    }
    numbers
}
