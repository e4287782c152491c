//! Admin tokens of an OIDC issuer: verified by the keys that it publishes, its roles mapped to ours.

use jsonwebtoken::{Validation, decode};
use serde_json::{Map, Value};
use signalbeam_domain::{AdminTokenId, TenantId, Timestamp, TokenIssuer};

use super::claims::{NumericDate, is_fine_subject, unverified_header, unverified_part};
use super::key_cache::{KeyCache, KeyLifetimes, KeySetSource};
use super::key_set::{PublishedKey, SigningAlgorithm};
use super::strict_json::StrictObject;
use super::{AdminPrincipal, AdminSession};
use crate::code::ErrorCode;
use crate::http::problem::Problem;
use crate::permission::Role;

/// The longest subject (OIDC Core 1.0, section 2).
const MAX_SUBJECT_OCTETS: usize = 255;
/// The longest key id that is looked for.
const MAX_KID_OCTETS: usize = 256;
/// What `typ` may say, in any case (RFC 7519, section 5.1; RFC 9068, section 2.1). It keeps logout tokens and the like out.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// Where in a token a claim stands: a top-level name, or names from the outside in, joined by dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(String);

impl ClaimPath {
    /// Takes a name such as `role`, `realm_access.roles` or `https://fleet.example/roles`.
    pub fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// A top-level claim of the whole name comes first, since names may be URLs, which have dots.
    fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        claims.get(&self.0).or_else(|| {
            let (first, rest) = self.0.split_once('.')?;
            rest.split('.').try_fold(claims.get(first)?, |value, name| value.get(name))
        })
    }
}

/// What an operator decided about an issuer.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    /// What `iss` must say, exactly.
    pub issuer: TokenIssuer,
    /// What `aud` must say, or have among others.
    pub audience: String,
    /// The algorithms that are accepted, as far as the key allows them.
    pub algorithms: Vec<SigningAlgorithm>,
    /// Where the role stands: a text, or a list of which the strongest known one counts.
    pub role_claim: ClaimPath,
    /// What the issuer's roles are here. Where it is empty, they must have our own names; otherwise only these count.
    pub role_map: Vec<(String, Role)>,
    /// Where the tenant stands.
    pub tenant_claim: ClaimPath,
    /// Whether a token that names no tenant is good for every one.
    pub allow_all_tenants: bool,
    /// How far the issuer's clock may be off.
    pub clock_leeway_seconds: u16,
    /// How long its keys are kept.
    pub key_lifetimes: KeyLifetimes,
}

/// Verifies the tokens of one issuer.
pub struct OidcTokens {
    settings: OidcSettings,
    keys: KeyCache,
}

impl std::fmt::Debug for OidcTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OidcTokens").field("settings", &self.settings).finish_non_exhaustive()
    }
}

struct Header {
    algorithm: SigningAlgorithm,
    kid: Option<String>,
}

impl OidcTokens {
    /// Asks nobody for anything yet: the issuer may be down while the server starts.
    pub fn new(settings: OidcSettings, source: Box<dyn KeySetSource>) -> Self {
        let keys = KeyCache::new(source, settings.key_lifetimes);
        Self { settings, keys }
    }

