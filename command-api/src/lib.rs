//! The HTTP routes that change things: each handler extracts, executes, maps. The rules live in the domain.

mod admin_tokens;
mod api_keys;
pub mod authorities;
mod certificates;
mod command;
mod crl;
mod devices;
mod est;
mod idempotency;
mod ocsp;
mod quotas;
mod registration_tokens;
mod service_certificates;
mod state;
mod withdrawals;

pub use certificates::issuance::abandon_open_intents;
pub use crl::{CrlError, CrlPolicy, CrlPublisher, CrlStatus, PublishedCrls};
pub use ocsp::{OcspParts, OcspResponder, OcspSettings, ocsp_routes};
pub use service_certificates::{IntentError, ServiceCertificate, ServiceIntent, intend_service_certificate};
pub use state::{CommandApi, CommandPolicy, Parts};

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// All routes of this crate, with their documentation.
pub fn router(state: CommandApi) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(registration_tokens::create::create_registration_token))
        .routes(routes!(registration_tokens::revoke::revoke_registration_token))
        .routes(routes!(devices::register::register_device))
        .routes(routes!(devices::decide::approve_device))
        .routes(routes!(devices::decide::reject_device))
        .routes(routes!(devices::decide::suspend_device))
        .routes(routes!(devices::decide::reinstate_device))
        .routes(routes!(devices::decide::decommission_device))
        .routes(routes!(devices::bulk::decide_devices))
        .routes(routes!(devices::rename::rename_device))
        .routes(routes!(devices::heartbeat::heartbeat))
        .routes(routes!(api_keys::claim::claim_api_key))
        .routes(routes!(api_keys::rotate::rotate_api_key))
        .routes(routes!(api_keys::revoke::revoke_api_key))
        .routes(routes!(est::authorities::get_est_ca_certificates))
        .routes(routes!(est::attributes::get_est_csr_attributes))
        .routes(routes!(est::enrol::enrol_over_est))
        .routes(routes!(est::reenrol::reenrol_over_est))
        .routes(routes!(est::server_key::generate_key_over_est))
        .routes(routes!(certificates::issue::issue_certificate))
        .routes(routes!(certificates::renew::renew_certificate))
        .routes(routes!(certificates::revoke::revoke_certificate))
        .routes(routes!(certificates::request_renewal::request_renewal))
        .routes(routes!(certificates::bulk_revoke::revoke_certificates))
        .routes(routes!(certificates::import::import_certificates))
        .routes(routes!(admin_tokens::revoke_admin_tokens))
        .routes(routes!(authorities::prepare::prepare_certificate_authority))
        .routes(routes!(authorities::activate::activate_certificate_authority))
        .routes(routes!(authorities::retire::retire_certificate_authority))
        .merge(pki_routes())
        .with_state(state)
}

/// The routes that whoever checks a certificate reads, as they stand on the plain listener too.
pub fn pki_router(state: CommandApi) -> Router {
    pki_routes().with_state(state).split_for_parts().0
}

fn pki_routes() -> OpenApiRouter<CommandApi> {
    OpenApiRouter::new()
        .routes(routes!(crl::get_crl))
        .routes(routes!(crl::get_delta_crl))
        .routes(routes!(crl::get_crl_of_authority))
        .routes(routes!(crl::get_delta_crl_of_authority))
}
