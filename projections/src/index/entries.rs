//! What the index says of a device, a certificate and an API key.

use std::sync::Arc;

use signalbeam_domain::certificate::Standing;
use signalbeam_domain::{
    ApiKeyId, AuthorityId, DeviceId, DeviceStatus, Fingerprint, Prefix, SecretVerifier, SerialNumber, TenantId,
    Timestamp,
};

/// A device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceEntry {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Where it stands. Only an approved one authenticates.
    pub status: DeviceStatus,
}

/// A device's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateEntry {
    /// The SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// Whose it is.
    pub device_id: DeviceId,
    /// The first moment of its validity.
    pub not_before: Timestamp,
    /// The last moment of its validity.
    pub not_after: Timestamp,
    /// What became of it.
    pub standing: Standing,
    /// Who signed it.
    pub authority_id: AuthorityId,
    /// Whether it has authenticated.
    pub is_used: bool,
    /// Whether it turned up after it had been superseded.
    pub is_reuse_suspected: bool,
}

/// A device's API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyEntry {
    /// The key.
    pub key_id: ApiKeyId,
    /// Its public prefix.
    pub prefix: Prefix,
    /// Whose it is.
    pub device_id: DeviceId,
    /// What is kept of its secret.
    pub verifier: Arc<SecretVerifier>,
    /// The first moment at which it no longer authenticates.
    pub expires_at: Timestamp,
    /// Whether it ended before its time.
    pub is_revoked: bool,
    /// Whether it has authenticated.
    pub is_used: bool,
}
