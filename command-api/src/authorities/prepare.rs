//! `POST /api/certificate-authorities`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use signalbeam_authn::http::extract::JsonBody;
use signalbeam_authn::http::problem::{Problem, ProblemBody};
use signalbeam_authn::{Admin, ErrorCode, RequestContext, draw};
use signalbeam_domain::authority::{Authority, AuthorityCommand, AuthorityCreated, AuthorityEvent, AuthorityStatus};
use signalbeam_domain::{AuthorityId, Event, Fingerprint, StreamId};
use signalbeam_event_store::StreamWrite;
use signalbeam_pki::{
    CaKeyType, CaMaterial, CertificateAuthority, Intermediate, KeySlot, NewAuthority, certificates_from_pem,
};
use signalbeam_projections::authorities::{KnownAuthority, known_authorities};
use utoipa::ToSchema;

use super::keeper::created;
use super::slots::{Kind, Slots};
use super::{Hierarchy, refused, require_all_tenants, unavailable};
use crate::command::{Cause, Changed, Outcome, contended, internal, store_unavailable};
use crate::idempotency::IdempotencyKey;
use crate::service_certificates::intended_intermediate;
use crate::state::CommandApi;

/// The authority that shall follow.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PrepareAuthority {
    /// `root`: a new root that signs devices' certificates itself. `intermediate`: an issuing authority under the root of
    /// the one that signs now, so that devices need not learn to trust anything. By default what the one is that signs now.
    #[schema(value_type = Option<String>, example = "intermediate")]
    hierarchy: Option<Hierarchy>,
    /// With `intermediate`: under a new root; one that is prepared and vouches for nobody yet is taken for it.
    #[serde(default)]
    new_root: bool,
    /// `rsa-2048`, `rsa-3072`, `rsa-4096`, `ecdsa-p256` or `ecdsa-p384`; by default as configured.
    key_type: Option<String>,
    /// A key slot that holds an authority's key and certificate already, put there by `signalbeam ca import`. Stands alone,
    /// or with `issuersPem`.
    key_slot: Option<String>,
    /// With `keySlot`, where that authority is no root: the certificates of its issuers up to the root, PEM.
    #[schema(max_length = 65536)]
    issuers_pem: Option<String>,
}

/// An authority after a step of its life.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuthorityChanged {
    /// The authority.
    #[schema(value_type = Uuid)]
    authority_id: AuthorityId,
    /// Where it stands now: `Prepared`, `Active`, `Rotated` or `Retired`.
    status: &'static str,
    /// The SHA-256 of its certificate.
    #[schema(value_type = String)]
    fingerprint: Fingerprint,
}

impl AuthorityChanged {
    pub(super) fn new(created: &AuthorityCreated, status: AuthorityStatus) -> Self {
        let status = match status {
            AuthorityStatus::Prepared => "Prepared",
            AuthorityStatus::Active => "Active",
            AuthorityStatus::Rotated => "Rotated",
            AuthorityStatus::Retired => "Retired",
        };
        Self { authority_id: created.authority_id, status, fingerprint: created.fingerprint }
    }
}

/// Prepare a certificate authority.
///
/// Makes its key and certificate. From now on devices learn to trust it: `GET /api/certificates/ca` and every certificate's
/// `caCertificatePem` name it too. It signs nothing for them until it is activated.
#[utoipa::path(
    post, path = "/api/certificate-authorities", tag = "Certificate authorities", operation_id = "prepareCertificateAuthority",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<PrepareAuthority>,
    responses(
        (status = 201, body = AuthorityChanged, description = "It is prepared"),
        (status = 400, body = ProblemBody, description = "`INVALID_REQUEST`"),
        (status = 401, body = ProblemBody, description = "`AUTHENTICATION_REQUIRED`, `INVALID_TOKEN`"),
        (status = 403, body = ProblemBody, description = "`FORBIDDEN`"),
        (status = 409, body = ProblemBody, description = "`INVALID_STATE`: another one is prepared already; `IDEMPOTENCY_KEY_REUSED`"),
        (status = 503, body = ProblemBody, description = "`SIGNING_UNAVAILABLE`: the key store is out of reach; `STORE_UNAVAILABLE`"),
    ),
    security(("adminToken" = [])),
)]
pub(crate) async fn prepare_certificate_authority(
    State(api): State<CommandApi>,
    Admin(admin): Admin,
    context: RequestContext,
    key: IdempotencyKey,
    body: JsonBody<PrepareAuthority>,
) -> Result<Changed<Json<AuthorityChanged>>, Problem> {
    require_all_tenants(&admin)?;
    let wanted = Wanted::of(&api, body.value)?;
    let idempotency = key.bind(&admin.actor(), None, &body.bytes);
    let cause = Cause { actor: admin.actor(), context, idempotency };
    if let Some(outcome) = api.repeated(&cause).await? {
        return answer(&outcome);
    }
    // One at a time: two that prepare at once would take the same key slot.
    let _turn = api.authority_turn().await;
    api.authenticator.log_lock().require_released()?;
    api.reload_authorities().await?;
    let known = known_authorities(&*api.store).await.map_err(|error| store_unavailable(&error))?;
    let waiting = known.iter().find(|one| is_waiting(one, &known)).map(|one| one.created.authority_id);
    let new_root = match waiting {
        Some(id) => Some(wanted.root_that_waits(&api, id)?),
        None => None,
    };
    let write = make(&api, &cause, wanted, new_root, &Slots(&api, known)).await?;
    let appended = api.append(&cause, vec![write]).await?.ok_or_else(contended)?;
    api.reload_authorities().await?;
    answer(&appended.into())
}

