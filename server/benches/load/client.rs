//! A client that costs little: it writes prepared bytes and reads until the answer is whole.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Who a client is: nobody, or a device with its certificate.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// A client configuration that trusts the one authority.
pub(crate) fn config(root: &CertificateDer<'static>, identity: Option<&Identity>, resumes: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    if !resumes {
        config.resumption = rustls::client::Resumption::disabled();
    }
    Arc::new(config)
}

/// Where a client connects, and how: `None` for plain HTTP.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// One connection.
pub(crate) struct Wire {
    stream: Stream,
    buffer: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// An answer, head and body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    octets: Vec<u8>,
    head_end: usize,
}

impl Answer {
    pub(crate) fn body(&self) -> &[u8] {
        &self.octets[self.head_end..]
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(std::str::from_utf8(&self.octets[..self.head_end]).unwrap(), name)
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut pairs = head.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

impl Wire {
    pub(crate) async fn connect(target: &Target) -> std::io::Result<Self> {
        Self::over(TcpStream::connect(target.address).await?, target).await
    }

    /// From an address of this machine's choice: all of 127.0.0.0/8 is its own.
    pub(crate) async fn connect_from(from: IpAddr, target: &Target) -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        Self::over(socket.connect(target.address).await?, target).await
    }

    async fn over(tcp: TcpStream, target: &Target) -> std::io::Result<Self> {
        tcp.set_nodelay(true)?;
        let stream = match &target.tls {
            None => Stream::Plain(tcp),
            Some(tls) => {
                let name = ServerName::try_from("localhost").unwrap();
                Stream::Tls(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?))
            }
        };
        Ok(Self { stream, buffer: Vec::with_capacity(8_192) })
    }

    /// Whether the handshake resumed an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        }
    }

    pub(crate) async fn exchange(&mut self, request: &[u8]) -> std::io::Result<Answer> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(request).await?,
            Stream::Tls(stream) => stream.write_all(request).await?,
        }
        self.buffer.clear();
        loop {
            if let Some(answer) = self.answer() {
                return Ok(answer);
            }
            let read = match &mut self.stream {
                Stream::Plain(stream) => stream.read_buf(&mut self.buffer).await?,
                Stream::Tls(stream) => stream.read_buf(&mut self.buffer).await?,
            };
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn answer(&self) -> Option<Answer> {
        let head_end = self.buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&self.buffer[..head_end]).unwrap();
        let status = head[9..12].parse().unwrap();
        let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
        let end = head_end + length;
        (self.buffer.len() >= end).then(|| Answer { status, octets: self.buffer[..end].to_vec(), head_end })
    }
}
