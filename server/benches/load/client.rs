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

/// One connection.
pub(crate) struct Wire {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<Self> {
        Self::over(TcpStream::connect(address).await?, config).await
    }

    /// From an address of this machine's choice: all of 127.0.0.0/8 is its own.
    pub(crate) async fn connect_from(
        from: IpAddr,
        address: SocketAddr,
        config: Arc<ClientConfig>,
    ) -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        Self::over(socket.connect(address).await?, config).await
    }

    async fn over(tcp: TcpStream, config: Arc<ClientConfig>) -> std::io::Result<Self> {
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(config).connect(name, tcp).await?;
        Ok(Self { stream, buffer: Vec::with_capacity(8_192) })
    }

    /// Whether the handshake resumed an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        self.stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    pub(crate) async fn exchange(&mut self, request: &[u8]) -> std::io::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if let Some(answer) = self.answer() {
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn answer(&self) -> Option<Answer> {
        let head_end = self.buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&self.buffer[..head_end]).unwrap();
        let status = head[9..12].parse().unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        let end = head_end + length.unwrap_or(0);
        (self.buffer.len() >= end).then(|| Answer { status, body: self.buffer[head_end..end].to_vec() })
    }
}
