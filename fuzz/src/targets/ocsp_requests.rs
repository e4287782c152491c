//! OCSP requests.

use signalbeam_pki::ocsp::OcspRequest;

pub(crate) const DICTIONARY: &[&str] =
    &["\x30\x03", "\x30\x00", "\x02\x01\x05", "\x04\x14", "\x05\x00", "\x06\x05\x2b\x0e\x03\x02\x1a"];

/// What is read stays within its bounds, and names certificates by octets that stand in the request: the answer repeats
/// them as they are.
pub(crate) fn run(input: &[u8]) {
    let Ok(request) = OcspRequest::parse(input) else { return };
    assert!(input.len() <= OcspRequest::MAX_OCTETS);
    assert!((1..=OcspRequest::MAX_CERTIFICATES).contains(&request.certificates.len()));
    assert!(request.nonce.is_none_or(|nonce| (1..=OcspRequest::MAX_NONCE_OCTETS).contains(&nonce.len())));
    for id in &request.certificates {
        assert_eq!(id.der.first(), Some(&0x30), "a SEQUENCE");
        assert!(input.windows(id.der.len()).any(|octets| octets == id.der), "the octets of the request");
        assert!(id.serial_number.is_none_or(|serial| serial.as_octets()[0] & 0x80 == 0), "positive");
    }
    // Nothing may follow, and nothing may be missing.
    assert!(OcspRequest::parse(&[input, &[0]].concat()).is_err());
    assert!(OcspRequest::parse(&input[..input.len() - 1]).is_err());
}