/// Whether an authority is prepared to sign, and not only there to vouch for another one.
fn is_waiting(one: &KnownAuthority, known: &[KnownAuthority]) -> bool {
    let vouches = known.iter().any(|other| other.created.issuer_id == Some(one.created.authority_id));
    one.status == AuthorityStatus::Prepared && !vouches
}

fn answer(outcome: &Outcome) -> Result<Changed<Json<AuthorityChanged>>, Problem> {
    let created = outcome.events.iter().rev().find_map(|recorded| match recorded.event() {
        Ok(Event::AuthorityEvent(AuthorityEvent::Created(created))) => Some(created),
        _ => None,
    });
    let created = created.ok_or_else(|| internal(&signalbeam_domain::authority::AuthorityError::Unknown))?;
    let body = Json(AuthorityChanged::new(&created, AuthorityStatus::Prepared));
    Ok(Changed::new(StatusCode::CREATED, body, outcome.position))
}

/// What is to be made.
enum Wanted {
    Root(CaKeyType),
    Intermediate { key_type: CaKeyType, has_new_root: bool },
    Imported { slot: KeySlot, issuers_pem: Option<String> },
}

impl Wanted {
    /// The root that is prepared, where what is wanted goes under a new root and that one will do: it may have been made for
    /// it by an attempt that was interrupted.
    fn root_that_waits(&self, api: &CommandApi, id: AuthorityId) -> Result<Arc<CertificateAuthority>, Problem> {
        let waiting = api.authorities.current().by_id(id).map(|one| Arc::clone(&one.authority));
        match (self, waiting) {
            (Self::Intermediate { key_type, has_new_root: true }, Some(root))
                if root.is_root() && root.public_key().key_type() == *key_type =>
            {
                Ok(root)
            }
            _ => {
                let detail = format!("the authority {id} is prepared already; activate or retire it first");
                Err(Problem::new(ErrorCode::InvalidState, detail))
            }
        }
    }

    fn of(api: &CommandApi, body: PrepareAuthority) -> Result<Self, Problem> {
        if let Some(slot) = body.key_slot {
            if body.hierarchy.is_some() || body.new_root || body.key_type.is_some() {
                return Err(Problem::invalid("/keySlot", "stands alone or with `issuersPem`"));
            }
            let slot = KeySlot::parse(&slot).map_err(|error| Problem::invalid("/keySlot", error.to_string()))?;
            return Ok(Self::Imported { slot, issuers_pem: body.issuers_pem });
        }
        if body.issuers_pem.is_some() {
            return Err(Problem::invalid("/issuersPem", "goes with `keySlot` alone"));
        }
        let key_type = match body.key_type.as_deref().map(str::parse::<CaKeyType>) {
            None => api.keeper_of_authorities.settings().key_type,
            Some(Ok(key_type)) => key_type,
            Some(Err(error)) => return Err(Problem::invalid("/keyType", error.to_string())),
        };
        let is_under_root = !api.authorities.current().signing().is_root();
        let present = if is_under_root { Hierarchy::Intermediate } else { Hierarchy::Root };
        match body.hierarchy.unwrap_or(present) {
            Hierarchy::Root if body.new_root => Err(Problem::invalid("/newRoot", "goes with `intermediate` alone")),
            Hierarchy::Root => Ok(Self::Root(key_type)),
            Hierarchy::Intermediate => Ok(Self::Intermediate { key_type, has_new_root: body.new_root }),
        }
    }
}

