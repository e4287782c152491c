//! Who may call each route: one table. The documentation of the routes is made from it, and a test walks every route as
//! every kind of caller and holds the answers against it.
//!
//! A new route needs a row in [`ROUTES`], and nothing else.

use crate::permission::{Permission, Role};

use Credential::{
    Admin, AdminOfAllTenants, ApiKey, BasicApiKey, BasicRegistrationToken, Certificate, ClaimSecret, Device,
};
use Permission::{
    DecideDevices, LogOut, ManageApiKeys, ManageAuthorities, ManageCertificates, ManageDevices,
    ManageRegistrationTokens, Read,
};
use Reach::{Listed, Named, Open, Thing};

/// What a caller may present on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// An admin token whose role has the permission.
    Admin(Permission),
    /// The same, and it is not confined to a tenant.
    AdminOfAllTenants(Permission),
    /// The device's own certificate or API key.
    Device,
    /// The device's own API key; its certificate does not count.
    ApiKey,
    /// The claim secret that the device registered with.
    ClaimSecret,
    /// The device's own certificate; its API key in `X-API-Key` does not count.
    Certificate,
    /// The device's id and API key, by HTTP basic authentication.
    BasicApiKey,
    /// The tenant's id and a registration token, by HTTP basic authentication.
    BasicRegistrationToken,
}

/// What a route reaches, and so what another tenant's caller is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// One thing that the path names: 404 for another tenant's admin, and for another device.
    Thing,
    /// What the body names by its tenant: 403 for another tenant's admin.
    Named,
    /// A list: everybody sees what is theirs.
    Listed,
    /// What belongs to no tenant.
    Open,
}

/// A route and who may call it.
#[derive(Debug, Clone, Copy)]
pub struct RouteAccess {
    /// In upper case.
    pub method: &'static str,
    /// As the documentation has it, such as `/api/devices/{id}`.
    pub path: &'static str,
    /// Any one of these is enough; without any the route is public.
    pub credentials: &'static [Credential],
    /// What it reaches.
    pub reach: Reach,
}

/// Every route of the API.
pub const ROUTES: &[RouteAccess] = &[
    row("POST", "/api/registration-tokens", &[Admin(ManageRegistrationTokens)], Named),
    row("GET", "/api/registration-tokens", &[Admin(Read)], Listed),
    row("DELETE", "/api/registration-tokens/{id}", &[Admin(ManageRegistrationTokens)], Thing),
    row("POST", "/api/devices", &[], Open),
    row("GET", "/api/devices", &[Admin(Read), Device], Listed),
    row("GET", "/api/devices/by-status/{status}", &[Admin(Read), Device], Listed),
    row("GET", "/api/devices/{id}", &[Admin(Read), Device], Thing),
    row("POST", "/api/devices/bulk", &[Admin(DecideDevices)], Listed),
    row("PATCH", "/api/devices/{id}", &[Admin(ManageDevices)], Thing),
    row("GET", "/api/devices/{id}/registration-status", &[ClaimSecret, Admin(Read), Device], Thing),
    row("GET", "/api/devices/{id}/history", &[Admin(Read)], Thing),
    row("GET", "/api/devices/{id}/usage", &[Admin(Read)], Thing),
    row("POST", "/api/devices/{id}/approve", &[Admin(DecideDevices)], Thing),
    row("POST", "/api/devices/{id}/reject", &[Admin(DecideDevices)], Thing),
    row("POST", "/api/devices/{id}/suspend", &[Admin(DecideDevices)], Thing),
    row("POST", "/api/devices/{id}/reinstate", &[Admin(DecideDevices)], Thing),
    row("POST", "/api/devices/{id}/decommission", &[Admin(ManageDevices)], Thing),
    row("POST", "/api/devices/{id}/heartbeat", &[Device], Thing),
    row("POST", "/api/devices/{id}/api-key/claim", &[ClaimSecret], Thing),
    row("POST", "/api/devices/{id}/rotate-api-key", &[Admin(ManageApiKeys), Device], Thing),
    row("POST", "/api/devices/{id}/revoke-api-key", &[Admin(ManageApiKeys)], Thing),
    row("GET", "/.well-known/est/cacerts", &[], Open),
    row("GET", "/.well-known/est/csrattrs", &[], Open),
    row("POST", "/.well-known/est/simpleenroll", &[BasicApiKey, BasicRegistrationToken], Open),
    row("POST", "/.well-known/est/simplereenroll", &[Certificate, BasicApiKey], Open),
    row("POST", "/.well-known/est/serverkeygen", &[BasicApiKey], Open),
    row("GET", "/api/certificates", &[Admin(Read)], Listed),
    row("GET", "/api/certificates/ca", &[], Open),
    row("GET", "/api/certificates/ca/{authorityId}", &[], Open),
    row("GET", "/api/certificates/crl", &[], Open),
    row("GET", "/api/certificates/crl/delta", &[], Open),
    row("GET", "/api/certificates/crl/{authorityId}", &[], Open),
    row("GET", "/api/certificates/crl/{authorityId}/delta", &[], Open),
    row("GET", "/api/certificates/device/{deviceId}", &[Admin(Read), Device], Thing),
    row("GET", "/api/certificates/{serialNumber}", &[Admin(Read)], Thing),
    row("GET", "/api/certificates/{serialNumber}/renewal-info", &[], Open),
    row("POST", "/api/certificates/{deviceId}/issue", &[Admin(ManageCertificates), ApiKey], Thing),
    row("POST", "/api/certificates/{serialNumber}/renew", &[Device], Thing),
    row("DELETE", "/api/certificates/{serialNumber}", &[Admin(ManageCertificates)], Thing),
    row("POST", "/api/certificates/request-renewal", &[Admin(ManageCertificates)], Listed),
    row("POST", "/api/certificates/revoke", &[Admin(ManageCertificates)], Listed),
    row("POST", "/ocsp", &[], Open),
    row("GET", "/ocsp/{request}", &[], Open),
    row("POST", "/api/certificates/import", &[Admin(ManageCertificates)], Named),
    row("GET", "/api/authentication-logs", &[Admin(Read)], Listed),
    row("GET", "/api/authentication-logs/export", &[Admin(Read)], Listed),
    row("GET", "/api/usage", &[Admin(Read)], Listed),
    row("GET", "/api/events", &[Admin(Read)], Listed),
    row("POST", "/api/admin-tokens/revoke", &[Admin(LogOut)], Open),
    row("GET", "/api/admin-tokens/revocations", &[AdminOfAllTenants(Read)], Open),
    row("GET", "/api/certificate-authorities", &[AdminOfAllTenants(Read)], Open),
    row("POST", "/api/certificate-authorities", &[AdminOfAllTenants(ManageAuthorities)], Open),
    row("POST", "/api/certificate-authorities/{id}/activate", &[AdminOfAllTenants(ManageAuthorities)], Open),
    row("POST", "/api/certificate-authorities/{id}/retire", &[AdminOfAllTenants(ManageAuthorities)], Open),
];

