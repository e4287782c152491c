//! What proxies write, and what strangers might make of it.

use axum::http::HeaderValue;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::*;

fn der(fill: u8) -> Vec<u8> {
    vec![fill; 300]
}

fn pem(fills: &[u8]) -> String {
    let sections = fills
        .iter()
        .map(|fill| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64.encode(der(*fill))));
    utf8_percent_encode(&sections.collect::<String>(), NON_ALPHANUMERIC).to_string()
}

fn hash(fill: u8) -> String {
    fingerprint(&der(fill)).to_string().trim_start_matches("SHA256:").to_ascii_lowercase()
}

fn read(header: ClientCertificateHeader, lines: &[(&'static str, &str)]) -> Result<Option<Vec<u8>>, Unreadable> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let chain = header.read(&headers)?;
    Ok(chain.map(|chain| {
        let fill = |certificate: &CertificateDer<'_>| {
            assert_eq!(certificate.as_ref(), der(certificate[0]));
            certificate[0]
        };
        chain.iter().map(fill).collect()
    }))
}

fn xfcc(lines: &[&str]) -> Result<Option<Vec<u8>>, Unreadable> {
    let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-client-cert", *line)).collect();
    read(ClientCertificateHeader::XForwardedClientCert, &lines)
}

fn rfc_9440(leaf: &[&str], chain: &[&str]) -> Result<Option<Vec<u8>>, Unreadable> {
    let leaf = leaf.iter().map(|line| ("client-cert", *line));
    let lines: Vec<_> = leaf.chain(chain.iter().map(|line| ("client-cert-chain", *line))).collect();
    read(ClientCertificateHeader::ClientCert, &lines)
}

fn sequence(fill: u8) -> String {
    format!(":{}:", BASE64.encode(der(fill)))
}

#[test]
fn envoys_header_hands_on_a_certificate_and_its_chain() {
    let (leaf, chain, hash) = (pem(&[1]), pem(&[1, 2, 3]), hash(1));
    for element in [
        format!("Cert=\"{leaf}\""),
        format!("cert={leaf}"),
        format!("By=spiffe://proxy/a;Hash={hash};Cert=\"{leaf}\";Subject=\"CN=a,O=\\\"b;c\\\"\";URI=x;DNS=a;DNS=b"),
        format!("Hash=\"{}\";Cert=\"{leaf}\"", hash.to_ascii_uppercase()),
    ] {
        assert_eq!(xfcc(&[&element]), Ok(Some(vec![1])), "{element}");
    }
    assert_eq!(xfcc(&[&format!("Chain=\"{chain}\"")]), Ok(Some(vec![1, 2, 3])));
    assert_eq!(xfcc(&[&format!("Hash={hash};Cert=\"{leaf}\";Chain=\"{chain}\"")]), Ok(Some(vec![1, 2, 3])));
}

#[test]
fn only_the_right_most_element_counts() {
    let element = |fill: u8| format!("Cert=\"{}\"", pem(&[fill]));
    assert_eq!(xfcc(&[&format!("{},{}", element(1), element(2))]), Ok(Some(vec![2])));
    assert_eq!(xfcc(&[&element(1), &element(2)]), Ok(Some(vec![2])));
    assert_eq!(xfcc(&[&format!("Cert=\"never closed, {}", element(2))]), Ok(Some(vec![2])));
    assert_eq!(xfcc(&[&format!("{}, By=x;Hash={}", element(1), hash(1))]), Err(Unreadable));
    assert_eq!(xfcc(&[&element(1), "Cert=\"\""]), Ok(None));
}

#[test]
fn no_certificate_and_one_that_cannot_be_read_are_two_things() {
    for nothing in [&[][..], &[""], &[" "], &["Cert=\"\""], &["Hash=;Cert=;Subject=\"\""], &["By=x;Chain="]] {
        assert_eq!(xfcc(nothing), Ok(None), "{nothing:?}");
    }
    let (leaf, chain) = (pem(&[1]), pem(&[1, 2]));
    for unreadable in [
        "nonsense".to_owned(),
        format!("Hash={}", hash(1)),
        format!("Hash={};Cert=\"\"", hash(1)),
        format!("Hash={};Cert=\"{leaf}\"", hash(2)),
        format!("Hash=xyz;Cert=\"{leaf}\""),
        format!("Cert=\"{leaf}\";Cert=\"{leaf}\""),
        format!("Cert=\"{leaf}\";"),
        format!("Cert=\"{leaf}"),
        format!("Cert={leaf}\""),
        format!("Cert=\"{chain}\""),
        format!("Cert=\"{}\";Chain=\"{chain}\"", pem(&[2])),
        format!("Cert=\"{}\"", leaf.replace("CERTIFICATE", "PUBLIC%20KEY")),
        format!("Chain=\"{leaf}{}\"", leaf.replace("CERTIFICATE", "PRIVATE%20KEY")),
        format!("Cert=\"{}\"", leaf.replace("%2D%2D%2D%2D%2DEND", "END")),
        format!("Cert=\"{}\"", &leaf[..leaf.len() / 2]),
        "Cert=\"%zz%\"".to_owned(),
        format!("Chain=\"{}\"", pem(&[7; 60])),
    ] {
        assert_eq!(xfcc(&[&unreadable]), Err(Unreadable), "{unreadable}");
    }
}

#[test]
fn rfc_9440_hands_on_a_certificate_and_its_issuers() {
    let (one, two, three) = (sequence(1), sequence(2), sequence(3));
    assert_eq!(rfc_9440(&[&one], &[]), Ok(Some(vec![1])));
    assert_eq!(rfc_9440(&[&format!(" {one} ")], &[&format!("{two},\t{three}")]), Ok(Some(vec![1, 2, 3])));
    assert_eq!(rfc_9440(&[&one], &[&two, "", &three]), Ok(Some(vec![1, 2, 3])));
    for nothing in [&[][..], &[""], &["  "]] {
        assert_eq!(rfc_9440(nothing, &[]), Ok(None));
        assert_eq!(rfc_9440(nothing, &[&two]), Err(Unreadable), "issuers of nobody");
    }
    let unpadded = one.replace('=', "");
    assert_eq!(rfc_9440(&[&unpadded], &[]), Ok(Some(vec![1])));
}

#[test]
fn what_rfc_9440_does_not_say_is_refused() {
    let (one, two) = (sequence(1), sequence(2));
    let bare = one.trim_matches(':').to_owned();
    for leaf in [
        bare.as_str(),
        "::",
        ":",
        ":*:",
        ":AQE=",
        &format!("{one};a=b"),
        &format!("{one},{two}"),
        &format!("\"{bare}\""),
    ] {
        assert_eq!(rfc_9440(&[leaf], &[]), Err(Unreadable), "{leaf}");
    }
    assert_eq!(rfc_9440(&[&one, &one], &[]), Err(Unreadable), "twice");
    for chain in [",", &format!("{two},"), "nonsense", &format!("({two})"), &format!("{two};a")] {
        assert_eq!(rfc_9440(&[&one], &[chain]), Err(Unreadable), "{chain}");
    }
    let many = vec![two.as_str(); 60].join(",");
    assert_eq!(rfc_9440(&[&one], &[&many]), Err(Unreadable), "more than 16 KiB");
}

#[test]
fn the_other_header_is_not_read() {
    let element = format!("Cert=\"{}\"", pem(&[1]));
    let both = [("x-forwarded-client-cert", element.as_str()), ("client-cert", "nonsense")];
    assert_eq!(read(ClientCertificateHeader::XForwardedClientCert, &both), Ok(Some(vec![1])));
    assert_eq!(read(ClientCertificateHeader::ClientCert, &both), Err(Unreadable));
}