/// Makes keys and certificates under names that nobody has yet; a repetition after a crash finds what was made before.
async fn make(
    api: &CommandApi,
    cause: &Cause,
    wanted: Wanted,
    new_root: Option<Arc<CertificateAuthority>>,
    slots: &Slots<'_>,
) -> Result<StreamWrite, Problem> {
    match wanted {
        Wanted::Root(key_type) => Ok(root(api, key_type, slots).await?.1),
        Wanted::Intermediate { key_type, has_new_root: true } => {
            let above = if let Some(above) = new_root {
                above
            } else {
                let (above, write) = root(api, key_type, slots).await?;
                // What it signs must be known before it is signed, and so must it.
                api.append(&cause.unnamed(), vec![write]).await?.ok_or_else(contended)?;
                api.reload_authorities().await?;
                above
            };
            intermediate(api, cause, key_type, &above, slots).await
        }
        Wanted::Intermediate { key_type, has_new_root: false } => {
            let above = root_in_force(api)?;
            intermediate(api, cause, key_type, &above, slots).await
        }
        Wanted::Imported { slot, issuers_pem } => imported(api, &slot, issuers_pem, slots).await,
    }
}

/// The root of the authority that signs, with its key.
fn root_in_force(api: &CommandApi) -> Result<Arc<CertificateAuthority>, Problem> {
    let current = api.authorities.current();
    let root = current.trusted().iter().find(|one| one.authority.certificate_der() == current.signing().root_der());
    let root = root.map(|one| Arc::clone(&one.authority));
    root.ok_or_else(|| {
        let detail = "the root of the authority that signs is not ours: let its owner sign a new one, and import that";
        Problem::new(ErrorCode::InvalidState, detail)
    })
}

async fn root(
    api: &CommandApi,
    key_type: CaKeyType,
    slots: &Slots<'_>,
) -> Result<(Arc<CertificateAuthority>, StreamWrite), Problem> {
    let (slot, common_name) = slots.free(Kind::Root, key_type, &[]).await?;
    let (store, settings) = slots.opened(&slot, key_type)?;
    let made = CertificateAuthority::root(store, settings, new(api, &common_name)?).await;
    let made = Arc::new(made.map_err(|error| unavailable(&error))?);
    let write = created(&made, None, &slot, None);
    Ok((made, write))
}

async fn intermediate(
    api: &CommandApi,
    cause: &Cause,
    key_type: CaKeyType,
    issuer: &CertificateAuthority,
    slots: &Slots<'_>,
) -> Result<StreamWrite, Problem> {
    let issuers: Vec<_> = issuer.chain().map(<[u8]>::to_vec).collect();
    let (slot, common_name) = slots.free(Kind::Issuing, key_type, &issuers).await?;
    let (store, settings) = slots.opened(&slot, key_type)?;
    let found = Intermediate::find(store, settings, issuer, new(api, &common_name)?).await;
    let made = match found.map_err(|error| unavailable(&error))? {
        Intermediate::Made(made) => *made,
        Intermediate::Draft(draft) => {
            let stream = StreamId::certificate_authority(issuer.id());
            let command = || AuthorityCommand::IntendServiceCertificate(intended_intermediate(&draft));
            api.execute::<Authority>(&cause.unnamed(), &stream, None, command, |error| refused(&error)).await?;
            draft.sign(issuer).await.map_err(|error| unavailable(&error))?
        }
    };
    Ok(created(&made, Some(issuer.id()), &slot, None))
}

async fn imported(
    api: &CommandApi,
    slot: &KeySlot,
    issuers_pem: Option<String>,
    slots: &Slots<'_>,
) -> Result<StreamWrite, Problem> {
    if slots.is_taken(slot) {
        return Err(Problem::invalid("/keySlot", "the log knows an authority in this slot already"));
    }
    let keeper = &api.keeper_of_authorities;
    let store = keeper.store(slot).map_err(|error| unavailable(&error))?;
    let CaMaterial::Complete { certificate, .. } = store.load().await.map_err(|error| unavailable(&error))? else {
        return Err(Problem::invalid("/keySlot", "there is no key with a certificate in this slot"));
    };
    let mut chain = vec![certificate];
    if let Some(pem) = &issuers_pem {
        chain.extend(
            certificates_from_pem(pem)
                .ok_or_else(|| Problem::invalid("/issuersPem", "these are no certificates in PEM"))?,
        );
    }
    let made = CertificateAuthority::from_certificates(store, keeper.settings().clone(), chain)
        .map_err(|error| Problem::invalid("/keySlot", error.to_string()))?;
    if !made.ends_at_root() {
        return Err(Problem::invalid("/issuersPem", "the last certificate must be a root, which signed itself"));
    }
    if made.own_validity().timeliness(api.now().to_offset_date_time()) != signalbeam_pki::Timeliness::Within {
        return Err(Problem::invalid("/keySlot", "the authority, or one that vouches for it, is not valid now"));
    }
    Ok(created(&made, None, slot, issuers_pem))
}

fn new<'n>(api: &CommandApi, common_name: &'n str) -> Result<NewAuthority<'n>, Problem> {
    let serial = draw::serial_number().map_err(|error| internal(&error))?;
    Ok(NewAuthority { common_name, serial, now: api.now().to_offset_date_time() })
}
