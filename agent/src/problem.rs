//! The server's error answers (RFC 9457) and what a person can do about each.

use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;

use crate::exit::Exit;

/// An error answer of the server.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The stable code, such as `CERTIFICATE_REVOKED`.
    pub code: String,
    /// The HTTP status of the answer.
    #[serde(default)]
    pub status: u16,
    /// The short name of the problem.
    pub title: Option<String>,
    /// What happened this time.
    pub detail: Option<String>,
    /// The id under which the server's logs know the request.
    pub correlation_id: Option<String>,
    /// When a certificate that may not be renewed now may be.
    #[serde(default, deserialize_with = "read_renewable_from")]
    pub renewable_from: RenewableFrom,
    /// Which fields of the request were wrong.
    #[serde(default)]
    pub errors: Vec<FieldProblem>,
    /// Seconds of the `Retry-After` header.
    #[serde(skip)]
    pub retry_after_seconds: Option<u64>,
}

/// What a refused renewal says of a later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RenewableFrom {
    /// Nothing: an administrator revoked the certificate, or the problem is another one.
    #[default]
    Unsaid,
    /// No window will open again, because the certificate is over or another one took its place: a new one may be issued.
    Never,
    /// Its window opens then.
    At(OffsetDateTime),
}

fn read_renewable_from<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RenewableFrom, D::Error> {
    time::serde::rfc3339::option::deserialize(deserializer).map(|at| at.map_or(RenewableFrom::Never, RenewableFrom::At))
}

/// One wrong field of a request.
#[derive(Clone, Debug, Deserialize)]
pub struct FieldProblem {
    /// A JSON pointer (RFC 6901) to the field.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Problem {
    /// Whether the server refused the certificate, so that an API key may still do.
    ///
    /// `AUTHENTICATION_REQUIRED` belongs here: a server that does not ask for certificates saw none.
    pub fn refuses_certificate(&self) -> bool {
        self.status == 401
            && (self.code.starts_with("CERTIFICATE_")
                || matches!(self.code.as_str(), "INVALID_CERTIFICATE_CHAIN" | "AUTHENTICATION_REQUIRED"))
    }

    /// Whether the server does not accept this very certificate any more, so that another one is needed. A server that asks
    /// for no certificates, or a clock that is wrong, says nothing of the kind.
    pub fn ends_certificate(&self) -> bool {
        matches!(
            self.code.as_str(),
            "CERTIFICATE_REVOKED" | "CERTIFICATE_NOT_FOUND" | "CERTIFICATE_EXPIRED" | "INVALID_CERTIFICATE_CHAIN"
        )
    }

    /// Whether the server knew the caller, whatever it said of the request.
    pub fn comes_after_authentication(&self) -> bool {
        matches!(self.status, 409 | 422)
    }

    /// Whether the server refused the API key, so that claiming another one may help.
    pub fn refuses_api_key(&self) -> bool {
        matches!(self.code.as_str(), "INVALID_API_KEY" | "API_KEY_EXPIRED" | "API_KEY_REVOKED")
    }

    /// Whether the registration token was refused for good.
    pub fn ends_registration_token(&self) -> bool {
        self.code == "INVALID_REGISTRATION_TOKEN" || self.code.starts_with("REGISTRATION_TOKEN_")
    }

    /// The exit code that a command ends with when it ends on this problem.
    pub fn exit(&self) -> Exit {
        match self.code.as_str() {
            "DEVICE_NOT_APPROVED" => Exit::NotApproved,
            "API_KEY_ALREADY_CLAIMED" | "INVALID_CLAIM_SECRET" => Exit::CredentialMissing,
            _ if self.refuses_api_key() || self.refuses_certificate() => Exit::CredentialMissing,
            _ => Exit::Failed,
        }
    }