    /// Whether a token says that it is this issuer's. That decides whose keys are tried, and nothing else.
    pub(super) fn is_named_in(&self, token: &str) -> bool {
        let claims = unverified_part(token, 1);
        claims.is_some_and(|claims| claims.0.get("iss").and_then(Value::as_str) == Some(self.settings.issuer.as_str()))
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// 401 `INVALID_TOKEN`; 503 `IDENTITY_PROVIDER_UNAVAILABLE` where the issuer's keys are not to be had.
    pub(super) async fn verify(&self, token: &str, now: Timestamp) -> Result<AdminSession, Problem> {
        let header = self.header(token).ok_or_else(invalid)?;
        let kid = header.kid.as_deref();
        let keys = self.keys.keys(|keys| keys.candidates(kid, header.algorithm).next().is_some()).await;
        let keys = keys.map_err(|_| unavailable())?;
        let verified = keys.candidates(kid, header.algorithm).find_map(|key| claims(token, key, header.algorithm));
        self.judge(&verified.ok_or_else(invalid)?, now)
    }

    fn header(&self, token: &str) -> Option<Header> {
        let StrictObject(header) = unverified_header(token)?;
        if let Some(kind) = header.get("typ") {
            let kind = kind.as_str()?.to_ascii_lowercase();
            TYPES.contains(&kind.as_str()).then_some(())?;
        }
        let algorithm = SigningAlgorithm::parse(header.get("alg")?.as_str()?)?;
        let kid =
            header.get("kid").map(|kid| kid.as_str().filter(|kid| kid.len() <= MAX_KID_OCTETS).map(str::to_owned));
        let kid = match kid {
            Some(kid) => Some(kid?),
            None => None,
        };
        self.settings.algorithms.contains(&algorithm).then_some(Header { algorithm, kid })
    }

    fn judge(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<AdminSession, Problem> {
        let settings = &self.settings;
        let is_ours = claims.get("iss").and_then(Value::as_str) == Some(settings.issuer.as_str())
            && claims
                .get("aud")
                .is_some_and(|audience| names(audience).is_some_and(|all| all.contains(&&*settings.audience)));
        if !is_ours {
            return Err(invalid());
        }
        let (expires_at, issued_at) = self.times(claims, now)?;
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject = subject.filter(|subject| is_fine_subject(subject, MAX_SUBJECT_OCTETS)).ok_or_else(invalid)?;
        let jti = match claims.get("jti") {
            Some(jti) => Some(jti.as_str().and_then(|jti| AdminTokenId::parse(jti).ok()).ok_or_else(invalid)?),
            None => None,
        };
        let admin = AdminPrincipal {
            subject: format!("{}|{subject}", settings.issuer),
            role: self.role(claims)?,
            tenant_id: self.tenant(claims)?,
        };
        Ok(AdminSession { admin, issuer: settings.issuer.clone(), jti, issued_at, expires_at })
    }

    /// When it expires and when it was issued, if now lies between the ends that it names.
    fn times(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<(Timestamp, Option<Timestamp>), Problem> {
        let date = |name: &str| -> Result<Option<NumericDate>, Problem> {
            let value = claims.get(name).map(|value| serde_json::from_value(value.clone()));
            value.transpose().map_err(|_| invalid())
        };
        let leeway = f64::from(self.settings.clock_leeway_seconds);
        let present = NumericDate::Whole(now.unix_seconds()).seconds();
        let expiry = date("exp")?.ok_or_else(invalid)?;
        if present >= expiry.seconds() + leeway {
            return Err(Problem::new(ErrorCode::InvalidToken, "the admin token has expired; sign in again"));
        }
        let (issued, begins) = (date("iat")?, date("nbf")?);
        if [issued, begins].into_iter().flatten().any(|begin| begin.seconds() > present + leeway) {
            return Err(invalid());
        }
        Ok((expiry.moment(), issued.map(NumericDate::moment)))
    }

    fn role(&self, claims: &Map<String, Value>) -> Result<Role, Problem> {
        let named = self.settings.role_claim.find(claims).map(|claim| names(claim).ok_or_else(invalid)).transpose()?;
        let named = named.unwrap_or_default();
        let role = |name: &str| {
            let map = &self.settings.role_map;
            if map.is_empty() {
                return Role::parse(name);
            }
            map.iter().find(|(foreign, _)| foreign == name).map(|(_, role)| *role)
        };
        let known: Vec<Role> = named.into_iter().filter_map(role).collect();
        // Role::ALL stands in the order of strength.
        Role::ALL.into_iter().find(|role| known.contains(role)).ok_or_else(|| {
            Problem::new(
                ErrorCode::InvalidToken,
                "the token names no role here; the issuer's operator can give you one",
            )
        })
    }

    fn tenant(&self, claims: &Map<String, Value>) -> Result<Option<TenantId>, Problem> {
        match self.settings.tenant_claim.find(claims) {
            Some(tenant) => {
                let tenant = tenant.as_str().and_then(|tenant| TenantId::parse(tenant).ok());
                tenant.map(Some).ok_or_else(invalid)
            }
            None if self.settings.allow_all_tenants => Ok(None),
            None => Err(Problem::new(
                ErrorCode::InvalidToken,
                "the token names no tenant, and tokens for every tenant are not allowed here",
            )),
        }
    }
}

/// A text as a list of one, or a flat list of texts; `None` for anything else.
fn names(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) => names.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// The claims, if this key signed them by this algorithm.
fn claims(token: &str, key: &PublishedKey, algorithm: SigningAlgorithm) -> Option<Map<String, Value>> {
    let mut validation = Validation::new(algorithm.of_library());
    // Claims are judged here, by this installation's clock; the library judges the signature.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    decode::<StrictObject>(token, &key.key, &validation).ok().map(|data| data.claims.0)
}

fn invalid() -> Problem {
    Problem::new(ErrorCode::InvalidToken, "the admin token is not valid here; sign in again")
}

fn unavailable() -> Problem {
    Problem::new(
        ErrorCode::IdentityProviderUnavailable,
        "the identity provider's keys cannot be fetched, so its tokens cannot be judged; try again",
    )
    .retry_after(10)
}

#[cfg(test)]
mod tests;
