//! Callers as axum extractors: a route says in its arguments whom it takes.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use signalbeam_domain::{Actor, ClaimSecret, TenantId};

use crate::admin::{AdminPrincipal, AdminSession};
use crate::authenticator::{Authenticator, Takes};
use crate::code::ErrorCode;
use crate::device::DevicePrincipal;
use crate::http::context::{RequestContext, single};
use crate::http::problem::Problem;
use crate::permission::Permission;

/// An admin with a valid token.
#[derive(Debug, Clone)]
pub struct Admin(pub AdminPrincipal);

/// An admin with the token that proves it.
#[derive(Debug, Clone)]
pub struct SignedInAdmin(pub AdminSession);

/// A device with a valid certificate or API key.
#[derive(Debug, Clone, Copy)]
pub struct Device(pub DevicePrincipal);

/// An admin, or a device by its API key. A good certificate beside the key counts for nothing; after a refused one the key is
/// looked at where the policy allows it.
#[derive(Debug, Clone)]
pub struct KeyHolder(pub Caller);

/// An admin or a device.
#[derive(Debug, Clone)]
pub enum Caller {
    /// An admin.
    Admin(AdminPrincipal),
    /// A device.
    Device(DevicePrincipal),
}

/// The secret that a request presents as a bearer token, which is a claim secret by its literal.
#[derive(Clone)]
pub struct PresentedClaim(pub Option<zeroize::Zeroizing<String>>);

impl std::fmt::Debug for PresentedClaim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "PresentedClaim([redacted])" } else { "PresentedClaim(none)" })
    }
}

impl Caller {
    /// As it is recorded in events.
    pub fn actor(&self) -> Actor {
        match self {
            Self::Admin(admin) => admin.actor(),
            Self::Device(device) => device.actor(),
        }
    }

    /// The only tenant whose things exist for this caller; `None` where all do.
    pub fn tenant_id(&self) -> Option<TenantId> {
        match self {
            Self::Admin(admin) => admin.tenant_id,
            Self::Device(device) => Some(device.tenant_id),
        }
    }

    /// For tenants that a request names itself.
    ///
    /// # Errors
    /// 403 `FORBIDDEN` where the caller is confined to another one.
    pub fn require_tenant(&self, tenant_id: TenantId) -> Result<(), Problem> {
        match self {
            Self::Admin(admin) => admin.require_tenant(tenant_id),
            Self::Device(device) if device.tenant_id == tenant_id => Ok(()),
            Self::Device(_) => Err(Problem::new(ErrorCode::Forbidden, "the device belongs to another tenant")),
        }
    }

    /// An admin needs the permission; a device may do what its routes offer.
    ///
    /// # Errors
    /// 403 `FORBIDDEN`
    pub fn require(&self, permission: Permission) -> Result<(), Problem> {
        match self {
            Self::Admin(admin) => admin.require(permission),
            Self::Device(_) => Ok(()),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = single(headers, AUTHORIZATION)?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn admin(
    authenticator: &Authenticator,
    context: &RequestContext,
    headers: &HeaderMap,
) -> Result<AdminSession, Problem> {
    if !headers.contains_key(AUTHORIZATION) {
        return Err(Problem::new(
            ErrorCode::AuthenticationRequired,
            "present an admin token as `Authorization: Bearer ...`; `signalbeam admin-token` makes one",
        ));
    }
    authenticator.admin(context, bearer(headers).unwrap_or_default()).await
}

async fn caller<S>(parts: &mut Parts, state: &S, takes: Takes) -> Result<Caller, Problem>
where
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    let authenticator = Arc::<Authenticator>::from_ref(state);
    let context = RequestContext::from_request_parts(parts, state).await?;
    if parts.headers.contains_key(AUTHORIZATION) {
        return admin(&authenticator, &context, &parts.headers).await.map(|session| Caller::Admin(session.admin));
    }
    authenticator.device(&context, &parts.headers, takes).await.map(Caller::Device)
}

impl<S> FromRequestParts<S> for Admin
where
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let context = RequestContext::from_request_parts(parts, state).await?;
        let session = admin(&Arc::<Authenticator>::from_ref(state), &context, &parts.headers).await?;
        Ok(Self(session.admin))
    }
}

impl<S> FromRequestParts<S> for SignedInAdmin
where
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let context = RequestContext::from_request_parts(parts, state).await?;
        admin(&Arc::<Authenticator>::from_ref(state), &context, &parts.headers).await.map(Self)
    }
}

impl<S> FromRequestParts<S> for Device
where
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let context = RequestContext::from_request_parts(parts, state).await?;
        let authenticator = Arc::<Authenticator>::from_ref(state);
        authenticator.device(&context, &parts.headers, Takes::Any).await.map(Self)
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        caller(parts, state, Takes::Any).await
    }
}

impl<S> FromRequestParts<S> for KeyHolder
where
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        caller(parts, state, Takes::ApiKeyOnly).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PresentedClaim {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let claim = bearer(&parts.headers).filter(|token| token.starts_with(ClaimSecret::LITERAL));
        Ok(Self(claim.map(|token| zeroize::Zeroizing::new(token.to_owned()))))
    }
}
