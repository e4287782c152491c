//! An `OCSPRequest` (RFC 6960, section 4.1.1), read strictly and within bounds.

use rsa::pkcs8::der::{Tag, TagNumber};
use signalbeam_domain::SerialNumber;

use super::NONCE;
use super::der::{Fields, context};
use super::issuer::HashAlgorithm;

/// Extensions that may be critical, since a plain answer satisfies them: acceptable response types (4.4.3), the service
/// locator (4.4.6) and preferred signature algorithms (4.4.7).
const HARMLESS: [&[u8]; 3] = [
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x04],
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x07],
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x08],
];
/// How many extensions one list may have.
const MAX_EXTENSIONS: usize = 8;

/// Which certificates somebody asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspRequest<'a> {
    /// 1 to [`OcspRequest::MAX_CERTIFICATES`], in the order of the request.
    pub certificates: Vec<CertId<'a>>,
    /// What the answer is to repeat, so that it cannot be an old one: 1 to 128 octets (RFC 9654, section 2.1).
    pub nonce: Option<&'a [u8]>,
}

/// A certificate, named by its issuer's hashes and its serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertId<'a> {
    /// The whole `CertID`, which the answer repeats octet for octet.
    pub der: &'a [u8],
    /// `None` for an algorithm that is not supported here.
    pub hash_algorithm: Option<HashAlgorithm>,
    /// The hash of the issuer's name.
    pub issuer_name_hash: &'a [u8],
    /// The hash of the issuer's key.
    pub issuer_key_hash: &'a [u8],
    /// The serial number; `None` for one that no certificate may have (RFC 5280, section 4.1.2.2).
    pub serial_number: Option<SerialNumber>,
}

/// The octets are no request that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no OCSP request that can be answered")]
pub struct MalformedRequest;

impl<'a> OcspRequest<'a> {
    /// The most octets of a request.
    pub const MAX_OCTETS: usize = 8_192;
    /// The most certificates that one request may ask about.
    pub const MAX_CERTIFICATES: usize = 16;
    /// The most octets of a nonce (RFC 9654, section 2.1).
    pub const MAX_NONCE_OCTETS: usize = 128;

    /// Reads a request. A signature on it must have the right form and is not looked at any further: no answer depends on
    /// who asks (RFC 6960, section 4.1.2).
    ///
    /// # Errors
    /// [`MalformedRequest`] where it is anything else, exceeds a bound, has an unknown critical extension, or a nonce of a
    /// length that RFC 9654 forbids.
    pub fn parse(der: &'a [u8]) -> Result<Self, MalformedRequest> {
        if der.len() > Self::MAX_OCTETS {
            return Err(MalformedRequest);
        }
        Self::read(der)
    }

    fn read(der: &'a [u8]) -> Result<Self, MalformedRequest> {
        let mut request = Fields::within(Tag::Sequence, der)?;
        let mut to_be_signed = Fields::of(request.required(Tag::Sequence)?)?;
        if let Some(signature) = request.optional(context(TagNumber::N0))? {
            check_signature(signature)?;
        }
        request.end()?;
        if let Some(version) = to_be_signed.optional(context(TagNumber::N0))? {
            // Only v1 exists; whoever spells the default out is understood.
            let mut version = Fields::of(version)?;
            if version.required(Tag::Integer)? != [0] {
                return Err(MalformedRequest);
            }
            version.end()?;
        }
        // The requestor's name is its own matter.
        to_be_signed.optional(context(TagNumber::N1))?;
        let certificates = read_list(to_be_signed.required(Tag::Sequence)?)?;
        let nonce = match to_be_signed.optional(context(TagNumber::N2))? {
            Some(extensions) => read_extensions(extensions)?,
            None => None,
        };
        to_be_signed.end()?;
        Ok(Self { certificates, nonce })
    }
}

/// `Signature`: algorithm, bits, and perhaps certificates.
fn check_signature(contents: &[u8]) -> Result<(), MalformedRequest> {
    let mut signature = Fields::within(Tag::Sequence, contents)?;
    signature.required(Tag::Sequence)?;
    signature.required(Tag::BitString)?;
    signature.optional(context(TagNumber::N0))?;
    signature.end()
}

