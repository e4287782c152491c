//! Devices: certificate first, API key as fallback; what is accepted, what is refused, and by which rule.

pub mod api_key;
pub mod certificate;

use signalbeam_domain::{Actor, ApiKeyId, DeviceId, DeviceStatus, Prefix, SerialNumber, TenantId};
use signalbeam_event_store::audit::AuthenticationMethod;
use signalbeam_projections::DeviceEntry;

use crate::code::ErrorCode;
use crate::http::problem::Problem;

/// When an API key may stand in for a certificate that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApiKeyFallback {
    /// Whatever the certificate was refused for.
    #[default]
    Always,
    /// Unless the certificate was revoked or superseded.
    UnlessRevoked,
    /// Never: whoever presents a certificate stands or falls with it.
    Never,
}

impl ApiKeyFallback {
    /// Whether the API key is looked at after a certificate was refused with this code.
    pub fn allows_after(self, code: ErrorCode) -> bool {
        match self {
            Self::Always => true,
            Self::UnlessRevoked => code != ErrorCode::CertificateRevoked,
            Self::Never => false,
        }
    }
}

/// What an operator decides about authentication.
#[derive(Debug, Clone, Copy)]
pub struct AuthenticationPolicy {
    /// Whether client certificates are looked at.
    pub mtls_enabled: bool,
    /// When an API key may stand in for a refused certificate.
    pub api_key_fallback: ApiKeyFallback,
    /// How many days after its end a certificate may still be renewed by itself; 0: not at all.
    pub renewal_grace_days: u16,
}

impl Default for AuthenticationPolicy {
    fn default() -> Self {
        Self { mtls_enabled: true, api_key_fallback: ApiKeyFallback::default(), renewal_grace_days: 0 }
    }
}

/// The credential that a device authenticated with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceCredential {
    /// Its certificate.
    Certificate {
        /// Its serial number.
        serial_number: SerialNumber,
    },
    /// Its API key.
    ApiKey {
        /// The key.
        key_id: ApiKeyId,
        /// Its public prefix.
        prefix: Prefix,
    },
}

/// A device that authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DevicePrincipal {
    /// Which one.
    pub device_id: DeviceId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// How.
    pub credential: DeviceCredential,
}

impl DevicePrincipal {
    /// As it is recorded in events.
    pub fn actor(&self) -> Actor {
        Actor::device(self.device_id)
    }

    /// A device sees itself alone; another device does not exist for it.
    ///
    /// # Errors
    /// 404 `NOT_FOUND` where the route names another device.
    pub fn require_self(&self, device_id: DeviceId) -> Result<(), Problem> {
        if self.device_id == device_id { Ok(()) } else { Err(Problem::not_found("device")) }
    }
}

/// An accepted credential; `is_first_use` where no event says yet that it was ever used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) principal: DevicePrincipal,
    pub(crate) is_first_use: bool,
}

/// What became of one presented credential, and whose it is as far as that is certain.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) method: AuthenticationMethod,
    pub(crate) outcome: Result<Accepted, ErrorCode>,
    pub(crate) device_id: Option<DeviceId>,
    pub(crate) tenant_id: Option<TenantId>,
    pub(crate) serial_number: Option<SerialNumber>,
    pub(crate) prefix: Option<Prefix>,
    /// What is answered, where the outcome's code alone does not say it.
    pub(crate) answer: Option<Problem>,
}

/// Only an approved device authenticates.
fn require_approved(device: Option<DeviceEntry>) -> Result<DeviceEntry, ErrorCode> {
    device.filter(|device| device.status == DeviceStatus::Approved).ok_or(ErrorCode::DeviceNotApproved)
}

/// What a refused device is told to do about it.
pub(crate) fn advice(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::CertificateExpired => "the certificate has expired; request a new one with the API key",
        ErrorCode::CertificateNotYetValid => "the certificate is not valid yet; check the clocks",
        ErrorCode::InvalidCertificateChain => "the certificate was not issued by this authority for a device",
        ErrorCode::CertificateNotFound => "there is no record of the certificate; request a new one with the API key",
        ErrorCode::CertificateRevoked => {
            "the certificate was revoked or superseded; request a new one with the API key"
        }
        ErrorCode::DeviceNotApproved => "the device is not approved; an admin must approve or reinstate it",
        ErrorCode::AddressNotAllowed => "the device may not authenticate from this address",
        ErrorCode::ApiKeyExpired => "the API key has expired; an admin must rotate it",
        ErrorCode::ApiKeyRevoked => "the API key was revoked or replaced",
        ErrorCode::InvalidApiKey => "the API key is not valid",
        ErrorCode::AuthenticationRequired => "present a client certificate or an API key in X-API-Key",
        other => other.title(),
    }
}
