//! Certificates: issued, renewed, revoked.

pub(crate) mod filter;
pub(crate) mod issuance;
pub(crate) mod issue;
pub(crate) mod renew;
pub(crate) mod renewal;
pub(crate) mod request_renewal;
pub(crate) mod revoke;

use serde::Serialize;
use signalbeam_authn::{ErrorCode, Problem};
use signalbeam_domain::certificate::{CertificateError, CertificateIssued};
use signalbeam_domain::{DeviceId, Fingerprint, SerialNumber, Timestamp};
use signalbeam_pki::{CsrError, DevicePublicKey, PrivateKeyPem};
use utoipa::ToSchema;

use crate::state::CommandApi;

/// A certificate, with what the device needs beside it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownCertificate {
    /// The device.
    #[schema(value_type = Uuid)]
    device_id: DeviceId,
    /// The certificate, and after it what leads from it to the root, which a device sends along: PEM.
    certificate_pem: String,
    /// Its private key, only where the request brought no signing request: shown this once and kept nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    private_key_pem: Option<String>,
    /// What the device trusts: the certificates of the authorities, as `GET /api/certificates/ca` has them, PEM.
    ca_certificate_pem: String,
    /// 40 lower-case hex digits.
    #[schema(value_type = String)]
    serial_number: SerialNumber,
    /// `SHA256:` and 64 upper-case hex digits.
    #[schema(value_type = String)]
    fingerprint: Fingerprint,
    /// When it was issued.
    #[schema(value_type = String, format = DateTime)]
    issued_at: Timestamp,
    /// The last moment of its validity.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl std::fmt::Debug for ShownCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShownCertificate").field("serial_number", &self.serial_number).finish_non_exhaustive()
    }
}

impl ShownCertificate {
    pub(crate) fn new(
        api: &CommandApi,
        issued: CertificateIssued,
        issued_at: Timestamp,
        private_key: Option<&PrivateKeyPem>,
    ) -> Self {
        let authorities = api.authorities.current();
        let signed_by = authorities.by_id(issued.authority_id);
        let intermediates = signed_by.map(|one| one.authority.intermediates_pem()).unwrap_or_default();
        Self {
            device_id: issued.intended.device_id,
            certificate_pem: issued.certificate_pem + &intermediates,
            private_key_pem: private_key.map(|key| key.expose().to_owned()),
            ca_certificate_pem: authorities.certificates_pem(),
            serial_number: issued.intended.serial_number,
            fingerprint: issued.fingerprint,
            issued_at,
            expires_at: issued.intended.not_after,
        }
    }
}

/// Takes the public key of a signing request, and nothing else of it.
fn public_key(csr_pem: &str) -> Result<DevicePublicKey, Problem> {
    DevicePublicKey::from_csr_pem(csr_pem).map_err(|error| match &error {
        CsrError::InvalidCsr(_) => Problem::new(ErrorCode::InvalidCsr, error.to_string()),
        CsrError::WeakKey(_) => Problem::new(ErrorCode::WeakKey, error.to_string()),
    })
}

pub(crate) fn refused(error: &CertificateError) -> Problem {
    let detail = error.to_string();
    match error {
        CertificateError::Unknown => Problem::not_found("certificate"),
        CertificateError::Revoked => {
            Problem::new(ErrorCode::CertificateNotRenewable, "the certificate has been revoked; request a new one")
        }
        CertificateError::NotRenewable { renewable_from: Some(from) } => {
            Problem::new(ErrorCode::CertificateNotRenewable, format!("the certificate can be renewed from {from} on"))
                .with("renewableFrom", from.to_string())
        }
        CertificateError::NotRenewable { renewable_from: None } => Problem::new(
            ErrorCode::CertificateNotRenewable,
            "the certificate has expired or another one took its place; request a new one with the API key",
        )
        .with("renewableFrom", serde_json::Value::Null),
        CertificateError::SerialTaken | CertificateError::NotAsIntended => {
            Problem::new(ErrorCode::InternalError, detail)
        }
    }
}
