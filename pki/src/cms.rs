//! Certificates in the envelope that enrolment protocols hand them out in: a CMS `SignedData` that signs nothing
//! ("certs-only", RFC 5652, section 5, as RFC 7030, section 4.1.3, wants it).

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::pem::InvalidPem;

/// `id-signedData`, 1.2.840.113549.1.7.2, tag and length included.
const SIGNED_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// `id-data`, 1.2.840.113549.1.7.1, tag and length included.
const DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, constructed: explicit around the content, implicit around the certificates.
const CONTEXT_0: u8 = 0xa0;

/// The DER of a certs-only message with these DER certificates. They come out in the order that DER demands of a set, not
/// in that of a chain.
pub fn certs_only<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut certificates: Vec<_> = certificates.into_iter().collect();
    // X.690, section 11.6.
    certificates.sort_unstable();
    let signed_data = tlv(
        SEQUENCE,
        &[
            // Version 1: no attribute certificates, and the content is data (RFC 5652, section 5.1).
            &tlv(INTEGER, &[&[1]]),
            &tlv(SET, &[]),
            &tlv(SEQUENCE, &[DATA]),
            &tlv(CONTEXT_0, &certificates),
            &tlv(SET, &[]),
        ],
    );
    tlv(SEQUENCE, &[SIGNED_DATA, &tlv(CONTEXT_0, &[&signed_data])])
}

/// The same for the certificates of a PEM text.
///
/// # Errors
/// [`InvalidPem`] where one of them cannot be read, or there is none.
pub fn certs_only_of_pem(text: &str) -> Result<Vec<u8>, InvalidPem> {
    let certificates = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|_| InvalidPem::Base64)?;
    if certificates.is_empty() {
        return Err(InvalidPem::Missing);
    }
    Ok(certs_only(certificates.iter().map(|certificate| &**certificate)))
}

/// A tag, the length in its shortest form, and the contents.
fn tlv(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|part| part.len()).sum();
    let mut der = Vec::with_capacity(length + 6);
    der.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => der.push(short),
        _ => {
            let octets = length.to_be_bytes();
            let leading = octets.iter().take_while(|octet| **octet == 0).count();
            let significant = &octets[leading..];
            // At most eight of them, so their number fits beside the flag.
            der.push(0x80 | u8::try_from(significant.len()).unwrap_or(0x7f));
            der.extend_from_slice(significant);
        }
    }
    for part in contents {
        der.extend_from_slice(part);
    }
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_their_shortest_form() {
        for (length, head) in [
            (0, &[0x04, 0][..]),
            (0x7f, &[0x04, 0x7f]),
            (0x80, &[0x04, 0x81, 0x80]),
            (0xff, &[0x04, 0x81, 0xff]),
            (0x100, &[0x04, 0x82, 1, 0]),
            (0x0001_0000, &[0x04, 0x83, 1, 0, 0]),
        ] {
            let der = tlv(0x04, &[&vec![7; length]]);
            assert_eq!(&der[..head.len()], head, "{length}");
            assert_eq!(der.len(), head.len() + length);
        }
    }

    #[test]
    fn the_order_in_which_certificates_come_does_not_matter() {
        let (one, two): (&[u8], &[u8]) = (&[0x30, 1, 1], &[0x30, 1, 2]);
        assert_eq!(certs_only([two, one]), certs_only([one, two]));
        assert!(certs_only([two, one]).windows(6).any(|window| window == [one, two].concat()));
    }
}