const fn row(
    method: &'static str,
    path: &'static str,
    credentials: &'static [Credential],
    reach: Reach,
) -> RouteAccess {
    RouteAccess { method, path, credentials, reach }
}

/// The row of a route, where it has one.
pub fn of_route(method: &str, path: &str) -> Option<&'static RouteAccess> {
    ROUTES.iter().find(|route| route.method == method && route.path == path)
}

impl Credential {
    /// The security schemes of the documentation that it stands for: any one of them.
    pub const fn schemes(self) -> &'static [&'static str] {
        match self {
            Admin(_) | AdminOfAllTenants(_) => &["adminToken"],
            Device => &["clientCertificate", "apiKey"],
            ApiKey => &["apiKey"],
            ClaimSecret => &["claimSecret"],
            Certificate => &["clientCertificate"],
            BasicApiKey | BasicRegistrationToken => &["basic"],
        }
    }

    /// As the documentation's extension `x-signalbeam-permission` lists it.
    pub fn name(self) -> String {
        match self {
            Admin(permission) => format!("admin:{}", permission.as_str()),
            AdminOfAllTenants(permission) => format!("admin_of_all_tenants:{}", permission.as_str()),
            Device => "device".to_owned(),
            ApiKey => "api_key".to_owned(),
            ClaimSecret => "claim_secret".to_owned(),
            Certificate => "certificate".to_owned(),
            BasicApiKey => "basic:api_key".to_owned(),
            BasicRegistrationToken => "basic:registration_token".to_owned(),
        }
    }

    fn sentence(self) -> String {
        match self {
            Admin(permission) => format!("an admin in {}", roles(permission)),
            AdminOfAllTenants(permission) => format!("an admin of every tenant in {}", roles(permission)),
            Device => "the device itself, by certificate or API key".to_owned(),
            ApiKey => "the device itself, by API key alone".to_owned(),
            ClaimSecret => "whoever holds the device's claim secret".to_owned(),
            Certificate => "the device itself, by certificate".to_owned(),
            BasicApiKey => "the device itself, by HTTP basic authentication with its id and its API key".to_owned(),
            BasicRegistrationToken => {
                "whoever holds a registration token, by HTTP basic authentication with the tenant's id".to_owned()
            }
        }
    }
}

impl RouteAccess {
    /// Who may call it, as Markdown for the documentation.
    pub fn sentence(&self) -> String {
        if self.credentials.is_empty() {
            return "**Who may call it:** anybody.".to_owned();
        }
        let callers: Vec<_> = self.credentials.iter().map(|credential| credential.sentence()).collect();
        let elsewhere = match self.reach {
            Reach::Thing => " What belongs to another tenant does not exist: 404 `NOT_FOUND`.",
            Reach::Named => " Another tenant's is refused: 403 `FORBIDDEN`.",
            Reach::Listed => " Only what is the caller's own to see is listed.",
            Reach::Open => "",
        };
        format!("**Who may call it:** {}.{elsewhere}", callers.join("; "))
    }
}

fn roles(permission: Permission) -> String {
    let able: Vec<_> =
        Role::ALL.into_iter().filter(|role| role.may(permission)).map(|role| format!("`{role}`")).collect();
    if able.len() == Role::ALL.len() { "any role".to_owned() } else { format!("the role {}", able.join(" or ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_stands_there_once() {
        for (at, route) in ROUTES.iter().enumerate() {
            assert!(
                ROUTES[..at].iter().all(|other| (other.method, other.path) != (route.method, route.path)),
                "{route:?}"
            );
        }
    }

    #[test]
    fn a_row_reads_as_a_sentence() {
        let sentence = |method, path| of_route(method, path).unwrap().sentence();
        assert_eq!(
            sentence("POST", "/api/devices/{id}/rotate-api-key"),
            "**Who may call it:** an admin in the role `admin` or `operator`; the device itself, by certificate or API key. \
             What belongs to another tenant does not exist: 404 `NOT_FOUND`."
        );
        assert_eq!(sentence("GET", "/api/certificates/ca"), "**Who may call it:** anybody.");
        assert!(of_route("PUT", "/api/devices").is_none());
    }
}
