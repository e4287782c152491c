//! The header of the PROXY protocol, version 2: how a balancer that does not terminate TLS says whose connection it is.
//!
//! The numbers of sections are those of the protocol's own document, "The PROXY protocol, versions 1 & 2". Version 1, which
//! is text, is not read.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crc::{CRC_32_ISCSI, Crc};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The most bytes of a header. The addresses take 52, what balancers add to them a few hundred.
pub const MAX_HEADER_BYTES: usize = 4_096;

/// The bytes that tell how many follow.
const HEAD_BYTES: usize = 16;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 with the commands LOCAL and PROXY (section 2.2).
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// TCP over IPv4 and over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// The type of the checksum among the extensions (section 2.2.3).
const TYPE_CRC32C: u8 = 0x03;
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Why what came is not taken for a header.
#[derive(Debug, thiserror::Error)]
pub enum ProxyHeaderError {
    /// The peer is not one that may say whose connection it is.
    #[error("the peer is not a trusted proxy")]
    Untrusted,
    /// The connection ended or failed before the header did.
    #[error("the PROXY header did not arrive")]
    Io(#[from] io::Error),
    /// It does not begin as one of version 2 does: TLS at once, or version 1.
    #[error("the connection does not begin with a PROXY header of version 2")]
    Signature,
    /// It says that it is longer than is taken.
    #[error("the PROXY header has more than {MAX_HEADER_BYTES} bytes")]
    TooLarge,
    /// Its command is neither LOCAL nor PROXY.
    #[error("the PROXY header has an unknown command")]
    Command,
    /// It proxies something else than TCP over IPv4 or IPv6, so that the client has no address.
    #[error("the PROXY header is not about TCP over IPv4 or IPv6")]
    Family,
    /// What it holds is longer or shorter than it says.
    #[error("the lengths in the PROXY header contradict each other")]
    Length,
    /// Its checksum is another.
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
}

/// Reads the header from the beginning of a connection, and not a byte more: whose connection it is, or `None` for one of
/// the balancer's own (LOCAL).
///
/// # Errors
/// [`ProxyHeaderError`]; the connection is of no use then.
pub async fn read_proxy_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let mut header = vec![0; HEAD_BYTES];
    stream.read_exact(&mut header).await?;
    header.resize(length(&header)?, 0);
    stream.read_exact(&mut header[HEAD_BYTES..]).await?;
    parse_proxy_header(&header)
}

/// Reads a whole header.
///
/// # Errors
/// [`ProxyHeaderError`]
pub fn parse_proxy_header(header: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    if header.len() != length(header)? {
        return Err(ProxyHeaderError::Length);
    }
    let (head, rest) = header.split_at(HEAD_BYTES);
    let (source, extensions) = match (head[12], head[13]) {
        // Whatever a LOCAL header holds is to be discarded (section 2.2).
        (LOCAL, _) => return Ok(None),
        (PROXY, TCP4) => addresses::<4>(rest)?,
        (PROXY, TCP6) => addresses::<16>(rest)?,
        (PROXY, _) => return Err(ProxyHeaderError::Family),
        _ => return Err(ProxyHeaderError::Command),
    };
    check_extensions(header, header.len() - extensions.len())?;
    Ok(Some(source))
}

/// The length of the whole header that begins so.
fn length(head: &[u8]) -> Result<usize, ProxyHeaderError> {
    if !head.starts_with(SIGNATURE) {
        return Err(ProxyHeaderError::Signature);
    }
    let &[high, low] =
        head.get(14..HEAD_BYTES).and_then(|bytes| bytes.first_chunk()).ok_or(ProxyHeaderError::Length)?;
    let length = HEAD_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length <= MAX_HEADER_BYTES { Ok(length) } else { Err(ProxyHeaderError::TooLarge) }
}

/// The source of two addresses of `N` bytes and two ports, and what follows them.
fn addresses<const N: usize>(rest: &[u8]) -> Result<(SocketAddr, &[u8]), ProxyHeaderError>
where
    IpAddr: From<[u8; N]>,
{
    let split = || {
        let (source, rest) = rest.split_first_chunk::<N>()?;
        let (_destination, rest) = rest.split_first_chunk::<N>()?;
        let (port, rest) = rest.split_first_chunk()?;
        let (_destination_port, rest) = rest.split_first_chunk::<2>()?;
        Some((SocketAddr::from((*source, u16::from_be_bytes(*port))), rest))
    };
    split().ok_or(ProxyHeaderError::Length)
}

/// Walks over types, lengths and values from `at` to the end. Of these only the checksum says something to us.
fn check_extensions(header: &[u8], mut at: usize) -> Result<(), ProxyHeaderError> {
    let mut has_checksum = false;
    while at < header.len() {
        let Some([kind, high, low]) = header[at..].first_chunk() else { return Err(ProxyHeaderError::Length) };
        let value = at + 3;
        let end = value + usize::from(u16::from_be_bytes([*high, *low]));
        let Some(bytes) = header.get(value..end) else { return Err(ProxyHeaderError::Length) };
        if *kind == TYPE_CRC32C {
            let expected = bytes.try_into().map(u32::from_be_bytes).map_err(|_| ProxyHeaderError::Length)?;
            if has_checksum || expected != checksum(&header[..value], &header[end..]) {
                return Err(ProxyHeaderError::Checksum);
            }
            has_checksum = true;
        }
        at = end;
    }
    Ok(())
}

/// That of the whole header, with zeros in its own place.
fn checksum(before: &[u8], after: &[u8]) -> u32 {
    let mut digest = CRC32C.digest();
    digest.update(before);
    digest.update(&[0; 4]);
    digest.update(after);
    digest.finalize()
}

#[cfg(test)]
mod tests;
