//! Keys of our own: for the listener and for OCSP answers.

use std::fmt;

use signalbeam_domain::Digest;
use zeroize::Zeroizing;

use crate::device_key::{DeviceKeyError, generate_p256};
use crate::pem::PrivateKeyPem;
use crate::public_key::DevicePublicKey;

/// A freshly made P-256 key that a certificate of our own is to be issued for. It is made before the intent is recorded,
/// which names its public half.
pub struct ServiceKey {
    pkcs8: Zeroizing<Vec<u8>>,
    public_key: DevicePublicKey,
}

impl ServiceKey {
    /// Makes one.
    ///
    /// # Errors
    /// [`DeviceKeyError`] where the machine fails.
    pub fn generate() -> Result<Self, DeviceKeyError> {
        let (pkcs8, spki) = generate_p256()?;
        Ok(Self { pkcs8, public_key: DevicePublicKey::from_spki_der(&spki)? })
    }

    /// The SHA-256 of the public half's DER `SubjectPublicKeyInfo`.
    pub fn public_key_sha256(&self) -> Digest {
        self.public_key.sha256()
    }

    pub(crate) fn public_key(&self) -> &DevicePublicKey {
        &self.public_key
    }

    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    pub(crate) fn private_key_pem(&self) -> PrivateKeyPem {
        PrivateKeyPem::from_pkcs8_der(&self.pkcs8)
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceKey").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}