fn read_list(contents: &[u8]) -> Result<Vec<CertId<'_>>, MalformedRequest> {
    let mut list = Fields::of(contents)?;
    let mut certificates = Vec::with_capacity(1);
    while !list.is_at_end() {
        if certificates.len() == OcspRequest::MAX_CERTIFICATES {
            return Err(MalformedRequest);
        }
        let mut single = Fields::of(list.required(Tag::Sequence)?)?;
        certificates.push(CertId::read(single.whole(Tag::Sequence)?)?);
        if let Some(extensions) = single.optional(context(TagNumber::N0))? {
            read_extensions(extensions)?;
        }
        single.end()?;
    }
    if certificates.is_empty() { Err(MalformedRequest) } else { Ok(certificates) }
}

/// Looks through a list of extensions; answers the nonce among them.
fn read_extensions(contents: &[u8]) -> Result<Option<&[u8]>, MalformedRequest> {
    let mut list = Fields::within(Tag::Sequence, contents)?;
    let mut seen: Vec<&[u8]> = Vec::new();
    let mut nonce = None;
    while !list.is_at_end() {
        let mut extension = Fields::of(list.required(Tag::Sequence)?)?;
        let oid = extension.required(Tag::ObjectIdentifier)?;
        let is_critical = match extension.optional(Tag::Boolean)? {
            None | Some([0]) => false,
            Some([0xff]) => true,
            Some(_) => return Err(MalformedRequest),
        };
        let value = extension.required(Tag::OctetString)?;
        extension.end()?;
        if seen.contains(&oid) || seen.len() == MAX_EXTENSIONS {
            return Err(MalformedRequest);
        }
        seen.push(oid);
        if oid == NONCE {
            nonce = Some(read_nonce(value)?);
        } else if is_critical && !HARMLESS.contains(&oid) {
            return Err(MalformedRequest);
        }
    }
    Ok(nonce)
}

fn read_nonce(value: &[u8]) -> Result<&[u8], MalformedRequest> {
    let mut fields = Fields::of(value)?;
    let nonce = fields.required(Tag::OctetString)?;
    fields.end()?;
    (1..=OcspRequest::MAX_NONCE_OCTETS).contains(&nonce.len()).then_some(nonce).ok_or(MalformedRequest)
}

impl<'a> CertId<'a> {
    fn read(der: &'a [u8]) -> Result<Self, MalformedRequest> {
        let mut id = Fields::within(Tag::Sequence, der)?;
        let mut algorithm = Fields::of(id.required(Tag::Sequence)?)?;
        let oid = algorithm.required(Tag::ObjectIdentifier)?;
        // NULL or absent (RFC 5754, section 2).
        if algorithm.optional(Tag::Null)?.is_some_and(|null| !null.is_empty()) {
            return Err(MalformedRequest);
        }
        algorithm.end()?;
        let issuer_name_hash = id.required(Tag::OctetString)?;
        let issuer_key_hash = id.required(Tag::OctetString)?;
        let serial_number = serial_number(id.required(Tag::Integer)?)?;
        id.end()?;
        let hash_algorithm = HashAlgorithm::ALL.into_iter().find(|algorithm| algorithm.oid() == oid);
        Ok(Self { der, hash_algorithm, issuer_name_hash, issuer_key_hash, serial_number })
    }
}

/// Reads an `INTEGER`'s contents; fails where they are not DER.
fn serial_number(contents: &[u8]) -> Result<Option<SerialNumber>, MalformedRequest> {
    let magnitude = match contents {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => return Err(MalformedRequest),
        [0, rest @ ..] => rest,
        all @ [0..=0x7f, ..] => all,
        _negative => return Ok(None),
    };
    let mut octets = [0; 20];
    let Some(space) = octets.len().checked_sub(magnitude.len()) else { return Ok(None) };
    octets[space..].copy_from_slice(magnitude);
    Ok(SerialNumber::from_octets(octets).ok())
}