    /// What to do next.
    pub fn advice(&self) -> &'static str {
        match self.code.as_str() {
            "INVALID_REGISTRATION_TOKEN" => "Check --token and --tenant-id, or ask an administrator for a new token.",
            "REGISTRATION_TOKEN_USED" => {
                "This token has registered another device. Ask an administrator for a new one; a token registers one device."
            }
            "REGISTRATION_TOKEN_EXPIRED" | "REGISTRATION_TOKEN_REVOKED" => {
                "Ask an administrator for a new registration token."
            }
            "DEVICE_NOT_APPROVED" => {
                "Ask an administrator to approve the device; 'signalbeam-agent status' shows where it stands."
            }
            "API_KEY_ALREADY_CLAIMED" | "INVALID_API_KEY" | "API_KEY_EXPIRED" | "API_KEY_REVOKED" => {
                "Ask an administrator to rotate the device's API key, then run 'signalbeam-agent status' to fetch the new one."
            }
            "INVALID_CLAIM_SECRET" => {
                "The server does not know this device's claim secret. Register again with a new token and --force."
            }
            "CERTIFICATE_EXPIRED" => {
                "Run 'signalbeam-agent renew-certificate', or 'request-certificate' if that is refused."
            }
            "CERTIFICATE_REVOKED" | "CERTIFICATE_NOT_FOUND" | "INVALID_CERTIFICATE_CHAIN" => {
                "Run 'signalbeam-agent request-certificate' for a new certificate."
            }
            "CERTIFICATE_NOT_YET_VALID" => "Compare this machine's clock with the server's.",
            "CERTIFICATE_NOT_RENEWABLE" if !matches!(self.renewable_from, RenewableFrom::At(_)) => {
                "Run 'signalbeam-agent request-certificate' for a new certificate; if an administrator revoked this one, ask him first."
            }
            "CERTIFICATE_NOT_RENEWABLE" => {
                "Renew from that date on, or run 'signalbeam-agent request-certificate' for a new certificate now."
            }
            "AUTHENTICATION_REQUIRED" => "Run 'signalbeam-agent status' to fetch an API key.",
            "NOT_FOUND" => {
                "Check that --cloud-url names the server the device registered at; a device that was removed must register again."
            }
            "QUOTA_EXCEEDED" => {
                "The token is still good: an administrator must raise the tenant's bound or decommission devices; then run the command again."
            }
            "ADDRESS_NOT_ALLOWED" => {
                "This device may not come from this address: an administrator changes its allowedNetworks, the operator the tenant's."
            }
            "OVERLOADED" => "The server is busy and did nothing: run the command again in a moment.",
            "LOG_ROLLED_BACK" => {
                "Wait: the server's operator must act before it lets any device in again. Nothing is wrong with this device; do not register it again."
            }
            "RATE_LIMITED" => "Too many requests: wait for as long as the server says, then run the command again.",
            "AUTH_STATE_STALE" | "AUDIT_UNAVAILABLE" | "PROJECTION_BEHIND" => {
                "Wait a little and run the command again."
            }
            _ if self.status >= 500 => "The fault is the server's. Run the command again later; repeating is safe.",
            _ => "Check the request; the correlation id finds it in the server's logs.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, code: &str) -> Problem {
        serde_json::from_value(serde_json::json!({"status": status, "code": code})).unwrap()
    }

    #[test]
    fn only_refused_certificates_fall_back() {
        for code in ["CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED", "CERTIFICATE_NOT_FOUND", "INVALID_CERTIFICATE_CHAIN"]
        {
            assert!(problem(401, code).refuses_certificate(), "{code}");
        }
        assert!(!problem(409, "CERTIFICATE_NOT_RENEWABLE").refuses_certificate());
        assert!(!problem(403, "DEVICE_NOT_APPROVED").refuses_certificate());
        assert!(!problem(401, "INVALID_API_KEY").refuses_certificate());
    }

    #[test]
    fn a_refused_renewal_tells_never_from_later_and_from_revoked() {
        let read = |fields: &str| serde_json::from_str::<Problem>(&format!("{{\"code\": \"C\"{fields}}}")).unwrap();
        assert_eq!(read("").renewable_from, RenewableFrom::Unsaid);
        assert_eq!(read(", \"renewableFrom\": null").renewable_from, RenewableFrom::Never);
        let at = time::macros::datetime!(2026-03-16 10:30 UTC);
        assert_eq!(read(", \"renewableFrom\": \"2026-03-16T10:30:00Z\"").renewable_from, RenewableFrom::At(at));
    }

    #[test]
    fn what_a_person_must_do_is_said_for_what_no_repetition_helps() {
        for (status, code, words) in [
            (403, "QUOTA_EXCEEDED", "token is still good"),
            (403, "ADDRESS_NOT_ALLOWED", "allowedNetworks"),
            (503, "LOG_ROLLED_BACK", "operator must act"),
            (503, "OVERLOADED", "busy"),
            (429, "RATE_LIMITED", "as long as the server says"),
        ] {
            assert!(problem(status, code).advice().contains(words), "{code}");
        }
        let (refused, window) = (problem(409, "CERTIFICATE_NOT_RENEWABLE"), "Renew from that date on");
        assert!(!refused.advice().contains(window), "no date was said");
        let at = RenewableFrom::At(time::macros::datetime!(2026-03-16 10:30 UTC));
        assert!(Problem { renewable_from: at, ..refused }.advice().contains(window));
    }

    #[test]
    fn exit_codes_follow_the_code() {
        assert_eq!(problem(403, "DEVICE_NOT_APPROVED").exit(), Exit::NotApproved);
        assert_eq!(problem(401, "API_KEY_EXPIRED").exit(), Exit::CredentialMissing);
        assert_eq!(problem(401, "CERTIFICATE_REVOKED").exit(), Exit::CredentialMissing);
        assert_eq!(problem(409, "CERTIFICATE_NOT_RENEWABLE").exit(), Exit::Failed);
        assert_eq!(problem(500, "INTERNAL").exit(), Exit::Failed);
    }
}
