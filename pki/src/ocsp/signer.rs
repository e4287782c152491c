//! Who signs answers: a short-lived certificate of the authority, good for nothing else (RFC 6960, section 4.2.2.2).

use std::fmt;

use rcgen::PublicKeyData;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use signalbeam_domain::SerialNumber;

use super::der::{BIT_STRING, SEQUENCE, element};
use super::issuer::key_hash;
use super::response::{OcspAnswer, successful};
use crate::authority::{AuthorityError, CertificateAuthority, IssuedCertificate};
use crate::device_key::DeviceKeyError;
use crate::profile;
use crate::service_key::ServiceKey;
use crate::validity::Validity;

/// `AlgorithmIdentifier` of ecdsa-with-SHA256, whole.
const ECDSA_WITH_SHA256: &[u8] = &[SEQUENCE, 10, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const CONTEXT_0: u8 = 0xa0;

/// A delegated responder's key and certificate. The key is in memory only: the next start makes another one.
pub struct OcspSigner {
    key: EcdsaKeyPair,
    random: SystemRandom,
    key_hash: Vec<u8>,
    certificate: IssuedCertificate,
}

impl fmt::Debug for OcspSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OcspSigner").field("serial", &self.certificate.serial).finish_non_exhaustive()
    }
}

/// The machine gave no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an OCSP answer could not be signed: there are no random numbers")]
pub struct OcspSigningError;

impl CertificateAuthority {
    /// The subject of every responder's certificate.
    pub const OCSP_SIGNER_SUBJECT: &str = "CN=SignalBeam OCSP responder, O=SignalBeam";

    /// Issues the certificate of a delegated responder; its serial number and key have been recorded before.
    ///
    /// # Errors
    /// [`AuthorityError`]; nothing has been issued then.
    pub async fn issue_ocsp_signer(
        &self,
        key: &ServiceKey,
        serial: SerialNumber,
        validity: Validity,
    ) -> Result<OcspSigner, AuthorityError> {
        let validity = self.within_own(validity)?;
        let params = profile::ocsp_signer(&serial, validity)?;
        let certificate = self.issue(&params, key.public_key(), key.public_key().spki_der(), serial).await?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.pkcs8(), &random)
            .map_err(|_| DeviceKeyError::Generation("PKCS#8 decoding"))?;
        let key_hash = key_hash(key.public_key().der_bytes()).as_ref().to_vec();
        Ok(OcspSigner { key: pair, random, key_hash, certificate })
    }
}

impl OcspSigner {
    /// Its certificate.
    pub fn certificate(&self) -> &IssuedCertificate {
        &self.certificate
    }

    /// Signs an answer: a whole `OCSPResponse`, DER, with the responder's certificate in it.
    ///
    /// # Errors
    /// [`OcspSigningError`]
    pub fn sign(&self, answer: &OcspAnswer<'_>) -> Result<Vec<u8>, OcspSigningError> {
        let data = answer.response_data(&self.key_hash);
        let signature = self.key.sign(&self.random, &data).map_err(|_| OcspSigningError)?;
        let signature = element(BIT_STRING, &[&[0], signature.as_ref()]);
        let certificates = element(CONTEXT_0, &[&element(SEQUENCE, &[&self.certificate.der])]);
        Ok(successful(&element(SEQUENCE, &[&data, ECDSA_WITH_SHA256, &signature, &certificates])))
    }
}
