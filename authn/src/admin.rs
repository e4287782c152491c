//! Admins: JSON Web Tokens (RFC 7519) under the secret of this installation.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use signalbeam_domain::{Actor, ActorKind, TenantId, Timestamp};
use uuid::Uuid;

use crate::code::ErrorCode;
use crate::http::problem::Problem;
use crate::permission::{Permission, Role};
use crate::secrets::KeyOctets;

const ISSUER: &str = "signalbeam";
const AUDIENCE: &str = "signalbeam-admin";
/// How far the clocks of issuer and verifier may differ.
const LEEWAY_SECONDS: u64 = 30;
/// The longest subject that is accepted, in octets: it is written into every event.
const MAX_SUBJECT_OCTETS: usize = 256;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant_id: Option<TenantId>,
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
    jti: Uuid,
}

/// Somebody who runs the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminPrincipal {
    /// Who.
    pub subject: String,
    /// In which role.
    pub role: Role,
    /// The only tenant that they may see; `None` sees all.
    pub tenant_id: Option<TenantId>,
}

impl AdminPrincipal {
    /// As it is recorded in events.
    pub fn actor(&self) -> Actor {
        Actor { kind: ActorKind::Admin, id: self.subject.clone() }
    }

    /// # Errors
    /// 403 `FORBIDDEN` where the role lacks the permission.
    pub fn require(&self, permission: Permission) -> Result<(), Problem> {
        if self.role.may(permission) {
            return Ok(());
        }
        Err(Problem::new(ErrorCode::Forbidden, format!("the role {} may not do this", self.role)))
    }

    /// Whether things of that tenant exist for this admin.
    pub fn sees(&self, tenant_id: TenantId) -> bool {
        self.tenant_id.is_none_or(|own| own == tenant_id)
    }

    /// For tenants that a request names itself.
    ///
    /// # Errors
    /// 403 `FORBIDDEN` where the admin is confined to another one.
    pub fn require_tenant(&self, tenant_id: TenantId) -> Result<(), Problem> {
        if self.sees(tenant_id) {
            return Ok(());
        }
        Err(Problem::new(ErrorCode::Forbidden, "the admin token is confined to another tenant"))
    }
}

/// Signs and verifies the built-in admin tokens: HS256, and no other algorithm, under one secret.
pub struct AdminTokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl std::fmt::Debug for AdminTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminTokens([redacted])")
    }
}

/// The token could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the admin token could not be signed")]
pub struct SignTokenError(#[from] jsonwebtoken::errors::Error);

impl AdminTokens {
    /// Takes the secret of this installation.
    pub fn new(secret: &KeyOctets) -> Self {
        Self {
            encoding: EncodingKey::from_secret(secret.as_slice()),
            decoding: DecodingKey::from_secret(secret.as_slice()),
        }
    }

    /// Signs a token for an admin, valid from `now` for `ttl_seconds`.
    ///
    /// # Errors
    /// [`SignTokenError`] where it cannot be encoded.
    pub fn sign(&self, admin: &AdminPrincipal, now: Timestamp, ttl_seconds: i64) -> Result<String, SignTokenError> {
        let claims = Claims {
            sub: admin.subject.clone(),
            role: admin.role,
            tenant_id: admin.tenant_id,
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            iat: now.unix_seconds(),
            exp: now.unix_seconds().saturating_add(ttl_seconds),
            jti: Uuid::now_v7(),
        };
        Ok(encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)?)
    }

    /// Verifies a token. The key and the algorithm are ours; whatever the token's header says of either changes nothing.
    ///
    /// # Errors
    /// 401 `INVALID_TOKEN`, with one text for all of it but expiry.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<AdminPrincipal, Problem> {
        let invalid = || {
            Problem::new(
                ErrorCode::InvalidToken,
                "the admin token is not valid here; `signalbeam admin-token` makes one",
            )
        };
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Judged below, by this installation's clock.
        validation.validate_exp = false;
        let TokenData { claims, .. } = decode::<Claims>(token, &self.decoding, &validation).map_err(|_| invalid())?;
        let leeway = i64::try_from(LEEWAY_SECONDS).unwrap_or(i64::MAX);
        if now.unix_seconds() >= claims.exp.saturating_add(leeway) {
            return Err(Problem::new(
                ErrorCode::InvalidToken,
                "the admin token has expired; `signalbeam admin-token` makes a new one",
            ));
        }
        let is_from_the_future = claims.iat > now.unix_seconds().saturating_add(leeway);
        let is_bad_subject =
            claims.sub.is_empty() || claims.sub.len() > MAX_SUBJECT_OCTETS || claims.sub.chars().any(char::is_control);
        if is_from_the_future || is_bad_subject {
            return Err(invalid());
        }
        Ok(AdminPrincipal { subject: claims.sub, role: claims.role, tenant_id: claims.tenant_id })
    }
}

#[cfg(test)]
mod tests;
