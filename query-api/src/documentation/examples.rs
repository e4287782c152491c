//! What a request and an answer of each operation look like: the files of `docs/api/examples`, which tests hold against the
//! routes. A new body needs a file, and a row in [`TABLE`].

use serde_json::Value;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, RefOr};

macro_rules! example {
    ($name:literal) => {
        include_str!(concat!("../../../docs/api/examples/", $name, ".json"))
    };
}

/// An example, and where it belongs.
struct Row {
    operation_id: &'static str,
    /// Of an answer; a request has none.
    status: Option<&'static str>,
    title: &'static str,
    json: &'static str,
}

const TABLE: &[Row] = &[
    request("createRegistrationToken", "A request", example!("create-registration-token.request")),
    answer("createRegistrationToken", "201", "An answer", example!("create-registration-token.response")),
    answer("listRegistrationTokens", "200", "An answer", example!("list-registration-tokens.response")),
    request("revokeRegistrationToken", "A request", example!("revoke-registration-token.request")),
    request("registerDevice", "A request", example!("register-device.request")),
    answer("registerDevice", "201", "An answer", example!("register-device.response")),
    answer("getRegistrationStatus", "200", "Pending", example!("registration-status.pending.response")),
    answer("getRegistrationStatus", "200", "Approved", example!("registration-status.approved.response")),
    answer("getRegistrationStatus", "200", "Rejected", example!("registration-status.rejected.response")),
    answer("listDevices", "200", "An answer", example!("list-devices.response")),
    answer("listDevicesByStatus", "200", "An answer", example!("list-devices.response")),
    answer("getDevice", "200", "An answer", example!("get-device.response")),
    request("renameDevice", "A request", example!("rename-device.request")),
    answer("renameDevice", "200", "An answer", example!("rename-device.response")),
    request("approveDevice", "A request", example!("approve-device.request")),
    answer("approveDevice", "200", "An answer", example!("approve-device.response")),
    request("rejectDevice", "A request", example!("reject-device.request")),
    answer("rejectDevice", "200", "An answer", example!("reject-device.response")),
    request("suspendDevice", "A request", example!("suspend-device.request")),
    answer("suspendDevice", "200", "An answer", example!("suspend-device.response")),
    request("reinstateDevice", "A request", example!("reinstate-device.request")),
    answer("reinstateDevice", "200", "An answer", example!("reinstate-device.response")),
    request("decommissionDevice", "A request", example!("decommission-device.request")),
    answer("decommissionDevice", "200", "An answer", example!("decommission-device.response")),
    request("decideDevices", "A request", example!("decide-devices.request")),
    answer("decideDevices", "200", "An answer", example!("decide-devices.response")),
    answer("getDeviceHistory", "200", "An answer", example!("get-device-history.response")),
    answer("getDeviceUsage", "200", "An answer", example!("get-device-usage.response")),
    request("heartbeat", "A request", example!("heartbeat.request")),
    answer("heartbeat", "200", "An answer", example!("heartbeat.response")),
    answer("heartbeat", "403", "Not approved", example!("problem.device-not-approved")),
    request("claimApiKey", "A request", example!("claim-api-key.request")),
    answer("claimApiKey", "200", "An answer", example!("claim-api-key.response")),
    request("rotateApiKey", "A request", example!("rotate-api-key.request")),
    answer("rotateApiKey", "200", "An answer", example!("rotate-api-key.response")),
    request("revokeApiKey", "A request", example!("revoke-api-key.request")),
    request("issueCertificate", "Own key", example!("issue-certificate.request")),
    request("issueCertificate", "Server's key", example!("issue-certificate.server-key.request")),
    answer("issueCertificate", "201", "An answer", example!("issue-certificate.response")),
    request("renewCertificate", "A request", example!("renew-certificate.request")),
    answer("renewCertificate", "200", "An answer", example!("renew-certificate.response")),
    answer("renewCertificate", "201", "An answer", example!("renew-certificate.response")),
    answer("renewCertificate", "401", "Revoked", example!("problem.certificate-revoked")),
    answer("renewCertificate", "409", "Too early", example!("problem.certificate-not-renewable")),
    request("revokeCertificate", "A request", example!("revoke-certificate.request")),
    request("importCertificates", "A request", example!("import-certificates.request")),
    answer("importCertificates", "200", "An answer", example!("import-certificates.response")),
    request("revokeCertificates", "A request", example!("revoke-certificates.request")),
    answer("revokeCertificates", "200", "An answer", example!("revoke-certificates.response")),
    answer("revokeCertificates", "202", "So far", example!("revoke-certificates.accepted.response")),
    answer("listCertificates", "200", "An answer", example!("list-certificates.response")),
    answer("listCertificatesOfDevice", "200", "An answer", example!("list-certificates.response")),
    answer("getCertificate", "200", "An answer", example!("get-certificate.response")),
    request("requestRenewal", "A tenant's certificates of an old authority", example!("request-renewal.request")),
    answer("requestRenewal", "200", "An answer", example!("request-renewal.response")),
    answer("getRenewalInfo", "200", "An answer", example!("get-renewal-info.response")),
    answer("listAuthenticationLogs", "200", "An answer", example!("list-authentication-logs.response")),
    answer("getUsage", "200", "An answer", example!("get-usage.response")),
    answer("listEvents", "200", "An answer", example!("list-events.response")),
    request("prepareCertificateAuthority", "A request", example!("prepare-certificate-authority.request")),
    answer("prepareCertificateAuthority", "201", "An answer", example!("prepare-certificate-authority.response")),
    request("activateCertificateAuthority", "A request", example!("activate-certificate-authority.request")),
    answer("activateCertificateAuthority", "200", "An answer", example!("activate-certificate-authority.response")),
    request("retireCertificateAuthority", "A request", example!("retire-certificate-authority.request")),
    answer("retireCertificateAuthority", "200", "An answer", example!("retire-certificate-authority.response")),
    answer("listCertificateAuthorities", "200", "An answer", example!("list-certificate-authorities.response")),
    request("revokeAdminTokens", "A single token", example!("revoke-admin-tokens.one.request")),
    request("revokeAdminTokens", "All issued before a moment", example!("revoke-admin-tokens.all.request")),
    answer("listAdminTokenRevocations", "200", "An answer", example!("list-admin-token-revocations.response")),
];

