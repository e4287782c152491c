//! Client certificates that a TLS-terminating proxy hands on in a header. They are judged as strictly as those of a
//! handshake; that the client holds the key is the proxy's word.
//!
//! A header that cannot be read is a certificate that cannot be read, and refused as one: taken for absent, it would
//! hide that the proxy and this server do not understand each other.

mod cache;

use std::sync::Arc;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::percent_decode_str;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use signalbeam_domain::Fingerprint;
use signalbeam_pki::fingerprint;

use crate::connection::PresentedCertificate;
use crate::forwarded_list::{elements_from_right, pairs_from_right, unquote};
use crate::http::context::single;
use crate::tls::MAX_CHAIN_BYTES;
use cache::Cache;

/// The header in which a proxy hands on the client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificateHeader {
    /// `X-Forwarded-Client-Cert` as Envoy writes it, with `Cert` or `Chain`.
    XForwardedClientCert,
    /// `Client-Cert` and `Client-Cert-Chain` (RFC 9440).
    ClientCert,
}

/// There is a header, and it hands on nothing that could be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header with the client's certificate cannot be read")]
pub struct Unreadable;

/// A chain, the client's own certificate first.
type Chain = Vec<CertificateDer<'static>>;

impl ClientCertificateHeader {
    /// The chain that the headers hand on, the client's own certificate first; `None` where the proxy says that there is
    /// none, by no header or an empty one.
    ///
    /// # Errors
    /// [`Unreadable`] where there is a header and no chain in it, or one above 16 KiB.
    pub fn read(self, headers: &HeaderMap) -> Result<Option<Chain>, Unreadable> {
        let chain = match self {
            Self::XForwardedClientCert => x_forwarded_client_cert(headers)?,
            Self::ClientCert => client_cert(headers)?,
        };
        let is_small =
            |chain: &Chain| chain.iter().map(|certificate| certificate.len()).sum::<usize>() <= MAX_CHAIN_BYTES;
        if chain.as_ref().is_none_or(is_small) { Ok(chain) } else { Err(Unreadable) }
    }
}

/// Reads the header, and remembers what is known of certificates: a proxy carries many clients on one connection.
#[derive(Debug)]
pub(crate) struct ForwardedCertificates {
    header: ClientCertificateHeader,
    cache: Cache,
}

impl ForwardedCertificates {
    pub(crate) fn new(header: ClientCertificateHeader) -> Self {
        Self { header, cache: Cache::default() }
    }

    /// The certificate of the client that a trusted proxy's request is from.
    pub(crate) fn presented(&self, headers: &HeaderMap) -> Option<Arc<PresentedCertificate>> {
        match self.header.read(headers) {
            Ok(chain) => chain.map(|chain| self.cache.known_or_new(chain)),
            Err(Unreadable) => Some(Arc::new(PresentedCertificate::new(Vec::new()))),
        }
    }
}

/// The right-most element: what the proxy next to us says of its client. Those left of it are about proxies and clients
/// further away, or invented by them.
fn x_forwarded_client_cert(headers: &HeaderMap) -> Result<Option<Chain>, Unreadable> {
    const NAME: &str = "x-forwarded-client-cert";
    let Some(element) = elements_from_right(headers, NAME).next().filter(|element| !element.is_empty()) else {
        return Ok(None);
    };
    let (mut hash, mut cert, mut chain) = (None, None, None);
    for pair in pairs_from_right(element) {
        let (name, value) = pair.ok_or(Unreadable)?;
        let value = unquote(value).ok_or(Unreadable)?;
        let slot = match () {
            () if name.eq_ignore_ascii_case("hash") => &mut hash,
            () if name.eq_ignore_ascii_case("cert") => &mut cert,
            () if name.eq_ignore_ascii_case("chain") => &mut chain,
            () => continue,
        };
        if slot.replace(value).is_some() {
            return Err(Unreadable);
        }
    }
    let names_none = cert.is_some() || chain.is_some();
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (hash, cert, chain) = (given(hash), given(cert), given(chain));
    let found = match (cert, chain) {
        // What proxies write whose template is filled in without a certificate. A hash alone is one that cannot be judged.
        (None, None) if names_none && hash.is_none() => return Ok(None),
        (None, None) => return Err(Unreadable),
        (Some(cert), None) => one(certificates(&cert)?)?,
        (None, Some(chain)) => certificates(&chain)?,
        (Some(cert), Some(chain)) => {
            let (cert, chain) = (one(certificates(&cert)?)?, certificates(&chain)?);
            if chain.first() == cert.first() { chain } else { return Err(Unreadable) }
        }
    };
    let leaf = found.first().ok_or(Unreadable)?;
    match hash.map(|hash| Fingerprint::parse(&hash)) {
        Some(Ok(hash)) if hash != fingerprint(leaf) => Err(Unreadable),
        Some(Err(_)) => Err(Unreadable),
        _ => Ok(Some(found)),
    }
}

fn one(found: Chain) -> Result<Chain, Unreadable> {
    if found.len() == 1 { Ok(found) } else { Err(Unreadable) }
}

/// URL-encoded PEM with nothing but certificates in it.
fn certificates(encoded: &str) -> Result<Chain, Unreadable> {
    let pem: Vec<u8> = percent_decode_str(encoded).collect();
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(&pem);
    let certificates = sections.map(|section| match section {
        Ok((SectionKind::Certificate, der)) => Ok(CertificateDer::from(der)),
        _ => Err(Unreadable),
    });
    let found = certificates.collect::<Result<Chain, _>>()?;
    if found.is_empty() { Err(Unreadable) } else { Ok(found) }
}

/// One byte sequence, and the list of its issuers, nearest first (RFC 9440, section 2).
fn client_cert(headers: &HeaderMap) -> Result<Option<Chain>, Unreadable> {
    const CHAIN: &str = "client-cert-chain";
    let chain = headers.get_all(CHAIN).iter().map(|line| line.to_str().map(str::trim).map_err(|_| Unreadable));
    let chain = chain.collect::<Result<Vec<_>, _>>()?;
    // A structured list may stand on several lines, and an empty one is as good as none (RFC 9651, section 3.1).
    let chain: Vec<&str> = chain.into_iter().filter(|line| !line.is_empty()).collect();
    let has_header = headers.contains_key("client-cert");
    let leaf = if has_header { single(headers, "client-cert").ok_or(Unreadable)?.trim() } else { "" };
    if leaf.is_empty() {
        return if chain.is_empty() { Ok(None) } else { Err(Unreadable) };
    }
    let members = chain.into_iter().flat_map(|line| line.split(',')).map(str::trim);
    std::iter::once(leaf).chain(members).map(byte_sequence).collect::<Result<Chain, _>>().map(Some)
}

/// Base64 between colons (RFC 9651, section 3.3.5); padding and its bits are not insisted on (section 4.2.7).
fn byte_sequence(text: &str) -> Result<CertificateDer<'static>, Unreadable> {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, CONFIG);
    let inner = text.strip_prefix(':').and_then(|rest| rest.strip_suffix(':')).ok_or(Unreadable)?;
    let der = BASE64.decode(inner).map_err(|_| Unreadable)?;
    if der.is_empty() { Err(Unreadable) } else { Ok(CertificateDer::from(der)) }
}

#[cfg(test)]
mod tests;
