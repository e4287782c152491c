//! The HTTP routes that change things: each handler extracts, executes, maps. The rules live in the domain.

mod admin_tokens;
mod api_keys;
pub mod authorities;
mod certificates;
mod command;
mod devices;
mod idempotency;
mod ocsp;
mod quotas;
mod registration_tokens;
mod service_certificates;
mod state;
mod withdrawals;

pub use certificates::issuance::abandon_open_intents;
pub use ocsp::{OcspParts, OcspResponder, OcspSettings, ocsp_routes};
pub use service_certificates::{IntentError, ServiceIntent, intend_service_certificate};
pub use state::{CommandApi, CommandPolicy, Parts};

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
        .routes(routes!(certificates::issue::issue_certificate))
        .routes(routes!(certificates::renew::renew_certificate))
        .routes(routes!(certificates::revoke::revoke_certificate))
        .routes(routes!(certificates::request_renewal::request_renewal))
        .routes(routes!(admin_tokens::revoke_admin_tokens))
        .routes(routes!(authorities::prepare::prepare_certificate_authority))
        .routes(routes!(authorities::activate::activate_certificate_authority))
        .routes(routes!(authorities::retire::retire_certificate_authority))
        .with_state(state)
}
