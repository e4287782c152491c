//! What a profile adds to its certificates by object identifier: usages and extensions.

use rcgen::{CustomExtension, ExtendedKeyUsagePurpose};
use rsa::pkcs8::der::asn1::ObjectIdentifier;
use x509_parser::der_parser::parse_der;

/// The most usages of a certificate.
pub(super) const MAX_USAGES: usize = 8;
/// The most extensions of one's own.
pub(super) const MAX_EXTENSIONS: usize = 8;
/// The most octets of one.
const MAX_EXTENSION_OCTETS: usize = 1024;

/// Usages that would make more of a device than a device: any usage at all, time stamps (which stand alone, RFC 3161),
/// signing OCSP answers for this authority (RFC 6960, section 4.2.2.2), certificate management (RFC 6402).
const FORBIDDEN_USAGES: [&str; 6] = [
    "2.5.29.37.0",
    "1.3.6.1.5.5.7.3.8",
    "1.3.6.1.5.5.7.3.9",
    "1.3.6.1.5.5.7.3.27",
    "1.3.6.1.5.5.7.3.28",
    "1.3.6.1.5.5.7.3.29",
];

/// Where the extensions stand that others give a meaning to: X.509's own, PKIX's, Netscape's, certificate transparency's.
const STANDARD_ARCS: [&str; 4] = ["2.5.29", "1.3.6.1.5.5.7.1", "2.16.840.1.113730.1", "1.3.6.1.4.1.11129.2.4"];

/// An extended key usage (RFC 5280, section 4.2.1.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Usage {
    ClientAuth,
    ServerAuth,
    Other(ObjectIdentifier),
}

impl Usage {
    /// Reads `client_auth`, `server_auth` or a dotted object identifier.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "client_auth" | "1.3.6.1.5.5.7.3.2" => return Ok(Self::ClientAuth),
            "server_auth" | "1.3.6.1.5.5.7.3.1" => return Ok(Self::ServerAuth),
            _ => {}
        }
        if FORBIDDEN_USAGES.contains(&text) {
            return Err("no usage that makes an authority of a device, such as signing OCSP answers".to_owned());
        }
        let id = object_identifier(text);
        id.map(Self::Other)
            .ok_or_else(|| "client_auth, server_auth, or object identifiers such as 1.3.6.1.5.5.7.3.17".to_owned())
    }

    pub(super) fn purpose(&self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::ClientAuth => ExtendedKeyUsagePurpose::ClientAuth,
            Self::ServerAuth => ExtendedKeyUsagePurpose::ServerAuth,
            Self::Other(id) => ExtendedKeyUsagePurpose::Other(arcs(id)),
        }
    }
}

/// An extension of one's own; never critical, so that nobody who does not know it refuses the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) id: ObjectIdentifier,
    contents: Vec<u8>,
}

impl Extension {
    /// Reads `1.3.6.1.4.1.99999.1=0403010203`: an object identifier and the DER of the value in hex.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let form =
            || "an object identifier and one DER value in hex, such as 1.3.6.1.4.1.99999.1=0403010203".to_owned();
        let (id, hex) = text.split_once('=').ok_or_else(form)?;
        let id = object_identifier(id.trim()).ok_or_else(form)?;
        let text = id.to_string();
        let is_under = |arc: &str| text.strip_prefix(arc).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if STANDARD_ARCS.into_iter().any(is_under) {
            return Err(format!("no extension whose meaning is not yours to give, as {text} is"));
        }
        let contents = octets(hex.trim()).ok_or_else(form)?;
        if contents.len() > MAX_EXTENSION_OCTETS {
            return Err(format!("at most {MAX_EXTENSION_OCTETS} octets, which {text} has not"));
        }
        match parse_der(&contents) {
            Ok(([], _)) => Ok(Self { id, contents }),
            _ => Err(format!("exactly one DER value in hex, which that of {text} is not")),
        }
    }

    pub(super) fn encode(&self) -> CustomExtension {
        CustomExtension::from_oid_content(&arcs(&self.id), self.contents.clone())
    }
}

fn object_identifier(text: &str) -> Option<ObjectIdentifier> {
    // The library computes beyond its numbers where an arc is larger than it can hold.
    let fits = text.split('.').all(|arc| arc.len() <= 9 && arc.bytes().all(|digit| digit.is_ascii_digit()));
    let id = fits.then(|| ObjectIdentifier::new(text).ok())??;
    // One spelling each.
    (id.to_string() == text).then_some(id)
}

fn arcs(id: &ObjectIdentifier) -> Vec<u64> {
    id.arcs().map(u64::from).collect()
}

fn octets(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.bytes().map(|digit| char::from(digit).to_digit(16)).collect::<Option<Vec<_>>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let octets = pairs.iter().map(|[high, low]| u8::try_from(high << 4 | low).ok()).collect::<Option<Vec<_>>>()?;
    (rest.is_empty() && !octets.is_empty()).then_some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arc_beyond_what_can_be_held_is_no_object_identifier() {
        assert!(object_identifier("1.3.6.1.4.1.99999.1").is_some());
        for bad in ["1.2.3.4.18446744073709551616", "1.3.6.1.4.1.4294967296", "1..2", "1.2.-3", "", "."] {
            assert_eq!(object_identifier(bad), None, "{bad}");
        }
    }
}
