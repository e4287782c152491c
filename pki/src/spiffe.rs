//! The name under which a device's certificate knows it: a SPIFFE id with the tenant and the device.

use std::fmt;

use signalbeam_domain::{DeviceId, TenantId};
use uuid::Uuid;

/// A SPIFFE trust domain: 1 to 255 characters of `a-z`, `0-9`, `.`, `-`, `_` (SPIFFE-ID, section 2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrustDomain(String);

/// The text is no trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a trust domain has 1 to 255 characters of a-z, 0-9, `.`, `-` and `_`")]
pub struct InvalidTrustDomain;

impl TrustDomain {
    /// Takes the text as it stands.
    ///
    /// # Errors
    /// [`InvalidTrustDomain`] where it is empty, too long or has other characters, upper case included.
    pub fn parse(text: &str) -> Result<Self, InvalidTrustDomain> {
        let is_allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-' | b'_');
        if (1..=255).contains(&text.len()) && text.bytes().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidTrustDomain)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TrustDomain {
    /// `signalbeam.local`
    fn default() -> Self {
        Self("signalbeam.local".to_owned())
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `spiffe://{trust domain}/tenant/{tenant id}/device/{device id}`, the only URI in a device's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// Whose ids these are.
    pub trust_domain: TrustDomain,
    /// The device's tenant.
    pub tenant_id: TenantId,
    /// The device.
    pub device_id: DeviceId,
}

impl DeviceIdentity {
    /// Some device's: ids have the same length all.
    pub(crate) fn sample() -> Self {
        Self {
            trust_domain: TrustDomain::default(),
            tenant_id: TenantId::from_uuid(Uuid::max()),
            device_id: DeviceId::from_uuid(Uuid::max()),
        }
    }

    /// Reads the URI in the one spelling that [`fmt::Display`] writes.
    pub fn parse(uri: &str) -> Option<Self> {
        let rest = uri.strip_prefix("spiffe://")?;
        let (trust_domain, rest) = rest.split_once("/tenant/")?;
        let (tenant, device) = rest.split_once("/device/")?;
        let identity = Self {
            trust_domain: TrustDomain::parse(trust_domain).ok()?,
            tenant_id: TenantId::parse(tenant).ok()?,
            device_id: DeviceId::parse(device).ok()?,
        };
        (identity.to_string() == uri).then_some(identity)
    }
}

impl fmt::Display for DeviceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/tenant/{}/device/{}", self.trust_domain, self.tenant_id, self.device_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "spiffe://signalbeam.local/tenant/018f3c5e-7b1a-7cc2-9d3e-0123456789ab/device/\
                       018f3c5e-7b1a-7cc2-9d3e-ba9876543210";

    #[test]
    fn an_identity_reads_back_what_it_writes() {
        let identity = DeviceIdentity::parse(URI).unwrap();
        assert_eq!(identity.tenant_id.to_string(), "018f3c5e-7b1a-7cc2-9d3e-0123456789ab");
        assert_eq!(identity.device_id.to_string(), "018f3c5e-7b1a-7cc2-9d3e-ba9876543210");
        assert_eq!(identity.to_string(), URI);
    }

    #[test]
    fn no_other_spelling_is_an_identity() {
        for bad in [
            URI.replace("spiffe", "https"),
            URI.replace("018f", "018F"),
            URI.replace("signalbeam.local", "SignalBeam.local"),
            URI.replace("signalbeam.local", ""),
            URI.replace("signalbeam.local", "a/tenant/b"),
            format!("{URI}/"),
            format!("{URI}?x"),
            URI.replace("/device/", "/tenant/"),
            String::new(),
        ] {
            assert_eq!(DeviceIdentity::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_trust_domain_is_a_bare_lower_case_name() {
        assert_eq!(TrustDomain::parse("fleet-1.example.com").unwrap().as_str(), "fleet-1.example.com");
        for bad in ["", "a b", "A", "a/b", "a:1", "user@host", "é", &"a".repeat(256)] {
            assert_eq!(TrustDomain::parse(bad), Err(InvalidTrustDomain), "{bad}");
        }
    }
}
