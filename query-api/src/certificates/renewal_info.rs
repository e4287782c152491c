//! `GET /api/certificates/{serialNumber}/renewal-info`

use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use axum::response::IntoResponse;
use serde::Serialize;
use signalbeam_authn::http::extract::{PathParameter, QueryParameters};
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_domain::certificate::{RenewalWindow, Standing, renewable_from};
use signalbeam_domain::{SerialNumber, Timestamp};
use signalbeam_projections::{CertificateEntry, CertificateType};
use utoipa::ToSchema;

use crate::parameters::AsOf;
use crate::reading::store_unavailable;
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

/// What the window of a certificate depends on.
struct Life {
    not_before: Timestamp,
    not_after: Timestamp,
    is_active: bool,
    /// The moment from which its end demands that it is renewed.
    renewable_from: Timestamp,
    /// When it should be renewed earlier than that.
    early: Option<RenewalWindow>,
}

impl SuggestedWindow {
    /// From the first moment at which it may be renewed until a third of that time is left, for those who meet trouble; or
    /// what was asked for, where that begins earlier. What was superseded or revoked is to be replaced at once, so its window
    /// is over.
    fn of(life: &Life) -> Self {
        if !life.is_active {
            return Self::before(life.not_before, life.not_before, life.not_before.plus_seconds(3));
        }
        let regular = Self::before(life.not_before, life.renewable_from, life.not_after);
        match life.early {
            Some(early) if early.start < regular.start => {
                Self { start: early.start.max(life.not_before), end: early.end.min(regular.end) }
            }
            _ => regular,
        }
    }

    /// A certificate that lives shorter than the window leaves a third of its life.
    fn before(not_before: Timestamp, start: Timestamp, until: Timestamp) -> Self {
        let usable_from = start.max(not_before);
        let reserve_seconds = (until.unix_seconds() - usable_from.unix_seconds()) / 3;
        Self { start, end: until.plus_seconds(-reserve_seconds) }
    }
}

/// Get the renewal information of a certificate.
///
/// When to renew it, in the shape of RFC 9773: for every certificate that was ever issued to a device, whatever became of it.
/// Ask again after `Retry-After`: an admin may have asked the fleet to renew early. Public: whoever knows a serial number learns no more than the certificate
/// itself says.
#[utoipa::path(
    get, path = "/api/certificates/{serialNumber}/renewal-info", tag = "Certificates", operation_id = "getRenewalInfo",
    params(("serialNumber" = String, Path, description = "40 hex digits"), AsOf),
    responses(
        (status = 200, body = RenewalInfo, description = "When to renew; `Retry-After` says when to ask again"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 404, body = ProblemBody, description = "`NOT_FOUND`"),
        (status = 503, body = ProblemBody, description = "`PROJECTION_BEHIND`, `STORE_UNAVAILABLE`"),
    ),
    security(()),
)]
pub async fn get_renewal_info(
    State(api): State<QueryApi>,
    PathParameter(serial_number): PathParameter<SerialNumber>,
    QueryParameters(query): QueryParameters<AsOf>,
) -> Result<impl IntoResponse, Problem> {
    api.settle_index_for_strangers(query.min_position).await?;
    let life = match api.index.certificate_by_serial(serial_number) {
        Some(entry) => api.life_of(&entry),
        None => api.life_of_forgotten(serial_number).await?,
    };
    let suggested_window = SuggestedWindow::of(&life);
    Ok(([(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))], Json(RenewalInfo { suggested_window })))
}

impl QueryApi {
    fn life_of(&self, entry: &CertificateEntry) -> Life {
        Life {
            not_before: entry.not_before,
            not_after: entry.not_after,
            is_active: entry.standing == Standing::Active,
            renewable_from: renewable_from(entry.not_after, self.renewal_window_days),
            early: self.index.early_renewal(entry),
        }
    }

    /// What ended long ago only the tables know.
    async fn life_of_forgotten(&self, serial_number: SerialNumber) -> Result<Life, Problem> {
        let found = self.read_model.certificate(None, serial_number).await;
        let row = found.map_err(|error| store_unavailable(&error))?.filter(|row| row.kind == CertificateType::Device);
        let row = row.ok_or_else(|| Problem::not_found("certificate"))?;
        Ok(Life {
            not_before: row.not_before,
            not_after: row.expires_at,
            is_active: row.standing == Standing::Active,
            renewable_from: renewable_from(row.expires_at, self.renewal_window_days),
            early: row.renewal_requested,
        })
    }
}
