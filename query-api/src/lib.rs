//! The HTTP routes that only read, and the documentation of all routes. Nothing here appends to the log.

pub mod admin_tokens;
pub mod authentication_logs;
pub mod certificate_authorities;
pub mod certificates;
pub mod devices;
pub mod documentation;
pub mod events;
pub mod listing;
pub mod parameters;
mod reading;
pub mod registration_tokens;
mod state;
pub mod tagged;
pub mod usage;

pub use documentation::{describe, documentation};
pub use state::{AuthorityCertificate, CaCertificates, Parts, QueryApi};

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// All routes of this crate, with their documentation.
pub fn router(state: QueryApi) -> OpenApiRouter {
    all_routes().with_state(state)
}

/// The one route of this crate that whoever checks a certificate reads, as it stands on the plain listener too.
pub fn pki_router(state: QueryApi) -> Router {
    OpenApiRouter::new()
        .routes(routes!(certificates::ca::get_ca_certificate))
        .routes(routes!(certificates::ca::get_ca_certificate_of_authority))
        .with_state(state)
        .split_for_parts()
        .0
}

/// The documentation of this crate's routes, without anything to serve them from.
pub fn openapi() -> utoipa::openapi::OpenApi {
    all_routes().into_openapi()
}

fn all_routes() -> OpenApiRouter<QueryApi> {
    OpenApiRouter::new()
        .routes(routes!(registration_tokens::list::list_registration_tokens))
        .routes(routes!(devices::list::list_devices))
        .routes(routes!(devices::by_status::list_devices_by_status))
        .routes(routes!(devices::get::get_device))
        .routes(routes!(devices::registration_status::get_registration_status))
        .routes(routes!(devices::history::get_device_history))
        .routes(routes!(usage::of_device::get_device_usage))
        .routes(routes!(certificates::list::list_certificates))
        .routes(routes!(certificates::ca::get_ca_certificate))
        .routes(routes!(certificates::ca::get_ca_certificate_of_authority))
        .routes(routes!(certificates::get::get_certificate))
        .routes(routes!(certificates::of_device::list_certificates_of_device))
        .routes(routes!(certificates::renewal_info::get_renewal_info))
        .routes(routes!(authentication_logs::list::list_authentication_logs))
        .routes(routes!(authentication_logs::export::export_authentication_logs))
        .routes(routes!(usage::by_day::get_usage))
        .routes(routes!(events::list::list_events))
        .routes(routes!(admin_tokens::list_admin_token_revocations))
        .routes(routes!(certificate_authorities::list_certificate_authorities))
}
