//! Admins: JSON Web Tokens (RFC 7519) under the secret of this installation.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation, decode, encode};
use serde::{Deserialize, Deserializer, Serialize};
use signalbeam_domain::{Actor, ActorKind, TenantId, Timestamp};
use uuid::Uuid;

use crate::code::ErrorCode;
use crate::http::problem::Problem;
use crate::permission::{Permission, Role};
use crate::secrets::KeyOctets;

const ISSUER: &str = "signalbeam";
const AUDIENCE: &str = "signalbeam-admin";
/// How far ahead the clock of an issuer may be. What has expired has expired: there is no leeway at the end.
const LEEWAY_SECONDS: f64 = 30.0;
/// The longest subject that is accepted, in octets: it is written into every event.
const MAX_SUBJECT_OCTETS: usize = 256;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    role: Role,
    /// Absent: every tenant. A `null` is refused, lest a forgotten value open all of them.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    tenant_id: Option<TenantId>,
    iss: String,
    aud: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<NumericDate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<NumericDate>,
    exp: NumericDate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
}

/// Seconds since 1970, which may have a fraction (RFC 7519, section 2).
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum NumericDate {
    Whole(i64),
    Fractional(f64),
}

impl NumericDate {
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact up to 2^53")]
    fn seconds(self) -> f64 {
        match self {
            Self::Whole(seconds) => seconds as f64,
            Self::Fractional(seconds) => seconds,
        }
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TenantId>, D::Error> {
    TenantId::deserialize(deserializer).map(Some)
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
            iat: Some(NumericDate::Whole(now.unix_seconds())),
            nbf: None,
            exp: NumericDate::Whole(now.unix_seconds().saturating_add(ttl_seconds)),
            jti: Some(Uuid::now_v7().to_string()),
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
        if has_critical_extensions(token) {
            return Err(invalid());
        }
        let now = NumericDate::Whole(now.unix_seconds()).seconds();
        if now >= claims.exp.seconds() {
            return Err(Problem::new(
                ErrorCode::InvalidToken,
                "the admin token has expired; `signalbeam admin-token` makes a new one",
            ));
        }
        let begins = [claims.iat, claims.nbf].into_iter().flatten();
        let is_from_the_future = begins.map(NumericDate::seconds).any(|begin| begin > now + LEEWAY_SECONDS);
        let is_bad_subject =
            claims.sub.is_empty() || claims.sub.len() > MAX_SUBJECT_OCTETS || claims.sub.chars().any(char::is_control);
        if is_from_the_future || is_bad_subject {
            return Err(invalid());
        }
        Ok(AdminPrincipal { subject: claims.sub, role: claims.role, tenant_id: claims.tenant_id })
    }
}

/// Whether the header demands extensions to be understood: none are (RFC 7515, section 4.1.11).
fn has_critical_extensions(token: &str) -> bool {
    let header = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let header = header.and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok());
    header.is_none_or(|header| header.get("crit").is_some())
}

#[cfg(test)]
mod tests;
