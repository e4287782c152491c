//! `Idempotency-Key`: the same key and body give the first outcome again.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, Uri};
use signalbeam_authn::Problem;
use signalbeam_authn::secrets::sha256;
use signalbeam_domain::{Actor, TenantId};
use signalbeam_event_store::Idempotency;

/// The header that names a command.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The most characters that the header may have.
const MAX_CHARACTERS: usize = 255;

/// The `Idempotency-Key` of a request, with the route that it is bound to.
#[derive(Debug, Clone)]
pub(crate) struct IdempotencyKey(Option<Named>);

#[derive(Debug, Clone)]
struct Named {
    key: String,
    method: Method,
    uri: Uri,
}

impl IdempotencyKey {
    /// Binds the key to who calls and the tenant that they are confined to (two tenants' admins may have one name), to
    /// the route and to the body's bytes; `None` where the request has no key.
    pub(crate) fn bind(&self, actor: &Actor, confined_to: Option<TenantId>, body: &[u8]) -> Option<Idempotency> {
        let Named { key, method, uri } = self.0.as_ref()?;
        let tenant = confined_to.map(|tenant_id| tenant_id.to_string()).unwrap_or_default();
        // The parts are told apart by a separator that none of them can contain.
        let name = [actor.kind.as_str(), &actor.id, &tenant, method.as_str(), uri.path(), key].join("\n");
        Some(Idempotency { command_id: sha256(name.as_bytes()), body_sha256: sha256(body) })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let key = value.to_str().unwrap_or_default();
        let is_printable = key.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if values.next().is_some() || key.is_empty() || key.len() > MAX_CHARACTERS || !is_printable {
            let detail = format!("must be one value of 1 to {MAX_CHARACTERS} printable ASCII characters");
            return Err(Problem::invalid("/header/Idempotency-Key", detail));
        }
        Ok(Self(Some(Named { key: key.to_owned(), method: parts.method.clone(), uri: parts.uri.clone() })))
    }
}
