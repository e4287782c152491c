//! `GET /api/devices/{id}/registration-status`

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::request::Parts;
use serde::Serialize;
use signalbeam_authn::extractors::PresentedClaim;
use signalbeam_authn::http::extract::{PathParameter, QueryParameters};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Authenticator, Caller, Permission, RequestContext};
use signalbeam_domain::device::{Device, KnownDevice};
use signalbeam_domain::{DeviceId, DeviceName, DeviceStatus, Reason, SerialNumber, StreamId, TenantId, Timestamp};
use signalbeam_projections::load;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::parameters::AsOf;
use crate::reading::store_unavailable;
use crate::state::QueryApi;

/// Where a device stands, and what it authenticates by.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationStatus {
    /// The device.
    #[schema(value_type = Uuid)]
    device_id: DeviceId,
    /// Its tenant.
    #[schema(value_type = Uuid)]
    tenant_id: TenantId,
    /// Its name.
    #[schema(value_type = String)]
    device_name: DeviceName,
    /// Where it stands.
    #[schema(value_type = String, example = "Pending")]
    status: DeviceStatus,
    /// Why it was rejected, where the admin said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    rejection_reason: Option<Reason>,
    /// When its API key ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    api_key_expires_at: Option<Timestamp>,
    /// Its active certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<StatusCertificate>,
}

/// The active certificate, and whether to renew it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusCertificate {
    /// Its serial number.
    #[schema(value_type = String)]
    serial_number: SerialNumber,
    /// The last moment of its validity.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Whether it is in its renewal window.
    renewal_required: bool,
}

/// Who follows a registration.
pub enum Follower {
    /// Whoever presents the device's claim secret.
    Claimant(Zeroizing<String>),
    /// An admin, or the device itself.
    Caller(Caller),
}

impl<S> FromRequestParts<S> for Follower
where
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let PresentedClaim(claim) = PresentedClaim::from_request_parts(parts, state).await?;
        match claim {
            Some(secret) => Ok(Self::Claimant(secret)),
            None => Caller::from_request_parts(parts, state).await.map(Self::Caller),
        }
    }
}

/// Follow a device's registration.
///
/// Answered from the log itself: what an admin decided a moment ago is seen. Whoever registered the device asks with its
/// claim secret as bearer token, an approved device with its credential, an admin in any role.
#[utoipa::path(
    get, path = "/api/devices/{id}/registration-status", tag = "Devices", operation_id = "getRegistrationStatus",
    params(("id" = Uuid, Path, description = "The device"), AsOf),
    responses(
        (status = 200, body = RegistrationStatus, description = "Where it stands"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`INVALID_CLAIM_SECRET`, `AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`, or the device credential's code"),
        (status = 403, body = ProblemBody, description = "`DEVICE_NOT_APPROVED`: follow it with the claim secret"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`: unknown, another tenant's, or another device"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `STORE_UNAVAILABLE`, `AUTH_STATE_STALE`, `AUDIT_UNAVAILABLE`"),
    ),
    security(("claimSecret" = []), ("adminToken" = []), ("clientCertificate" = []), ("apiKey" = [])),
)]
pub async fn get_registration_status(
    State(api): State<QueryApi>,
    follower: Follower,
    context: RequestContext,
    PathParameter(id): PathParameter<DeviceId>,
    QueryParameters(query): QueryParameters<AsOf>,
) -> Result<Json<RegistrationStatus>, Problem> {
    let device = match follower {
        Follower::Claimant(secret) => api.authenticator.claimant(&context, id, &secret).await?.device,
        Follower::Caller(caller) => visible_device(&api, &caller, id).await?,
    };
    api.settle_index(query.min_position).await?;
    let certificate = api.index.active_certificate(id).map(|entry| StatusCertificate {
        serial_number: entry.serial_number,
        expires_at: entry.not_after,
        renewal_required: api.now() >= api.renewable_from(&entry),
    });
    Ok(Json(RegistrationStatus {
        device_id: id,
        tenant_id: device.registered.tenant_id,
        device_name: device.registered.device_name,
        status: device.status,
        rejection_reason: device.rejection_reason,
        api_key_expires_at: api.index.api_key_expiry(id),
        certificate,
    }))
}

async fn visible_device(api: &QueryApi, caller: &Caller, id: DeviceId) -> Result<KnownDevice, Problem> {
    caller.require(Permission::Read)?;
    if let Caller::Device(device) = caller {
        device.require_self(id)?;
    }
    // As its stream says it is right now; the tables may be a moment behind.
    let loaded = load::<Device>(&*api.events, &StreamId::device(id)).await;
    let (device, _) = loaded.map_err(|error| store_unavailable(&error))?;
    let confined_to = caller.tenant_id();
    let visible = device.known().filter(|known| confined_to.is_none_or(|own| own == known.registered.tenant_id));
    visible.cloned().ok_or_else(|| Problem::not_found("device"))
}
