//! The JSON examples that the server's tests hold themselves to as well.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

macro_rules! example {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!("../../../docs/api/examples/", $name, ".json"))).unwrap()
    };
}

/// The device of all examples.
pub(crate) const DEVICE_ID: &str = "0198c5a0-7a3b-7c1e-9f00-3b1a2c4d5e6f";
/// Its tenant.
pub(crate) const TENANT_ID: &str = "00000000-0000-0000-0000-000000000001";

pub(crate) fn register_request() -> Value {
    example!("register-device.request")
}

/// The answer to a registration, with the claim secret that the device sent.
pub(crate) fn registered(claim_secret: &Value) -> Value {
    with(example!("register-device.response"), &[("claimSecret", claim_secret.clone())])
}

pub(crate) fn pending() -> Value {
    example!("registration-status.pending.response")
}

pub(crate) fn rejected() -> Value {
    example!("registration-status.rejected.response")
}

/// Approved, with an API key that lasts until then.
pub(crate) fn approved(key_end: OffsetDateTime) -> Value {
    with(example!("registration-status.approved.response"), &[("apiKeyExpiresAt", rfc3339(key_end))])
}

/// The example's API key, lasting until then.
pub(crate) fn claimed(key_end: OffsetDateTime) -> Value {
    with(example!("claim-api-key.response"), &[("expiresAt", rfc3339(key_end))])
}

pub(crate) fn issue_request() -> Value {
    example!("issue-certificate.request")
}

pub(crate) fn issue_server_key_request() -> Value {
    example!("issue-certificate.server-key.request")
}

/// The answer to an issuance around a certificate made now.
pub(crate) fn issued(certificate_pem: &str, ca_pem: &str) -> Value {
    let fields = [("certificatePem", json!(certificate_pem)), ("caCertificatePem", json!(ca_pem))];
    with(example!("issue-certificate.response"), &fields)
}

pub(crate) fn renew_request() -> Value {
    example!("renew-certificate.request")
}

/// The answer to a renewal around a certificate made now.
pub(crate) fn renewed(certificate_pem: &str, ca_pem: &str) -> Value {
    let fields = [("certificatePem", json!(certificate_pem)), ("caCertificatePem", json!(ca_pem))];
    with(example!("renew-certificate.response"), &fields)
}

pub(crate) fn heartbeat_request() -> Value {
    example!("heartbeat.request")
}

/// The answer to a heartbeat.
pub(crate) fn heartbeat(renewal_required: bool) -> Value {
    let mut answer = example!("heartbeat.response");
    answer["certificate"]["renewalRequired"] = json!(renewal_required);
    answer
}

pub(crate) fn not_renewable(renewable_from: OffsetDateTime) -> Value {
    with(example!("problem.certificate-not-renewable"), &[("renewableFrom", rfc3339(renewable_from))])
}

/// A problem of another code, in the form of the examples.
pub(crate) fn problem(status: u16, code: &str) -> Value {
    with(example!("problem.certificate-revoked"), &[("status", json!(status)), ("code", json!(code))])
}

pub(crate) fn invalid_request() -> Value {
    example!("problem.invalid-request")
}

/// Both objects have the same names, and under each the same kind of value.
pub(crate) fn assert_same_shape(sent: &Value, example: &Value) {
    let shape = |value: &Value| -> Vec<(String, std::mem::Discriminant<Value>)> {
        let object = value.as_object().expect("a JSON object");
        object.iter().map(|(name, value)| (name.clone(), std::mem::discriminant(value))).collect()
    };
    assert_eq!(shape(sent), shape(example), "{sent} against {example}");
}

fn rfc3339(at: OffsetDateTime) -> Value {
    json!(at.format(&Rfc3339).unwrap())
}

fn with(mut value: Value, fields: &[(&str, Value)]) -> Value {
    for (name, field) in fields {
        value[*name] = field.clone();
    }
    value
}
