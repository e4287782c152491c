//! Puts the pieces together: judges what a request presents, records every attempt, and only then lets anybody in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use signalbeam_domain::api_key::{ApiKeyCommand, ApiKeyError, ApiKeys};
use signalbeam_domain::certificate::{CertificateCommand, CertificateError, Certificates, Standing};
use signalbeam_domain::{DeviceStatus, Position, StreamId};
use signalbeam_event_store::audit::AuthenticationMethod;
use signalbeam_event_store::{AuditLog, Clock, CommandMetadata, EventStore, ExecuteError, execute};
use signalbeam_pki::Authorities;
use signalbeam_projections::CredentialIndex;

use crate::admin::AdminTokens;
use crate::code::ErrorCode;
use crate::device::api_key::judge_api_key;
use crate::device::certificate::{CertificateVerdict, judge_certificate};
use crate::device::{Accepted, AuthenticationPolicy, DeviceCredential, DevicePrincipal, Judgement, advice};
use crate::http::context::{RequestContext, single};
use crate::http::problem::Problem;
use crate::limits::Limits;
use crate::log_lock::LogLock;
use crate::recorder::Recorder;
use crate::secrets::SecretKeeper;
use crate::unrecorded::Unrecorded;

/// The header that carries a device's API key.
pub const X_API_KEY: &str = "x-api-key";

/// How old the index may be before the store itself is asked: beyond it the index alone admits nobody.
pub const FRESHNESS_BOUND: Duration = Duration::from_secs(2);
/// How long the index may take to catch up with the store before nobody is let in.
const CATCH_UP_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the index may take to see an event that this node has just appended.
const OWN_WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Decides who is calling.
pub struct Authenticator {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) index: Arc<CredentialIndex>,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) admins: AdminTokens,
    pub(crate) keeper: Arc<SecretKeeper>,
    pub(crate) authorities: Authorities,
    pub(crate) policy: AuthenticationPolicy,
    pub(crate) limits: Arc<Limits>,
    log_lock: LogLock,
    unrecorded: Unrecorded,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// What an [`Authenticator`] is made of.
pub struct Parts {
    /// The event log, for first uses and for what must be read strongly.
    pub store: Arc<dyn EventStore>,
    /// What is known of credentials and devices.
    pub index: Arc<CredentialIndex>,
    /// Where attempts are recorded.
    pub audit: Arc<dyn AuditLog>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Judges admin tokens.
    pub admins: AdminTokens,
    /// Judges secrets.
    pub keeper: Arc<SecretKeeper>,
    /// Who may have issued a device's certificate.
    pub authorities: Authorities,
    /// What the operator decided.
    pub policy: AuthenticationPolicy,
    /// How often, and from where.
    pub limits: Arc<Limits>,
}

/// Which credentials a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// The certificate, then the API key.
    Any,
    /// The API key alone. A certificate that is presented beside it lets nobody in; one that is refused is recorded, and the
    /// policy decides whether the key is looked at.
    ApiKeyOnly,
}

impl Takes {
    /// What whoever presents nothing is told.
    fn advice(self) -> &'static str {
        match self {
            Self::Any => advice(ErrorCode::AuthenticationRequired),
            Self::ApiKeyOnly => "present the device's API key in X-API-Key",
        }
    }
}

