//! An HTTPS server in a thread that answers by script and remembers what it was asked.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, ServerConnection, SignatureScheme, StreamOwned};
use serde_json::Value;
use signalbeam_agent::certificate::CertificateInfo;
use signalbeam_agent::transport::crypto_provider;
use time::format_description::well_known::Rfc2822;
use time::{OffsetDateTime, UtcOffset};

/// Longer than anything a test waits for; reached only when the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) route: String,
    pub(crate) authorization: Option<String>,
    pub(crate) api_key: Option<String>,
    /// Serial number of the client certificate of the connection.
    pub(crate) certificate: Option<String>,
    pub(crate) body: Value,
}

/// What happens to one request.
#[derive(Clone)]
pub(crate) struct Reply {
    status: u16,
    content_type: &'static str,
    body: String,
    /// Bytes of the body that are sent before the connection breaks; all of them where absent.
    cut: Option<usize>,
    /// The connection breaks before the first byte.
    lost: bool,
    /// The `Date` header.
    date: Option<OffsetDateTime>,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let content_type = if status < 400 { "application/json" } else { "application/problem+json" };
        Self { status, content_type, body: body.to_string(), cut: None, lost: false, date: None }
    }

    pub(crate) fn text(status: u16, content_type: &'static str, body: &str) -> Self {
        Self { status, content_type, body: body.to_owned(), cut: None, lost: false, date: None }
    }

    pub(crate) fn captive_portal() -> Self {
        Self::text(200, "text/html; charset=utf-8", "<html><body>Please log in to the guest network</body></html>")
    }

    /// The request is processed, but its answer never arrives.
    pub(crate) fn lost(self) -> Self {
        Self { lost: true, ..self }
    }

    /// The server's clock shows this.
    pub(crate) fn dated(self, date: OffsetDateTime) -> Self {
        Self { date: Some(date), ..self }
    }

    pub(crate) fn cut_after(self, bytes: usize) -> Self {
        Self { cut: Some(bytes), ..self }
    }
}

type Answer = Box<dyn Fn(&Seen) -> Reply + Send>;

/// What a server does with requests.
#[derive(Default)]
struct Script {
    routes: HashMap<String, VecDeque<Answer>>,
    otherwise: Option<Answer>,
}

pub(crate) struct FakeServer {
    url: String,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    arrivals: Receiver<String>,
}

impl FakeServer {
    /// Starts with this certificate and key (PEM). The thread ends with the test program.
    pub(crate) fn start(certificate_and_key: (String, String)) -> Self {
        let config = Arc::new(Mutex::new(Arc::new(server_config(certificate_and_key))));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let script: Arc<Mutex<Script>> = Arc::default();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (sender, arrivals) = channel();
        let worker = Worker { config: config.clone(), script: script.clone(), seen: seen.clone(), arrivals: sender };
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(worker.serve(stream))));
        Self { url, config, script, seen, arrivals }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Shows another certificate from now on.
    pub(crate) fn present(&self, certificate_and_key: (String, String)) {
        *self.config.lock().unwrap() = Arc::new(server_config(certificate_and_key));
    }

    /// Answers whatever has no script.
    pub(crate) fn otherwise(&self, answer: impl Fn(&Seen) -> Reply + Send + 'static) {
        self.script.lock().unwrap().otherwise = Some(Box::new(answer));
    }

    /// Appends an answer to a route's script, such as `POST /api/devices`. The last one repeats.
    pub(crate) fn on(&self, route: &str, answer: impl Fn(&Seen) -> Reply + Send + 'static) -> &Self {
        self.script.lock().unwrap().routes.entry(route.to_owned()).or_default().push_back(Box::new(answer));
        self
    }

    /// As [`Self::on`], with a fixed answer.
    pub(crate) fn reply(&self, route: &str, reply: Reply) -> &Self {
        self.on(route, move |_| reply.clone())
    }

    /// Forgets a route's script.
    pub(crate) fn forget(&self, route: &str) -> &Self {
        self.script.lock().unwrap().routes.remove(route);
        self
    }

    /// The requests to a route so far.
    pub(crate) fn seen(&self, route: &str) -> Vec<Seen> {
        self.all_seen().into_iter().filter(|seen| seen.route == route).collect()
    }

    pub(crate) fn all_seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns as soon as a request to the route has come.
    pub(crate) fn wait_for(&self, route: &str) {
        while self.arrivals.recv_timeout(PATIENCE).expect("the request never came") != route {}
    }
}

struct Worker {
    config: Arc<Mutex<Arc<ServerConfig>>>,
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    arrivals: Sender<String>,
}

impl Worker {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let connection = ServerConnection::new(self.config.lock().unwrap().clone()).map_err(io::Error::other)?;
        let mut tls = BufReader::new(StreamOwned::new(connection, stream));
        let seen = read_request(&mut tls)?;
        let reply = self.answer(&seen);
        self.seen.lock().unwrap().push(seen.clone());
        // The test may have ended and dropped the receiver.
        let _ = self.arrivals.send(seen.route);
        if reply.lost {
            return Ok(());
        }
        let body = &reply.body.as_bytes()[..reply.cut.unwrap_or(reply.body.len())];
        let stream = tls.get_mut();
        let head = format!(
            "HTTP/1.1 {} Scripted\r\ncontent-type: {}\r\ncontent-length: {}\r\n{}connection: close\r\n\r\n",
            reply.status,
            reply.content_type,
            reply.body.len(),
            reply.date.map(date_header).unwrap_or_default(),
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn answer(&self, seen: &Seen) -> Reply {
        let mut script = self.script.lock().unwrap();
        let Script { routes, otherwise } = &mut *script;
        match (routes.get_mut(&seen.route), otherwise) {
            (None, Some(answer)) => answer(seen),
            (None, None) => Reply::json(404, &crate::examples::problem(404, "NOT_FOUND")),
            (Some(answers), _) if answers.len() > 1 => answers.pop_front().unwrap()(seen),
            (Some(answers), _) => answers[0](seen),
        }
    }
}

fn server_config((certificate_pem, key_pem): (String, String)) -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_slice(certificate_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
    ServerConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(AnyoneWithTheKey(crypto_provider())))
        .with_single_cert(chain, key)
        .unwrap()
}

fn date_header(date: OffsetDateTime) -> String {
    let text = date.to_offset(UtcOffset::UTC).format(&Rfc2822).unwrap();
    format!("date: {}\r\n", text.replace("+0000", "GMT"))
}

fn read_request(tls: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>) -> io::Result<Seen> {
    let mut line = String::new();
    tls.read_line(&mut line)?;
    let route = line.rsplit_once(' ').ok_or(io::ErrorKind::InvalidData)?.0.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        tls.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    tls.read_exact(&mut body)?;
    let certificate = tls.get_ref().conn.peer_certificates().and_then(<[_]>::first);
    Ok(Seen {
        route,
        authorization: headers.remove("authorization"),
        api_key: headers.remove("x-api-key"),
        certificate: certificate.map(|der| CertificateInfo::read(der).unwrap().serial_number),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

/// Asks for a certificate, takes any whose key the client has, and lets HTTP decide, as the real server does.
#[derive(Debug)]
struct AnyoneWithTheKey(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyoneWithTheKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
