//! `GET /api/certificates/{serialNumber}/renewal-info`

use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use axum::response::IntoResponse;
use serde::Serialize;
use signalbeam_authn::http::extract::{PathParameter, QueryParameters};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_domain::certificate::Standing;
use signalbeam_domain::{SerialNumber, Timestamp};
use signalbeam_projections::CertificateEntry;
use utoipa::ToSchema;

use crate::parameters::AsOf;
use crate::state::QueryApi;

/// When to ask again (RFC 9773, section 4.3): six hours, so that a changed window is known in time.
const RETRY_AFTER_SECONDS: u64 = 6 * 60 * 60;

/// When to renew a certificate: the shape of RFC 9773, section 4.2.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewalInfo {
    /// Renew at a random moment in here; at once where it lies in the past.
    suggested_window: SuggestedWindow,
}

/// A span of time.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SuggestedWindow {
    /// Its first moment.
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    /// Its end.
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
}

impl SuggestedWindow {
    /// From the first moment at which it may be renewed until a third of that time is left, for those who meet trouble. What
    /// was superseded or revoked is to be replaced at once, so its window is over.
    fn of(certificate: &CertificateEntry, renewable_from: Timestamp) -> Self {
        let (start, until) = match certificate.standing {
            Standing::Active => (renewable_from, certificate.not_after),
            Standing::Superseded { .. } | Standing::Revoked => {
                (certificate.not_before, certificate.not_before.plus_seconds(3))
            }
        };
        // A certificate that lives shorter than the window leaves a third of its life.
        let usable_from = start.max(certificate.not_before);
        let reserve_seconds = (until.unix_seconds() - usable_from.unix_seconds()) / 3;
        Self { start, end: until.plus_seconds(-reserve_seconds) }
    }
}

/// Get the renewal information of a certificate.
///
/// When to renew it, in the shape of RFC 9773. Public: whoever knows a serial number learns no more than the certificate
/// itself says.
#[utoipa::path(
    get, path = "/api/certificates/{serialNumber}/renewal-info", tag = "Certificates", operation_id = "getRenewalInfo",
    params(("serialNumber" = String, Path, description = "40 hex digits"), AsOf),
    responses(
        (status = 200, body = RenewalInfo, description = "When to renew; `Retry-After` says when to ask again"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`"),
    ),
    security(()),
)]
pub async fn get_renewal_info(
    State(api): State<QueryApi>,
    PathParameter(serial_number): PathParameter<SerialNumber>,
    QueryParameters(query): QueryParameters<AsOf>,
) -> Result<impl IntoResponse, Problem> {
    api.settle_index_for_strangers(query.min_position).await?;
    let found = api.index.certificate_by_serial(serial_number);
    let certificate = found.ok_or_else(|| Problem::not_found("certificate"))?;
    let suggested_window = SuggestedWindow::of(&certificate, api.renewable_from(&certificate));
    Ok(([(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))], Json(RenewalInfo { suggested_window })))
}
