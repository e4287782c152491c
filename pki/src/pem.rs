//! The PEM armour (RFC 7468): exactly one object in, one object out.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const LINE_CHARACTERS: usize = 64;

/// Why a text is not the one PEM object that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPem {
    /// There is no `-----BEGIN ...-----` line, or no matching `-----END ...-----` line.
    #[error("there is no complete PEM object")]
    Missing,
    /// More than one object; it would be a guess which of them is meant.
    #[error("there is more than one PEM object")]
    Several,
    /// The object is of another kind.
    #[error("the PEM object is not labelled `{expected}`")]
    Label {
        /// The label that was expected.
        expected: &'static str,
    },
    /// What stands between the lines is not base64.
    #[error("the PEM object is not base64")]
    Base64,
}

/// Reads the one object of a text; its label must be one of `labels`. Explanatory text around it is allowed.
pub(crate) fn decode_one(text: &str, labels: &[&'static str]) -> Result<Zeroizing<Vec<u8>>, InvalidPem> {
    let (_, rest) = text.split_once("-----BEGIN ").ok_or(InvalidPem::Missing)?;
    if rest.contains("-----BEGIN ") {
        return Err(InvalidPem::Several);
    }
    let (label, rest) = rest.split_once("-----").ok_or(InvalidPem::Missing)?;
    if !labels.contains(&label) {
        return Err(InvalidPem::Label { expected: labels.first().copied().unwrap_or_default() });
    }
    let (body, rest) = rest.split_once("-----END ").ok_or(InvalidPem::Missing)?;
    if !rest.strip_prefix(label).is_some_and(|rest| rest.starts_with("-----")) {
        return Err(InvalidPem::Missing);
    }
    let mut characters = Zeroizing::new(Vec::with_capacity(body.len()));
    characters.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let mut octets = Zeroizing::new(vec![0; characters.len()]);
    let length = STANDARD.decode_slice(&*characters, &mut octets).map_err(|_| InvalidPem::Base64)?;
    octets.truncate(length);
    Ok(octets)
}

/// Writes one object in lines of 64 characters.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let mut text = String::with_capacity(der.len() * 3 / 2 + 128);
    encode_into(&mut text, label, der);
    text
}

fn encode_into(text: &mut String, label: &str, der: &[u8]) {
    text.extend(["-----BEGIN ", label, "-----\n"]);
    for line in der.chunks(LINE_CHARACTERS / 4 * 3) {
        STANDARD.encode_string(line, text);
        text.push('\n');
    }
    text.extend(["-----END ", label, "-----\n"]);
}

/// A private key as PKCS#8 PEM (`-----BEGIN PRIVATE KEY-----`). Prints as `[redacted]`, cannot be serialised, and is
/// wiped from memory when it is dropped.
#[derive(Clone)]
pub struct PrivateKeyPem(Zeroizing<String>);

impl PrivateKeyPem {
    pub(crate) fn from_pkcs8_der(der: &[u8]) -> Self {
        // Large enough from the start: a string that grows leaves copies behind that nobody wipes.
        let mut text = Zeroizing::new(String::with_capacity(der.len() * 3 / 2 + 128));
        encode_into(&mut text, "PRIVATE KEY", der);
        Self(text)
    }

    /// The PEM text. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PrivateKeyPem {
    /// The PKCS#8 DER in base64, without line breaks. Whoever calls this answers for where it goes.
    pub fn expose_base64(&self) -> Zeroizing<String> {
        let mut base64 = Zeroizing::new(String::with_capacity(self.0.len()));
        base64.extend(self.0.lines().filter(|line| !line.starts_with("-----")));
        base64
    }
}

impl fmt::Debug for PrivateKeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKeyPem([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_goes_out_and_comes_back() {
        let der: Vec<u8> = (0..=255).collect();
        let text = encode("CERTIFICATE REQUEST", &der);
        assert!(text.lines().all(|line| line.len() <= 64));
        assert_eq!(*decode_one(&text, &["CERTIFICATE REQUEST"]).unwrap(), der);
        let windows = format!("Subject: whatever\r\n{}", text.replace('\n', "\r\n"));
        assert_eq!(*decode_one(&windows, &["X", "CERTIFICATE REQUEST"]).unwrap(), der);
    }

    #[test]
    fn everything_but_one_object_of_the_kind_is_refused() {
        let request = encode("CERTIFICATE REQUEST", b"abc");
        for (text, why) in [
            (String::new(), InvalidPem::Missing),
            ("-----BEGIN ".to_owned(), InvalidPem::Missing),
            ("-----BEGIN CERTIFICATE REQUEST-----\nYWJj\n".to_owned(), InvalidPem::Missing),
            (request.replace("END CERTIFICATE REQUEST", "END CERTIFICATE"), InvalidPem::Missing),
            (request.repeat(2), InvalidPem::Several),
            (format!("{request}{}", encode("PRIVATE KEY", b"abc")), InvalidPem::Several),
            (encode("CERTIFICATE", b"abc"), InvalidPem::Label { expected: "CERTIFICATE REQUEST" }),
            (request.replace("YWJj", "YWJ*"), InvalidPem::Base64),
            (request.replace("YWJj", "Proc-Type: 4,ENCRYPTED\n\nYWJj"), InvalidPem::Base64),
        ] {
            assert_eq!(decode_one(&text, &["CERTIFICATE REQUEST"]), Err(why), "{text}");
        }
    }

    #[test]
    fn a_private_key_does_not_print() {
        let key = PrivateKeyPem::from_pkcs8_der(b"very secret octets");
        assert_eq!(format!("{key:?}"), "PrivateKeyPem([redacted])");
        assert!(key.expose().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert_eq!(*key.expose_base64(), STANDARD.encode(b"very secret octets"));
    }
}
