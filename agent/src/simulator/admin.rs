//! What the simulator does as an administrator.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::failure::Failure;
use crate::secret::Secret;
use crate::simulator::target::Target;
use crate::transport::{Call, CallError, Client, Credential};
use crate::trust::Roots;

/// Idle connections are closed before the server's default of 75 s does it.
pub const IDLE: Duration = Duration::from_mins(1);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewToken {
    tenant_id: Uuid,
    description: &'static str,
}

#[derive(Deserialize)]
struct IssuedToken {
    token: Secret,
}

#[derive(Deserialize)]
struct AuthenticationLog {
    items: Vec<Attempt>,
}

/// An entry of the authentication log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// When, as the server wrote it.
    pub timestamp: String,
    /// Whether the device was let in.
    pub success: bool,
    /// `Certificate`, `ApiKey` and others.
    pub authentication_method: String,
    /// Lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_serial_number: Option<String>,
}

/// An administrator, by token.
pub struct Admin {
    client: Client,
    token: Secret,
}

impl Admin {
    /// An administrator with up to so many connections.
    pub fn new(target: &Target, roots: &Roots, token: Secret, connections: usize) -> Self {
        Self { client: Client::keeping(target.server(), roots, None, connections, IDLE), token }
    }

    /// Makes a registration token.
    ///
    /// # Errors
    /// When the server refuses or is not reached.
    pub fn make_token(&self, call: &Call) -> Result<Secret, CallError> {
        self.client.send(call, self.credential()).map(|issued: IssuedToken| issued.token)
    }

    /// Approves a device; one that is approved already stays so.
    ///
    /// # Errors
    /// When the server refuses or is not reached.
    pub fn approve(&self, device_id: Uuid) -> Result<(), CallError> {
        let call = Call::post_empty(format!("/api/devices/{device_id}/approve"));
        match self.client.send_for_effect(&call, self.credential()) {
            Err(error) if error.code() == "INVALID_STATE" => Ok(()),
            other => other,
        }
    }

    /// Revokes a certificate.
    ///
    /// # Errors
    /// When the server refuses or is not reached.
    pub fn revoke(&self, serial_number: &str) -> Result<(), CallError> {
        self.client.send_for_effect(&Call::delete(format!("/api/certificates/{serial_number}")), self.credential())
    }

    /// The device's newest successes by this method, newest first.
    ///
    /// # Errors
    /// When the server refuses or is not reached.
    pub fn successes(&self, device_id: Uuid, method: &str) -> Result<Vec<Attempt>, CallError> {
        let path = format!("/api/authentication-logs?deviceId={device_id}&successOnly=true&method={method}");
        self.client.send(&Call::get(path), self.credential()).map(|log: AuthenticationLog| log.items)
    }

    fn credential(&self) -> Credential<'_> {
        Credential::Bearer(&self.token)
    }
}

/// The request for a registration token.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn token_request(tenant_id: Uuid) -> Result<Call, Failure> {
    Call::post("/api/registration-tokens".to_owned(), &NewToken { tenant_id, description: "simulator" })
        .map_err(|error| Failure::system("cannot write a request as JSON", error))
}
