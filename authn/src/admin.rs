//! Admins: JSON Web Tokens (RFC 7519) under the secret of this installation, or of an OIDC issuer.

mod authentication;
mod claims;
mod key_cache;
mod key_set;
mod oidc;
mod strict_json;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation, decode, encode};
use serde::{Deserialize, Deserializer, Serialize};
use signalbeam_domain::{Actor, ActorKind, AdminTokenId, TenantId, Timestamp, TokenIssuer};
use uuid::Uuid;

use self::claims::{MAX_TOKEN_OCTETS, NumericDate, is_fine_subject, unverified_header};
pub use self::key_cache::{FetchError, FetchedKeySet, KeyLifetimes, KeySetSource};
pub use self::key_set::SigningAlgorithm;
pub use self::oidc::{ClaimPath, OidcSettings, OidcTokens};
use crate::code::ErrorCode;
use crate::http::problem::Problem;
use crate::permission::{Permission, Role};
use crate::secrets::KeyOctets;

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
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present_id")]
    jti: Option<AdminTokenId>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TenantId>, D::Error> {
    TenantId::deserialize(deserializer).map(Some)
}

fn present_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AdminTokenId>, D::Error> {
    AdminTokenId::deserialize(deserializer).map(Some)
}

/// Somebody who runs the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminPrincipal {
    /// Who: the token's subject; of an OIDC issuer's tokens `{issuer}|{subject}`.
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

/// An admin with the token that proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSession {
    /// Who.
    pub admin: AdminPrincipal,
    /// Who issued the token.
    pub issuer: TokenIssuer,
    /// The token's id, by which it can be revoked.
    pub jti: Option<AdminTokenId>,
    /// When it was issued.
    pub issued_at: Option<Timestamp>,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// Signs and verifies the built-in admin tokens: HS256, and no other algorithm, under one secret. Hands those of an OIDC
/// issuer, where there is one, to its own verifier: no key ever judges another issuer's tokens.
pub struct AdminTokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    oidc: Option<OidcTokens>,
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
            oidc: None,
        }
    }

    /// Accepts the tokens of an OIDC issuer too.
    #[must_use]
    pub fn with_oidc(self, oidc: OidcTokens) -> Self {
        Self { oidc: Some(oidc), ..self }
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
            iss: TokenIssuer::BUILT_IN.to_owned(),
            aud: AUDIENCE.to_owned(),
            iat: Some(NumericDate::Whole(now.unix_seconds())),
            nbf: None,
            exp: NumericDate::Whole(now.unix_seconds().saturating_add(ttl_seconds)),
            jti: AdminTokenId::parse(&Uuid::now_v7().to_string()).ok(),
        };
        Ok(encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)?)
    }

    /// Verifies a token by the keys of the issuer that it names. Whether it was revoked is for others to judge.
    ///
    /// # Errors
    /// 401 `INVALID_TOKEN`; 503 `IDENTITY_PROVIDER_UNAVAILABLE` where an issuer's keys are not to be had.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<AdminSession, Problem> {
        if token.len() > MAX_TOKEN_OCTETS {
            return Err(invalid());
        }
        match self.oidc.as_ref().filter(|oidc| oidc.is_named_in(token)) {
            Some(oidc) => oidc.verify(token, now).await,
            None => self.verify_built_in(token, now),
        }
    }

    /// Verifies a token of this installation. The key and the algorithm are ours: a `kid` changes nothing, since there is
    /// only one key, and a header that brings or points to another key is refused.
    ///
    /// # Errors
    /// 401 `INVALID_TOKEN`, with one text for all of it but expiry.
    fn verify_built_in(&self, token: &str, now: Timestamp) -> Result<AdminSession, Problem> {
        unverified_header(token).ok_or_else(invalid)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[TokenIssuer::BUILT_IN]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Judged below, by this installation's clock.
        validation.validate_exp = false;
        let TokenData { claims, .. } = decode::<Claims>(token, &self.decoding, &validation).map_err(|_| invalid())?;
        let now = NumericDate::Whole(now.unix_seconds()).seconds();
        if now >= claims.exp.seconds() {
            return Err(Problem::new(
                ErrorCode::InvalidToken,
                "the admin token has expired; `signalbeam admin-token` makes a new one",
            ));
        }
        let begins = [claims.iat, claims.nbf].into_iter().flatten();
        let is_from_the_future = begins.map(NumericDate::seconds).any(|begin| begin > now + LEEWAY_SECONDS);
        if is_from_the_future || !is_subject(&claims.sub) {
            return Err(invalid());
        }
        Ok(AdminSession {
            admin: AdminPrincipal { subject: claims.sub, role: claims.role, tenant_id: claims.tenant_id },
            issuer: TokenIssuer::built_in(),
            jti: claims.jti,
            issued_at: claims.iat.map(NumericDate::moment),
            expires_at: claims.exp.moment(),
        })
    }
}

/// Whether a token of this installation may have this subject: 1 to 256 octets without control characters, and unlike
/// those of other issuers, which begin with their URL and a `|`.
pub fn is_subject(subject: &str) -> bool {
    let is_foreign = (subject.starts_with("https://") || subject.starts_with("http://")) && subject.contains('|');
    !is_foreign && is_fine_subject(subject, MAX_SUBJECT_OCTETS)
}

fn invalid() -> Problem {
    Problem::new(ErrorCode::InvalidToken, "the admin token is not valid here; `signalbeam admin-token` makes one")
}

#[cfg(test)]
mod tests;
