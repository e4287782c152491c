//! `X-Forwarded-Client-Cert`, `Client-Cert` and `Client-Cert-Chain`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls_pki_types::CertificateDer;
use signalbeam_authn::forwarded_certificate::ClientCertificateHeader::{ClientCert, XForwardedClientCert};

use super::{appended, header_lines};

pub(crate) const DICTIONARY: &[&str] = &[
    "Cert=",
    "Chain=",
    "Hash=",
    "By=",
    "Subject=\"\"",
    ";",
    ",",
    "\"",
    "\\\"",
    "\\",
    "%0A",
    "%2B",
    "%",
    "\n",
    "-----BEGIN%20CERTIFICATE-----%0A",
    "-----END%20CERTIFICATE-----%0A",
];

const XFCC: &str = "x-forwarded-client-cert";
const MAX_CHAIN_BYTES: usize = 16 * 1024;

fn pem(chain: &[CertificateDer<'_>]) -> String {
    let sections = chain.iter().map(|certificate| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(certificate))
    });
    utf8_percent_encode(&sections.collect::<String>(), NON_ALPHANUMERIC).to_string()
}

fn check_bounds(chain: &[CertificateDer<'_>]) {
    assert!(!chain.is_empty());
    assert!(chain.iter().map(|certificate| certificate.len()).sum::<usize>() <= MAX_CHAIN_BYTES);
}

/// What is read stays the same when it is written again, and what the nearest proxy writes is what counts.
pub(crate) fn xfcc(input: &[u8]) {
    let headers = header_lines(XFCC, input);
    if let Ok(Some(chain)) = XForwardedClientCert.read(&headers) {
        check_bounds(&chain);
        let again = header_lines(XFCC, format!("Chain=\"{}\"", pem(&chain)).as_bytes());
        assert_eq!(XForwardedClientCert.read(&again), Ok(Some(chain)));
    }
    let own = vec![CertificateDer::from(vec![7; 99])];
    for headers in appended(&headers, XFCC, &format!("By=\"a;\\\"b,c\\\"\";Cert=\"{}\"", pem(&own))) {
        assert_eq!(XForwardedClientCert.read(&headers), Ok(Some(own.clone())), "{headers:?}");
    }
    for headers in appended(&headers, XFCC, "Cert=\"\"") {
        assert_eq!(XForwardedClientCert.read(&headers), Ok(None), "{headers:?}");
    }
}

/// The first line is the certificate, the others are its issuers'.
pub(crate) fn client_cert(input: &[u8]) {
    let (leaf, chain) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len()));
    let mut headers = header_lines("client-cert", leaf);
    headers.extend(header_lines("client-cert-chain", chain));
    let Ok(Some(chain)) = ClientCert.read(&headers) else { return };
    check_bounds(&chain);
    let sequences: Vec<_> = chain.iter().map(|certificate| format!(":{}:", STANDARD.encode(certificate))).collect();
    let mut again = HeaderMap::new();
    again.append("client-cert", sequences[0].parse().unwrap());
    again.append("client-cert-chain", sequences[1..].join(", ").parse().unwrap());
    assert_eq!(ClientCert.read(&again), Ok(Some(chain)));
    again.append("client-cert", sequences[0].parse().unwrap());
    assert!(ClientCert.read(&again).is_err(), "two certificates are none");
}
