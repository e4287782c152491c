//! What the agent sends to the server and understands of its answers. Unknown fields of answers are passed over, because
//! devices in the field are not recompiled with the server.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::credentials::DeviceStatus;
use crate::failure::Failure;
use crate::secret::{ApiKey, Secret, serialize_exposed};
use crate::transport::Call;

/// `POST /api/devices`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterDevice<'a> {
    /// The tenant that issued the token.
    pub tenant_id: Uuid,
    /// The registration token.
    #[serde(serialize_with = "serialize_exposed")]
    pub token: &'a Secret,
    /// The device's label.
    pub device_name: &'a str,
    /// Drawn by the device, so that a repeat after a lost answer is recognised.
    #[serde(serialize_with = "serialize_exposed")]
    pub claim_secret: &'a Secret,
}

/// The answer to a registration.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredDevice {
    /// The new identity.
    pub device_id: Uuid,
    /// Its label as the server keeps it.
    pub device_name: String,
    /// `Pending` at first; a repeat may find more.
    pub status: DeviceStatus,
    /// The claim secret in force.
    pub claim_secret: Secret,
}

/// The answer of `GET /api/devices/{id}/registration-status`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationStatus {
    /// Where the device stands.
    pub status: DeviceStatus,
    /// Its label as the server keeps it.
    pub device_name: String,
    /// The administrator's words.
    pub rejection_reason: Option<String>,
    /// The end of the API key in force; absent where there is none.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub api_key_expires_at: Option<OffsetDateTime>,
    /// The device's active certificate as the server knows it.
    pub certificate: Option<KnownCertificate>,
}

/// The answer of `POST /api/devices/{id}/api-key/claim` and `/rotate-api-key`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimedApiKey {
    /// The key; shown this once.
    pub api_key: ApiKey,
    /// Its end.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// `POST /api/certificates/{deviceId}/issue` and `/{serialNumber}/renew`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestCertificate {
    /// PKCS#10; absent where the server shall make the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csr_pem: Option<String>,
}

/// The answer to either.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuedCertificate {
    /// The device's certificate.
    pub certificate_pem: String,
    /// The private key, where the server made it.
    pub private_key_pem: Option<Secret>,
    /// The CA's certificate.
    pub ca_certificate_pem: String,
}

/// `POST /api/devices/{id}/heartbeat`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// This program's version.
    pub agent_version: &'static str,
    /// How the device does.
    pub status: &'static str,
}

/// The answer to a heartbeat.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatReceived {
    /// The server's time.
    #[serde(with = "time::serde::rfc3339")]
    pub received_at: OffsetDateTime,
    /// The device's certificate as the server knows it.
    pub certificate: Option<KnownCertificate>,
    /// The end of the API key in force.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub api_key_expires_at: Option<OffsetDateTime>,
}

/// The active certificate in the answer to a heartbeat or a question for the status.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownCertificate {
    /// Lower-case hex.
    pub serial_number: String,
    /// Whether the server wants it renewed now.
    pub renewal_required: bool,
}

/// The answer of `GET /api/certificates/{serialNumber}/renewal-info` (RFC 9773, section 4.2).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewalInfo {
    /// When the server would like the certificate renewed.
    pub suggested_window: SuggestedWindow,
}

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct SuggestedWindow {
    /// Its first moment.
    #[serde(with = "time::serde::rfc3339")]
    pub start: OffsetDateTime,
    /// Its end.
    #[serde(with = "time::serde::rfc3339")]
    pub end: OffsetDateTime,
}

/// Where the server shows the CA certificates that it vouches for.
pub const CA_PATH: &str = "/api/certificates/ca";
/// The type of a PEM file.
pub const PEM_TYPE: &str = "application/x-pem-file";

/// Registers the device.
pub fn register(request: &RegisterDevice<'_>) -> Result<Call, Failure> {
    post("/api/devices".to_owned(), request)
}

/// Asks where the device stands.
pub fn registration_status(device_id: Uuid) -> Call {
    Call::get(format!("/api/devices/{device_id}/registration-status"))
}

/// Claims the API key of an approved device.
pub fn claim_api_key(device_id: Uuid) -> Call {
    Call::post_empty(format!("/api/devices/{device_id}/api-key/claim"))
}

/// Asks for a new certificate.
pub fn issue_certificate(device_id: Uuid, request: &RequestCertificate) -> Result<Call, Failure> {
    post(format!("/api/certificates/{device_id}/issue"), request)
}

/// Asks for the successor of a certificate.
pub fn renew_certificate(serial_number: &str, request: &RequestCertificate) -> Result<Call, Failure> {
    post(format!("/api/certificates/{serial_number}/renew"), request)
}

/// Asks for a successor of the device's API key.
pub fn rotate_api_key(device_id: Uuid) -> Call {
    Call::post_empty(format!("/api/devices/{device_id}/rotate-api-key"))
}

/// Asks when to renew a certificate.
pub fn renewal_info(serial_number: &str) -> Call {
    Call::get(format!("/api/certificates/{serial_number}/renewal-info"))
}

/// Tells the server that the device is alive.
pub fn heartbeat(device_id: Uuid) -> Result<Call, Failure> {
    let heartbeat = Heartbeat { agent_version: env!("CARGO_PKG_VERSION"), status: "Running" };
    post(format!("/api/devices/{device_id}/heartbeat"), &heartbeat)
}

fn post<B: Serialize>(path: String, body: &B) -> Result<Call, Failure> {
    Call::post(path, body).map_err(|error| Failure::system("cannot write a request as JSON", error))
}
