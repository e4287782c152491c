//! `GET /api/certificate-authorities`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use signalbeam_authn::http::extract::QueryParameters;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, ErrorCode, Permission};
use signalbeam_domain::authority::AuthorityStatus;
use signalbeam_domain::{AuthorityId, Fingerprint, SerialNumber, Timestamp};
use signalbeam_projections::authorities::{KnownAuthority, known_authorities};
use utoipa::ToSchema;

use crate::parameters::AsOf;
use crate::reading::store_unavailable;
use crate::state::QueryApi;

/// A certificate authority.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShownAuthority {
    /// Its id, derived from its certificate.
    #[schema(value_type = Uuid)]
    authority_id: AuthorityId,
    /// `Prepared`: devices learn to trust it, it signs nothing for them yet; `Active`: it signs; `Rotated`: another one
    /// signs, what it signed still counts; `Retired`: it is trusted no longer.
    #[schema(value_type = String, example = "Active")]
    status: &'static str,
    /// The authority that signed its certificate; absent for a root.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    issuer_id: Option<AuthorityId>,
    /// Its subject.
    subject: String,
    /// 40 lower-case hex digits.
    #[schema(value_type = String)]
    serial_number: SerialNumber,
    /// `SHA256:` and 64 upper-case hex digits.
    #[schema(value_type = String)]
    fingerprint: Fingerprint,
    /// Such as `rsa-2048`.
    key_type: String,
    /// Where among the installation's keys its own is.
    key_slot: String,
    /// The first moment of its validity.
    #[schema(value_type = String, format = DateTime)]
    not_before: Timestamp,
    /// The last moment of its validity.
    #[schema(value_type = String, format = DateTime)]
    not_after: Timestamp,
    /// When it came into being.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Since when another one signs in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    rotated_at: Option<Timestamp>,
    /// How many certificates of devices, signed by it, are active and have not expired. It can be retired at 0.
    live_certificates: u64,
    /// Its certificate, PEM.
    certificate_pem: String,
}

impl ShownAuthority {
    fn new(known: KnownAuthority, live_certificates: u64) -> Self {
        let created = known.created;
        Self {
            authority_id: created.authority_id,
            status: match known.status {
                AuthorityStatus::Prepared => "Prepared",
                AuthorityStatus::Active => "Active",
                AuthorityStatus::Rotated => "Rotated",
                AuthorityStatus::Retired => "Retired",
            },
            issuer_id: created.issuer_id,
            subject: created.subject,
            serial_number: created.serial_number,
            fingerprint: created.fingerprint,
            key_type: created.key_type,
            key_slot: created.key_slot.unwrap_or_else(|| "main".to_owned()),
            not_before: created.not_before,
            not_after: created.not_after,
            created_at: known.created_at,
            rotated_at: known.rotated_at,
            live_certificates,
            certificate_pem: created.certificate_pem,
        }
    }
}

/// All certificate authorities.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShownAuthorities {
    /// In the order in which they came into being. There are few, so that all are on this page.
    items: Vec<ShownAuthority>,
    /// Always absent.
    next_cursor: Option<String>,
}

/// List the certificate authorities.
///
/// Those that sign, those that did and are still trusted, those that are prepared, and those that are trusted no longer;
/// with how many devices still live by each.
#[utoipa::path(
    get, path = "/api/certificate-authorities", tag = "Certificate authorities", operation_id = "listCertificateAuthorities",
    params(AsOf),
    responses(
        (status = 200, body = ShownAuthorities, description = "The authorities"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`: the admin is confined to a tenant"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `STORE_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub async fn list_certificate_authorities(
    State(api): State<QueryApi>,
    Admin(admin): Admin,
    QueryParameters(query): QueryParameters<AsOf>,
) -> Result<Json<ShownAuthorities>, Problem> {
    admin.require(Permission::Read)?;
    if admin.tenant_id.is_some() {
        return Err(Problem::new(
            ErrorCode::Forbidden,
            "authorities belong to no tenant; the token is confined to one",
        ));
    }
    api.settle(query.min_position).await?;
    let known = known_authorities(&*api.events).await.map_err(|error| store_unavailable(&error))?;
    let mut items = Vec::with_capacity(known.len());
    for authority in known {
        let counted = api.read_model.live_certificates_of_authority(authority.created.authority_id, api.now()).await;
        items.push(ShownAuthority::new(authority, counted.map_err(|error| store_unavailable(&error))?));
    }
    Ok(Json(ShownAuthorities { items, next_cursor: None }))
}
