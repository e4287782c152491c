//! Certificate signing requests.

use signalbeam_pki::DevicePublicKey;

pub(crate) const DICTIONARY: &[&str] = &[
    "-----BEGIN CERTIFICATE REQUEST-----\n",
    "-----END CERTIFICATE REQUEST-----\n",
    "-----BEGIN NEW CERTIFICATE REQUEST-----\n",
    "-----",
    "\r\n",
    "=",
    "AAAA",
];

/// The only requests that anybody signed.
const REQUESTS: [&[u8]; 4] = [
    include_bytes!("../../fixtures/request.der"),
    include_bytes!("../../fixtures/request-rsa.der"),
    include_bytes!("../../fixtures/request-p384.der"),
    include_bytes!("../../fixtures/request-ed25519.der"),
];
/// The most octets of a request, in either form.
const MAX_CSR_OCTETS: usize = 16 * 1024;

/// A key is taken only from who has shown that he holds it; the only ones who have are those of the fixtures.
pub(crate) fn run(input: &[u8]) {
    let known = REQUESTS.map(|request| DevicePublicKey::from_csr_der(request).unwrap());
    let from_der = DevicePublicKey::from_csr_der(input);
    let from_pem = std::str::from_utf8(input).ok().map(DevicePublicKey::from_csr_pem);
    for key in [from_der.ok(), from_pem.and_then(Result::ok)].into_iter().flatten() {
        assert!(input.len() <= MAX_CSR_OCTETS);
        assert!(known.iter().any(|known| known.spki_der() == key.spki_der()), "a key without its proof");
    }
}