impl Authenticator {
    /// Takes its parts.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, index, audit, clock, admins, keeper, authorities, policy, limits } = parts;
        let recorder = Recorder::new(audit, Arc::clone(&clock));
        let (log_lock, unrecorded) = (LogLock::default(), Unrecorded::default());
        Self { store, index, recorder, clock, admins, keeper, authorities, policy, limits, log_lock, unrecorded }
    }

    /// What keeps everybody out while the event log is not to be relied on.
    pub fn log_lock(&self) -> &LogLock {
        &self.log_lock
    }

    /// Writes attempts into the audit log.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Authenticates a device by certificate, or by API key as the policy allows, and records every attempt.
    ///
    /// # Errors
    /// 401 or 403 with the code of the credential that was refused (the API key's where both were); 429 `RATE_LIMITED`;
    /// 503 `LOG_ROLLED_BACK`, `AUTH_STATE_STALE`, `AUDIT_UNAVAILABLE` or `STORE_UNAVAILABLE` where nobody can be let in.
    pub(crate) async fn device(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        takes: Takes,
    ) -> Result<DevicePrincipal, Problem> {
        self.require_current_state().await?;
        let mut judgements = Vec::with_capacity(2);
        let verdict = self.certificate_verdict(context);
        let superseded = verdict.as_ref().and_then(CertificateVerdict::unreported_superseded);
        if let Some(verdict) = verdict.filter(|verdict| takes == Takes::Any || verdict.refusal().is_some()) {
            if verdict.refusal() == Some(ErrorCode::CertificateNotFound) {
                self.unrecorded.note();
            }
            judgements.push(verdict.into_judgement(&self.index));
        }
        let may_use_key = match judgements.first().map(|judgement| &judgement.outcome) {
            None => true,
            Some(Ok(_)) => false,
            Some(Err(code)) => self.policy.api_key_fallback.allows_after(*code),
        };
        if may_use_key && headers.contains_key(X_API_KEY) {
            // More than one key in a request is as good as none that fits.
            let text = single(headers, X_API_KEY).unwrap_or_default();
            let hashing = |prefix| self.limits.before_hashing(context.client_address, prefix);
            let judged = judge_api_key(text, &self.keeper, &self.index, self.clock.now(), hashing).await;
            judgements.push(judged.map_err(|error| undecided(&error))?);
        }
        if judgements.is_empty() {
            return Err(Problem::new(ErrorCode::AuthenticationRequired, takes.advice()));
        }
        let concluded = self.conclude(context, judgements).await;
        if let Some(entry) = superseded {
            self.watch_superseded(context, &entry).await;
        }
        concluded
    }

    /// Authenticates a device by whatever credential it presents.
    ///
    /// # Errors
    /// As for the extractor [`crate::Device`].
    pub async fn any_device(&self, context: &RequestContext, headers: &HeaderMap) -> Result<DevicePrincipal, Problem> {
        self.device(context, headers, Takes::Any).await
    }

    /// The approved device whose certificate was superseded, is in order otherwise, and is presented here. It is *not*
    /// authenticated by that: the only thing it may still do is repeat the renewal that superseded it.
    ///
    /// # Errors
    /// 503 `LOG_ROLLED_BACK` or `AUTH_STATE_STALE`
    pub async fn superseded_device(&self, context: &RequestContext) -> Result<Option<DevicePrincipal>, Problem> {
        self.require_current_state().await?;
        let Some(verdict) = self.certificate_verdict(context) else { return Ok(None) };
        let entry = verdict.entry.filter(|entry| matches!(entry.standing, Standing::Superseded { .. }));
        let Some(entry) = entry.filter(|_| verdict.refusal() == Some(ErrorCode::CertificateRevoked)) else {
            return Ok(None);
        };
        let device = self.index.device(entry.device_id).filter(|device| device.status == DeviceStatus::Approved);
        let device = device.filter(|device| self.permits_address(context, device.tenant_id, Some(entry.device_id)));
        Ok(device.map(|device| DevicePrincipal {
            device_id: entry.device_id,
            tenant_id: device.tenant_id,
            credential: DeviceCredential::Certificate { serial_number: entry.serial_number },
        }))
    }

    /// What the client certificate of the request is worth; `None` where there is none, or none is looked at.
    pub fn certificate_verdict(&self, context: &RequestContext) -> Option<CertificateVerdict> {
        let certificate = context.connection.certificate.as_ref().filter(|_| self.policy.mtls_enabled)?;
        let started = Instant::now();
        let verdict = judge_certificate(certificate, &self.authorities.current(), &self.index, self.clock.now());
        metrics::histogram!("signalbeam_certificate_validation_duration_seconds").record(started.elapsed());
        Some(verdict)
    }

    /// Records the judgements; the last one decides.
    async fn conclude(
        &self,
        context: &RequestContext,
        mut judgements: Vec<Judgement>,
    ) -> Result<DevicePrincipal, Problem> {
        for judgement in &mut judgements {
            if let Ok(accepted) = judgement.outcome {
                let principal = &accepted.principal;
                let settled = match self.admit(context, principal.tenant_id, Some(principal.device_id)) {
                    Ok(()) => self.settle_first_use(context, accepted).await,
                    Err(problem) => Err(problem),
                };
                judgement.outcome = settled.unwrap_or_else(|problem| {
                    let code = problem.code();
                    judgement.answer = Some(problem);
                    Err(code)
                });
            }
        }
        let decided = judgements.last_mut().map(|last| (last.outcome, last.answer.take(), last.prefix));
        self.recorder.record(context, judgements).await?;
        let (outcome, answer, prefix) = decided.unwrap_or((Err(ErrorCode::AuthenticationRequired), None, None));
        outcome.map(|accepted| accepted.principal).map_err(|code| {
            let problem = answer.unwrap_or_else(|| Problem::new(code, advice(code)));
            self.limits.failed(context.client_address, prefix, problem)
        })
    }

    /// Makes the first use of a credential durable before it is answered: a device's new key ends the old one by it, and
    /// what may be repeated until a first use may not be repeated after it.
    async fn settle_first_use(
        &self,
        context: &RequestContext,
        accepted: Accepted,
    ) -> Result<Result<Accepted, ErrorCode>, Problem> {
        if !accepted.is_first_use {
            return Ok(Ok(accepted));
        }
        let principal = accepted.principal;
        let metadata = CommandMetadata {
            actor: principal.actor(),
            correlation_id: context.correlation_id.clone(),
            causation_id: None,
            idempotency: None,
        };
        let tenant = Some(principal.tenant_id);
        let now = self.clock.now();
        let appended = match principal.credential {
            DeviceCredential::Certificate { serial_number } => {
                let stream = StreamId::certificates(principal.device_id);
                let used_from = Some(context.client_address);
                let command = || CertificateCommand::NoteFirstUse { serial_number, used_from };
                match execute::<Certificates>(&*self.store, &stream, tenant, &metadata, now, command).await {
                    Err(ExecuteError::Refused(CertificateError::Revoked)) => {
                        return Ok(Err(ErrorCode::CertificateRevoked));
                    }
                    other => other.map_err(|error| unavailable(&error))?,
                }
            }
            DeviceCredential::ApiKey { key_id, .. } => {
                let stream = StreamId::api_keys(principal.device_id);
                let command = || ApiKeyCommand::NoteFirstUse { key_id };
                match execute::<ApiKeys>(&*self.store, &stream, tenant, &metadata, now, command).await {
                    Err(ExecuteError::Refused(ApiKeyError::Revoked)) => return Ok(Err(ErrorCode::ApiKeyRevoked)),
                    other => other.map_err(|error| unavailable(&error))?,
                }
            }
        };
        if let Some(appended) = appended {
            self.await_own_write(appended.position).await?;
        }
        Ok(Ok(accepted))
    }

    /// Waits until this node's index has seen what this node appended.
    ///
    /// # Errors
    /// 503 `AUTH_STATE_STALE` where that takes too long.
    pub async fn await_own_write(&self, position: Position) -> Result<(), Problem> {
        self.index.wait_for(position, OWN_WRITE_TIMEOUT).await.map_err(|_| stale())
    }

    /// What every device must pass first: the log can be relied on, and so can what is known of it.
    ///
    /// # Errors
    /// 503 `LOG_ROLLED_BACK` or `AUTH_STATE_STALE`.
    pub async fn require_current_state(&self) -> Result<(), Problem> {
        self.log_lock.require_released()?;
        self.require_current_index().await
    }

    /// Nobody is let in on a state that may be out of date: beyond the freshness bound the store itself is asked.
    pub(crate) async fn require_current_index(&self) -> Result<(), Problem> {
        if self.index.failure().is_some() || !self.index.is_ready() {
            return Err(stale());
        }
        if self.index.age() <= FRESHNESS_BOUND {
            return Ok(());
        }
        let head = tokio::time::timeout(CATCH_UP_TIMEOUT, self.store.head()).await;
        let head = head.map_err(|_| stale())?.map_err(|_| stale())?;
        self.index.wait_for(head, CATCH_UP_TIMEOUT).await.map_err(|_| stale())
    }

    /// Records a success by certificate that was not judged by the ordinary rules: the repetition of a renewal.
    ///
    /// # Errors
    /// 503 `AUDIT_UNAVAILABLE`
    pub async fn record_repeated_renewal(
        &self,
        context: &RequestContext,
        principal: DevicePrincipal,
    ) -> Result<(), Problem> {
        let DeviceCredential::Certificate { serial_number } = principal.credential else { return Ok(()) };
        let judgement = Judgement {
            method: AuthenticationMethod::Certificate,
            outcome: Ok(Accepted { principal, is_first_use: false }),
            device_id: Some(principal.device_id),
            tenant_id: Some(principal.tenant_id),
            serial_number: Some(serial_number),
            prefix: None,
            answer: None,
        };
        self.recorder.record(context, vec![judgement]).await
    }
}

fn stale() -> Problem {
    Problem::new(
        ErrorCode::AuthStateStale,
        "what is known of revocations may be out of date, so nobody is let in; try again",
    )
}

fn undecided(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "an API key could not be judged");
    Problem::new(ErrorCode::InternalError, "something went wrong here; the log has the correlation id")
}

pub(crate) fn unavailable(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "the event store failed while a caller was being authenticated");
    Problem::new(ErrorCode::StoreUnavailable, "the event store is unavailable; try again")
}
