//! A client that sends a request and closes the connection before it has read the answer.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use ureq::http::Uri;

use crate::certificate::KeyedCertificate;
use crate::server_url::ServerUrl;
use crate::transport::{Call, Credential, crypto_provider};
use crate::trust::Roots;

const HTTPS_PORT: u16 = 443;
const PATIENCE: Duration = Duration::from_secs(30);

/// When the client hangs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// As soon as the request is sent: the server may see it or not.
    RequestSent,
    /// When the answer begins to arrive: the request has had its effect.
    AnswerBegins,
}

/// Sends a request and hangs up.
///
/// # Errors
/// When the request could not even be sent.
pub fn send_and_hang_up(
    server: &ServerUrl,
    roots: &Roots,
    identity: Option<&KeyedCertificate>,
    call: &Call,
    credential: Credential<'_>,
    moment: Moment,
) -> io::Result<()> {
    let url: Uri = server.join(call.target().1).parse().map_err(io::Error::other)?;
    let host = url.host().unwrap_or_default();
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_u16().unwrap_or(HTTPS_PORT);
    let address = (name.as_str(), port).to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;

    let server_name = ServerName::try_from(name).map_err(io::Error::other)?;
    let mut tls = ClientConnection::new(Arc::new(config(roots, identity)?), server_name).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut socket)?;
    }
    tls.writer().write_all(&request(&url, call, credential))?;
    while tls.wants_write() {
        tls.write_tls(&mut socket)?;
    }
    match moment {
        Moment::RequestSent => Ok(()),
        Moment::AnswerBegins => wait_for_answer(&mut tls, &mut socket),
    }
}

/// Session tickets and the like come before the answer and are passed over.
fn wait_for_answer(tls: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    loop {
        let is_closed = tls.read_tls(socket)? == 0;
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        if is_closed || state.plaintext_bytes_to_read() > 0 {
            return Ok(());
        }
    }
}

fn config(roots: &Roots, identity: Option<&KeyedCertificate>) -> io::Result<ClientConfig> {
    let mut anchors = RootCertStore::empty();
    for root in roots.certificates() {
        // As elsewhere: of the system's roots those that do not parse are passed over.
        let _unusable = anchors.add(root.clone());
    }
    let config = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(anchors);
    match identity {
        None => Ok(config.with_no_client_auth()),
        Some(identity) => {
            let key =
                PrivateKeyDer::from_pem_slice(identity.key_pem().expose().as_bytes()).map_err(io::Error::other)?;
            config.with_client_auth_cert(identity.chain().to_vec(), key).map_err(io::Error::other)
        }
    }
}

/// HTTP/1.1 (RFC 9112, section 3).
fn request(url: &Uri, call: &Call, credential: Credential<'_>) -> zeroize::Zeroizing<Vec<u8>> {
    let (method, _) = call.target();
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nhost: {authority}\r\ncontent-length: {}\r\n", call.body().len());
    if !call.body().is_empty() {
        head.push_str("content-type: application/json\r\n");
    }
    match credential {
        Credential::None => {}
        Credential::Bearer(secret) => head.extend(["authorization: Bearer ", secret.expose(), "\r\n"]),
        Credential::ApiKey(key) => head.extend(["x-api-key: ", key.expose(), "\r\n"]),
    }
    head.push_str("\r\n");
    let mut bytes = zeroize::Zeroizing::new(head.into_bytes());
    bytes.extend_from_slice(call.body());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_request_is_one_that_a_server_reads() {
        let url: Uri = "https://edge.example:8443/api/devices".parse().unwrap();
        let call = Call::post("/api/devices".to_owned(), &serde_json::json!({"a": 1})).unwrap();
        let key = Secret::new("sb_device_x".to_owned());
        let text = String::from_utf8(request(&url, &call, Credential::ApiKey(&key)).to_vec()).unwrap();
        assert!(
            text.starts_with("POST /api/devices HTTP/1.1\r\nhost: edge.example:8443\r\ncontent-length: 7\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\nx-api-key: sb_device_x\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n{\"a\":1}"), "{text}");
    }
}
