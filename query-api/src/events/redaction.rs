//! Takes out of an event's payload what verifies a secret. Nobody needs it to understand what happened, and whoever has it
//! could try guesses against it.

use serde_json::{Map, Value};

const REDACTED: &str = "[redacted]";

/// The payload without the verifier's hash and MAC and without the claim secret's digest. Only these places: a device may
/// well tell its `mac` address in its metadata.
pub(crate) fn redact(mut data: Value) -> Value {
    if let Some(members) = data.as_object_mut() {
        replace(members, "claimSecretSha256");
        if let Some(verifier) = members.get_mut("verifier").and_then(Value::as_object_mut) {
            replace(verifier, "bcrypt");
            replace(verifier, "mac");
        }
    }
    data
}

fn replace(members: &mut Map<String, Value>, name: &str) {
    if let Some(member) = members.get_mut(name) {
        *member = Value::from(REDACTED);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    #[test]
    fn verifiers_go_and_everything_else_stays() {
        let data = json!({
            "verifier": {"bcrypt": "$2b$12$x", "mac": "00", "macKeyId": "k"},
            "claimSecretSha256": "11",
            "metadata": {"mac": "aa:bb:cc:dd:ee:ff", "verifier": {"mac": "x"}},
        });
        let shown = json!({
            "verifier": {"bcrypt": "[redacted]", "mac": "[redacted]", "macKeyId": "k"},
            "claimSecretSha256": "[redacted]",
            "metadata": {"mac": "aa:bb:cc:dd:ee:ff", "verifier": {"mac": "x"}},
        });
        assert_eq!(redact(data), shown);
        assert_eq!(redact(json!([1])), json!([1]));
    }

    /// Every payload that was ever written, searched for what a verifier looks like.
    #[test]
    fn no_recorded_payload_shows_a_verifier() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/tests/golden");
        let mut redacted = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let shown = redact(serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()).to_string();
            redacted += shown.matches(REDACTED).count();
            assert!(!shown.contains("$2b$"), "{}", path.display());
            for (name, _) in shown.match_indices("\"mac\":").chain(shown.match_indices("\"claimSecretSha256\":")) {
                let value = shown[name..].split_once(':').unwrap().1;
                assert!(value.starts_with("\"[redacted]\"") || shown.contains("\"metadata\""), "{}", path.display());
            }
        }
        // Two places in each of two verifiers, one claim secret in two events; each with and without optional fields.
        assert!(redacted >= 6, "{redacted}");
    }
}
