//! A profile is tried before it is used: a certificate for each type of key, read back and judged as a stranger would.

use std::collections::HashSet;

use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData, SignatureAlgorithm};
use rustls_pki_types::{CertificateDer, ServerName};
use signalbeam_domain::SerialNumber;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use webpki::EndEntityCert;

use super::{Profile, ProfileError, PublishedUrls, root};
use crate::certificate::{self, validity_of};
use crate::chain::{AnchorError, ChainError, ChainVerifier};
use crate::key_type::DeviceKeyType;
use crate::public_key::DeviceKeyAlgorithm;
use crate::spiffe::DeviceIdentity;
use crate::validity::Validity;

/// The most octets of a device's certificate: what still fits into the headers in which proxies hand it on.
const MAX_CERTIFICATE_OCTETS: usize = 6 * 1024;
const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

/// What is wrong with a sample certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum RehearsalError {
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error("what can be put together as a certificate")]
    Build(#[from] rcgen::Error),
    #[error("what our own verifier can anchor")]
    Anchor(#[from] AnchorError),
    #[error("what our own verifier accepts as a device's certificate: {0}")]
    Chain(#[from] ChainError),
    #[error("what makes a certificate with {0}")]
    Reading(&'static str),
}

impl Profile {
    /// Issues a sample for each type of key under a root that is thrown away, and judges it.
    pub(super) fn rehearse(&self) -> Result<(), RehearsalError> {
        let ca = KeyPair::generate()?;
        let serial = SerialNumber::from_random([0x5a; 20]);
        let root = root("Rehearsal", &serial, Validity::new(NOW - Duration::days(2), NOW + Duration::days(4_000)))?;
        let anchor = root.self_signed(&ca)?;
        let verifier = ChainVerifier::new([anchor.der()])?;
        let issuer = Issuer::new(root, ca);
        let identity = DeviceIdentity::sample();
        let lifetime = Duration::days(self.max_validity_days().into());
        let validity = Validity::starting(NOW, self.backdating(), lifetime);
        for key_type in self.key_types() {
            let key = SampleKey::of(*key_type);
            let urls = PublishedUrls::default();
            let params = self.params(&serial, &identity, key.algorithm, validity, &urls)?;
            let leaf = sign(&params, &key, &issuer)?;
            let device = verifier.verify(&leaf)?;
            if device.device_id != identity.device_id || device.tenant_id != identity.tenant_id {
                return Err(RehearsalError::Reading("the device's own identity"));
            }
            self.read_back(&leaf, &identity, validity)?;
        }
        Ok(())
    }

    fn read_back(&self, leaf: &[u8], identity: &DeviceIdentity, validity: Validity) -> Result<(), RehearsalError> {
        let wrong = |what| Err(RehearsalError::Reading(what));
        let Some(parsed) = certificate::parse(leaf) else { return wrong("an encoding that can be read") };
        if leaf.len() > MAX_CERTIFICATE_OCTETS {
            return wrong("at most 6 KiB");
        }
        if validity_of(&parsed) != validity {
            return wrong("the validity that was asked for");
        }
        let mut seen = HashSet::new();
        if !parsed.extensions().iter().all(|extension| seen.insert(extension.oid.clone())) {
            return wrong("each extension once (RFC 5280, section 4.2)");
        }
        if parsed.is_ca() {
            return wrong("basicConstraints of an end entity");
        }
        if parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).count() != 1 {
            return wrong("one readable CN");
        }
        if self.is_for_servers() {
            let der = CertificateDer::from(leaf);
            let serves = |name: String| {
                let name = ServerName::try_from(name).ok()?;
                EndEntityCert::try_from(&der).ok()?.verify_is_valid_for_subject_name(&name).ok()
            };
            if !self.dns_names(identity).all(|name| serves(name).is_some()) {
                return wrong("names that a TLS client accepts");
            }
        }
        Ok(())
    }
}

fn sign(params: &CertificateParams, key: &SampleKey, issuer: &Issuer<'_, KeyPair>) -> Result<Vec<u8>, rcgen::Error> {
    Ok(params.signed_by(key, issuer)?.der().to_vec())
}

/// A public key of the right length; nobody has the private half, nor needs it.
struct SampleKey {
    algorithm: DeviceKeyAlgorithm,
    bits: Vec<u8>,
}

impl SampleKey {
    fn of(key_type: DeviceKeyType) -> Self {
        let (algorithm, bits) = match key_type {
            DeviceKeyType::Rsa2048 => (DeviceKeyAlgorithm::Rsa, rsa(256)),
            DeviceKeyType::Rsa3072 => (DeviceKeyAlgorithm::Rsa, rsa(384)),
            DeviceKeyType::Rsa4096 => (DeviceKeyAlgorithm::Rsa, rsa(512)),
            DeviceKeyType::EcdsaP256 => (DeviceKeyAlgorithm::EcdsaP256, vec![4; 65]),
            DeviceKeyType::EcdsaP384 => (DeviceKeyAlgorithm::EcdsaP384, vec![4; 97]),
            DeviceKeyType::Ed25519 => (DeviceKeyAlgorithm::Ed25519, vec![4; 32]),
        };
        Self { algorithm, bits }
    }
}

/// `RSAPublicKey` with a modulus of so many octets and the exponent 65537.
fn rsa(octets: u16) -> Vec<u8> {
    let integer = octets + 1;
    let whole = integer + 4 + 5;
    let mut der = vec![0x30, 0x82];
    der.extend(whole.to_be_bytes());
    der.extend([0x02, 0x82]);
    der.extend(integer.to_be_bytes());
    der.push(0);
    der.extend(std::iter::repeat_n(0xff, octets.into()));
    der.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
    der
}

impl PublicKeyData for SampleKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm.signature_algorithm()
    }
}
