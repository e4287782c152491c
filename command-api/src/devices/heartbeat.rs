//! `POST /api/devices/{id}/heartbeat`

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use signalbeam_authn::Device;
use signalbeam_authn::http::extract::{JsonBody, PathParameter};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_domain::{DeviceId, SerialNumber, Timestamp};
use utoipa::ToSchema;

use crate::state::CommandApi;

/// The most characters of what a device says of itself.
const MAX_CHARACTERS: usize = 128;

/// What a device says with its heartbeat.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Heartbeat {
    /// The agent's version.
    #[schema(max_length = 128)]
    agent_version: Option<String>,
    /// How the device is, in its own words.
    #[schema(max_length = 128)]
    status: Option<String>,
}

/// What the device should know.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeartbeatReceived {
    /// When the heartbeat arrived.
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    /// The device's active certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<HeartbeatCertificate>,
    /// When its API key ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    api_key_expires_at: Option<Timestamp>,
}

/// The active certificate, and whether to renew it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeartbeatCertificate {
    /// Its serial number.
    #[schema(value_type = String)]
    serial_number: SerialNumber,
    /// The last moment of its validity.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Whether it is in its renewal window.
    renewal_required: bool,
}

/// Send a heartbeat.
///
/// Costs one row in the authentication log and no event. The answer tells the device what to renew.
#[utoipa::path(
    post, path = "/api/devices/{id}/heartbeat", tag = "Devices", operation_id = "heartbeat",
    params(("id" = Uuid, Path, description = "The device itself")),
    request_body = Option<Heartbeat>,
    responses(
        (status = 200, body = HeartbeatReceived, description = "It arrived"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "The certificate's or the API key's code"),
        (status = 403, body = ProblemBody, description = "`DEVICE_NOT_APPROVED`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`: another device's route"),
        (status = 503, body = ProblemBody, description = "`AUTH_STATE_STALE`, `AUDIT_UNAVAILABLE`"),
    ),
    security(("clientCertificate" = []), ("apiKey" = [])),
)]
pub(crate) async fn heartbeat(
    State(api): State<CommandApi>,
    Device(device): Device,
    PathParameter(id): PathParameter<DeviceId>,
    body: JsonBody<Heartbeat>,
) -> Result<Json<HeartbeatReceived>, Problem> {
    device.require_self(id)?;
    for (pointer, text) in [("/agentVersion", &body.value.agent_version), ("/status", &body.value.status)] {
        if text.as_ref().is_some_and(|text| text.chars().count() > MAX_CHARACTERS) {
            return Err(Problem::invalid(pointer, format!("must have at most {MAX_CHARACTERS} characters")));
        }
        if text.as_ref().is_some_and(|text| text.chars().any(char::is_control)) {
            return Err(Problem::invalid(pointer, "must not contain control characters"));
        }
    }
    tracing::debug!(device_id = %id, agent_version = ?body.value.agent_version, status = ?body.value.status, "heartbeat");
    let now = api.now();
    let certificate = api.index.active_certificate(id).map(|entry| HeartbeatCertificate {
        serial_number: entry.serial_number,
        expires_at: entry.not_after,
        renewal_required: now >= api.index.renewable_from(&entry, api.policy.renewal_window_days),
    });
    Ok(Json(HeartbeatReceived { received_at: now, certificate, api_key_expires_at: api.index.api_key_expiry(id) }))
}
