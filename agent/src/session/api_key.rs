//! The API key: claimed, rotated by the device itself, and never lost with an answer.
//!
//! A successor is stored beside the key before it is used, and the key before lives until then. Whichever of the two the
//! server accepts is kept; an answer that never arrived left a successor that nobody knows, which the next rotation replaces.

use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tracing::{info, warn};

use super::Session;
use crate::api::{self, ClaimedApiKey};
use crate::credentials::NextApiKey;
use crate::failure::Failure;
use crate::problem::Problem;
use crate::secret::ApiKey;
use crate::transport::{Call, CallError, Credential};

impl Session {
    /// Sends a request by the API key alone. A key that is missing, over or refused is replaced by claiming, which succeeds
    /// after an administrator rotated it.
    ///
    /// # Errors
    /// When there is no key to be had or the server refuses.
    pub fn send_with_api_key<T: DeserializeOwned>(&mut self, call: &Call, now: OffsetDateTime) -> Result<T, Failure> {
        match self.send_with_next_key(call) {
            Some(Err(refusal)) if is_about_the_key(&refusal) => {
                warn!(reason = %refusal, "the successor of the API key was refused; using the key before");
            }
            Some(result) => return Ok(result?),
            None => {}
        }
        let key = self.usable_api_key(now)?;
        match self.send(None, call, Credential::ApiKey(key.secret())) {
            Err(refusal) if is_about_the_key(&refusal) => {
                let Ok(claimed) = self.claim_api_key(now) else { return Err(refusal.into()) };
                Ok(self.send(None, call, Credential::ApiKey(claimed.secret()))?)
            }
            other => Ok(other?),
        }
    }

    /// Asks the server for a successor of the API key and stores it. It takes the key's place when it is first used.
    ///
    /// # Errors
    /// When the server refuses, its answer is lost, or the disk refuses; the key before goes on then.
    pub fn rotate_api_key(&mut self, now: OffsetDateTime) -> Result<(), Failure> {
        self.file.rehearse(&self.credentials)?;
        let (issued, _): (ClaimedApiKey, _) = self.send_as_device(&api::rotate_api_key(self.device_id), now)?;
        self.credentials.next_api_key =
            Some(NextApiKey { api_key: issued.api_key, expires_at: issued.expires_at, obtained_at: self.time(now) });
        self.file.save(&self.credentials)
    }

    /// Whether a successor waits for its first use.
    pub fn has_next_api_key(&self) -> bool {
        self.credentials.next_api_key.is_some()
    }

    /// A request by the successor, where there is one: its first success is what ends the key before.
    fn send_with_next_key<T: DeserializeOwned>(&mut self, call: &Call) -> Option<Result<T, CallError>> {
        let next = self.credentials.next_api_key.as_ref()?;
        let result = self.send(None, call, Credential::ApiKey(next.api_key.secret()));
        let is_accepted = match &result {
            Ok(_) => true,
            Err(error) => error.problem().is_some_and(Problem::comes_after_authentication),
        };
        if is_accepted {
            self.promote_next_key();
        }
        Some(result)
    }

    fn promote_next_key(&mut self) {
        let Some(next) = self.credentials.next_api_key.take() else { return };
        info!(prefix = next.api_key.prefix(), expires = %next.expires_at, "the API key was rotated");
        self.credentials.api_key = Some(next.api_key);
        self.credentials.api_key_expires_at = Some(next.expires_at);
        self.credentials.api_key_obtained_at = Some(next.obtained_at);
        if let Err(failure) = self.file.save(&self.credentials) {
            // Both stand in the file, and the successor is tried first.
            warn!(reason = %failure, "the end of the former API key cannot be written down");
        }
    }

    fn usable_api_key(&mut self, now: OffsetDateTime) -> Result<ApiKey, Failure> {
        let ended = self.credentials.api_key_expires_at.filter(|end| *end <= now);
        if let (Some(key), None) = (&self.credentials.api_key, ended) {
            return Ok(key.clone());
        }
        self.claim_api_key(now).map_err(|failure| match failure {
            Failure::Call(CallError::Refused(problem)) if problem.code == "API_KEY_ALREADY_CLAIMED" => {
                ended.map_or(Failure::NoApiKey, Failure::ApiKeyExpired)
            }
            other => other,
        })
    }

    /// Claims an API key and stores it before it is used. The key before ends with the claim.
    pub(super) fn claim_api_key(&mut self, now: OffsetDateTime) -> Result<ApiKey, Failure> {
        self.file.rehearse(&self.credentials)?;
        let call = api::claim_api_key(self.device_id);
        let claimed: ClaimedApiKey = self.send(None, &call, Credential::Bearer(&self.credentials.claim_secret))?;
        self.credentials.api_key = Some(claimed.api_key.clone());
        self.credentials.api_key_expires_at = Some(claimed.expires_at);
        self.credentials.api_key_obtained_at = Some(self.time(now));
        self.credentials.next_api_key = None;
        self.file.save(&self.credentials)?;
        Ok(claimed.api_key)
    }
}

fn is_about_the_key(error: &CallError) -> bool {
    error.problem().is_some_and(Problem::refuses_api_key)
}
