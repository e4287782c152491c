//! The examples of `docs/api/examples`, and what it means that an answer looks like one. The tests of the routes that only
//! read include this file too.

use std::path::{Path, PathBuf};

use serde_json::Value;
use signalbeam_domain::{ApiKey, ClaimSecret, Fingerprint, Prefix, RegistrationToken, SerialNumber, Timestamp};

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api/examples")
}

pub(crate) fn example(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}")))
        .unwrap()
}

/// What kind of text it is.
pub(crate) fn kind(text: &str) -> &'static str {
    if Timestamp::parse(text).is_ok() {
        "time"
    } else if uuid(text) {
        "id"
    } else if SerialNumber::from_hex(text).is_ok() {
        "serial number"
    } else if text.starts_with("SHA256:") && Fingerprint::parse(text).is_ok() {
        "fingerprint"
    } else if ApiKey::parse(text).is_ok() {
        "API key"
    } else if ClaimSecret::parse(text).is_ok() {
        "claim secret"
    } else if RegistrationToken::parse(text).is_ok() {
        "token"
    } else if Prefix::parse(text).is_ok() {
        "prefix"
    } else if text.starts_with("-----BEGIN CERTIFICATE-----\n") && text.ends_with("-----END CERTIFICATE-----\n") {
        "certificate"
    } else {
        "text"
    }
}

fn uuid(text: &str) -> bool {
    signalbeam_domain::DeviceId::parse(text).is_ok()
}

/// The same names, with the same kinds of values under them.
#[track_caller]
pub(crate) fn assert_same_shape(answered: &Value, example: &Value) {
    match (answered, example) {
        (Value::Object(a), Value::Object(b)) => {
            assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{answered} against {example}");
            a.iter().for_each(|(name, value)| assert_same_shape(value, &b[name]));
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{answered} against {example}");
            a.iter().zip(b).for_each(|(a, b)| assert_same_shape(a, b));
        }
        (Value::String(a), Value::String(b)) => assert_eq!(kind(a), kind(b), "{a} against {b}"),
        (a, b) => assert_eq!(std::mem::discriminant(a), std::mem::discriminant(b), "{a} against {b}"),
    }
}
