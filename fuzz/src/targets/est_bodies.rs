//! Bodies of EST requests.

use signalbeam_domain::DeviceName;
use signalbeam_pki::enrolment::{MAX_BODY_OCTETS, RequestFacts, decode_body, encode_body};

use super::requests;

pub(crate) const DICTIONARY: &[&str] =
    &["-----BEGIN CERTIFICATE REQUEST-----\n", "\r\n", " ", "=", "==", "A", "AAAA", "MIIB", "BgsqhkiG9w0BCRACJQ"];

/// What is taken is the one way to write its octets, white space aside; a key is taken only with its proof; a name that a
/// device could have is one that it can have.
pub(crate) fn run(input: &[u8]) {
    let Ok(der) = decode_body(input) else { return };
    assert!(input.len() <= MAX_BODY_OCTETS);
    let characters: Vec<u8> = input.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    assert_eq!(encode_body(&der).into_bytes(), characters);
    requests::run(&der);
    let named = RequestFacts::from_csr_der(&der).ok().and_then(|facts| facts.common_name);
    if let Some(name) = named.and_then(|name| DeviceName::parse(&name).ok()) {
        assert!(
            name.as_str().chars().count() <= DeviceName::MAX_CHARACTERS && !name.as_str().contains(char::is_control)
        );
    }
}