/// What every route answers to a malformed request.
const MALFORMED: (&str, &str) = ("400", example!("problem.invalid-request"));

const fn request(operation_id: &'static str, title: &'static str, json: &'static str) -> Row {
    Row { operation_id, status: None, title, json }
}

const fn answer(operation_id: &'static str, status: &'static str, title: &'static str, json: &'static str) -> Row {
    Row { operation_id, status: Some(status), title, json }
}

/// Gives an operation its examples.
pub(super) fn attach(operation: &mut Operation) {
    let id = operation.operation_id.clone().unwrap_or_default();
    for row in TABLE.iter().filter(|row| row.operation_id == id) {
        match row.status {
            None => {
                if let Some(RefOr::T(body)) = &mut operation.request_body {
                    add(body.content.values_mut(), row.title, row.json);
                }
            }
            Some(status) => add_to_answer(operation, status, row.title, row.json),
        }
    }
    let (status, json) = MALFORMED;
    add_to_answer(operation, status, "Malformed", json);
}

fn add_to_answer(operation: &mut Operation, status: &str, title: &str, json: &str) {
    if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) {
        add(response.content.values_mut(), title, json);
    }
}

fn add<'a>(contents: impl Iterator<Item = &'a mut RefOr<Content>>, title: &str, json: &str) {
    // The files are JSON: a test reads every one of them out of the served document.
    let Ok(value) = serde_json::from_str::<Value>(json) else { return };
    for content in contents {
        if let RefOr::T(content) = content {
            let example = ExampleBuilder::new().summary(title).value(Some(value.clone())).build();
            content.examples.insert(title.to_owned(), RefOr::T(example));
        }
    }
}
