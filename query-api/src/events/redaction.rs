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

    /// The members of these names, wherever they stand but in a device's own words.
    fn verifiers<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
        for (name, member) in value.as_object().into_iter().flatten().filter(|(name, _)| *name != "metadata") {
            if ["claimSecretSha256", "bcrypt", "mac"].contains(&name.as_str()) {
                found.push(member);
            }
            verifiers(member, found);
        }
    }

    #[test]
    fn no_payload_that_was_ever_recorded_shows_a_verifier() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/tests/golden");
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut count = 0;
        for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
            let shown = redact(serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap());
            let mut found = vec![];
            verifiers(&shown, &mut found);
            assert!(found.iter().all(|member| **member == REDACTED), "{}", path.display());
            assert!(!shown.to_string().contains("$2b$"), "{}", path.display());
            count += found.len();
        }
        assert!(count >= 6, "two in each event with a verifier, one in each with a claim secret; found {count}");
    }
}
