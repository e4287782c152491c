//! Judging an API key: its MAC decides, in constant time and without hashing; bcrypt only where the MAC's key is gone.

use signalbeam_domain::{ApiKey, Prefix, Timestamp};
use signalbeam_event_store::audit::AuthenticationMethod;
use signalbeam_projections::{ApiKeyEntry, CredentialIndex};
use zeroize::Zeroizing;

use super::{Accepted, DeviceCredential, DevicePrincipal, Judgement, require_approved};
use crate::code::ErrorCode;
use crate::http::problem::Problem;
use crate::limits::HashingPermit;
use crate::secrets::{HashError, MacVerdict, SecretKeeper};

/// What the index says of a presented key.
enum Found {
    /// The key whose MAC matches.
    Match(Box<ApiKeyEntry>),
    /// Keys with that prefix whose MACs cannot be judged, because their key is gone.
    Undecided(Vec<ApiKeyEntry>),
}

/// Judges the text of an `X-API-Key` header. `hashing` is asked where bcrypt has to decide; what it refuses is refused.
///
/// # Errors
/// [`HashError`] where bcrypt had to decide and could not.
pub(crate) async fn judge_api_key<'a>(
    text: &str,
    keeper: &SecretKeeper,
    index: &CredentialIndex,
    now: Timestamp,
    hashing: impl FnOnce(Prefix) -> Result<HashingPermit<'a>, Problem>,
) -> Result<Judgement, HashError> {
    let Ok(key) = ApiKey::parse(text) else {
        return Ok(judgement(None, Err(ErrorCode::InvalidApiKey), None, index));
    };
    let prefix = Some(key.prefix());
    let exposed = Zeroizing::new(key.expose());
    let entry = match find(&key, &exposed, keeper, index) {
        Found::Match(entry) => Some(*entry),
        Found::Undecided(candidates) if candidates.is_empty() => None,
        Found::Undecided(candidates) => match hashing(key.prefix()) {
            Ok(permit) => {
                let found = match_by_bcrypt(&exposed, candidates, keeper).await?;
                if found.as_ref().is_none_or(|entry| judge(entry, index, now).is_ok()) {
                    permit.judged();
                }
                found
            }
            Err(problem) => {
                let refused = judgement(prefix, Err(problem.code()), None, index);
                return Ok(Judgement { answer: Some(problem), ..refused });
            }
        },
    };
    let Some(entry) = entry else {
        return Ok(judgement(prefix, Err(ErrorCode::InvalidApiKey), None, index));
    };
    let outcome = judge(&entry, index, now);
    Ok(judgement(prefix, outcome, Some(&entry), index))
}

/// Computes one MAC whether or not the prefix is known, so that a stranger cannot tell the two apart by time.
fn find(key: &ApiKey, exposed: &str, keeper: &SecretKeeper, index: &CredentialIndex) -> Found {
    let presented = keeper.present(exposed);
    index.api_keys(key.prefix(), |entries| {
        let mut undecided = Vec::new();
        for entry in entries {
            match presented.judge(&entry.verifier.mac, &entry.verifier.mac_key_id) {
                MacVerdict::Matches => return Found::Match(Box::new(entry.clone())),
                MacVerdict::Differs => {}
                MacVerdict::KeyUnknown => undecided.push(entry.clone()),
            }
        }
        Found::Undecided(undecided)
    })
}

async fn match_by_bcrypt(
    exposed: &str,
    candidates: Vec<ApiKeyEntry>,
    keeper: &SecretKeeper,
) -> Result<Option<ApiKeyEntry>, HashError> {
    for entry in candidates {
        if keeper.bcrypt_matches(exposed, &entry.verifier.bcrypt).await? {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

fn judge(entry: &ApiKeyEntry, index: &CredentialIndex, now: Timestamp) -> Result<Accepted, ErrorCode> {
    if entry.is_revoked {
        return Err(ErrorCode::ApiKeyRevoked);
    }
    if now >= entry.expires_at {
        return Err(ErrorCode::ApiKeyExpired);
    }
    let device = require_approved(index.device(entry.device_id))?;
    let principal = DevicePrincipal {
        device_id: entry.device_id,
        tenant_id: device.tenant_id,
        credential: DeviceCredential::ApiKey { key_id: entry.key_id, prefix: entry.prefix },
    };
    Ok(Accepted { principal, is_first_use: !entry.is_used })
}

fn judgement(
    prefix: Option<Prefix>,
    outcome: Result<Accepted, ErrorCode>,
    entry: Option<&ApiKeyEntry>,
    index: &CredentialIndex,
) -> Judgement {
    let device_id = entry.map(|entry| entry.device_id);
    Judgement {
        method: AuthenticationMethod::ApiKey,
        outcome,
        device_id,
        tenant_id: device_id.and_then(|id| index.device(id)).map(|device| device.tenant_id),
        serial_number: None,
        prefix,
        answer: None,
    }
}
