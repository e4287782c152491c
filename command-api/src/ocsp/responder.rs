//! From a request to an answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderValue;
use signalbeam_authn::Authenticator;
use signalbeam_authn::limits::Limits;
use signalbeam_domain::certificate::Standing;
use signalbeam_domain::{Position, Timestamp};
use signalbeam_event_store::{Clock, EventStore, OcspAnswerRecorder, OcspAnswerRow};
use signalbeam_pki::ocsp::{CertId, CertificateStatus, OcspAnswer, OcspFailure, OcspRequest, OcspSigner, SingleAnswer};
use signalbeam_pki::{Authorities, ReasonCode};
use signalbeam_projections::{CertificateState, CredentialIndex, Freshness, ReadModel};

use super::OcspSettings;
use super::cache::{Cache, Signed};
use super::issuers::{Issuer, Issuers};
use super::signers::SignerMaker;

/// How long the tables may take to hold what the index holds.
const TABLES_TIMEOUT: Duration = Duration::from_secs(2);

/// How often index and tables are looked at until they agree; they do within microseconds.
const LOOKS: usize = 100;

/// What a responder works with.
pub struct OcspParts {
    /// Whose certificates are answered for.
    pub authorities: Authorities,
    /// Where the signers' certificates are recorded.
    pub store: Arc<dyn EventStore>,
    /// What is known of certificates right now.
    pub index: Arc<CredentialIndex>,
    /// What is known of them in full.
    pub read_model: ReadModel,
    /// Knows how far the tables have come.
    pub freshness: Freshness,
    /// Knows whether what is known can be relied on.
    pub authenticator: Arc<Authenticator>,
    /// How often a client may have something signed.
    pub limits: Arc<Limits>,
    /// Where every signed statement is recorded.
    pub answers: Arc<OcspAnswerRecorder>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What the operator decided.
    pub settings: OcspSettings,
}

/// Answers requests. Cheap to clone.
#[derive(Clone)]
pub struct OcspResponder(Arc<Inner>);

struct Inner {
    parts: OcspParts,
    issuers: Issuers,
    cache: Cache,
    maker: SignerMaker,
}

impl std::fmt::Debug for OcspResponder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OcspResponder").field("settings", &self.0.parts.settings).finish_non_exhaustive()
    }
}

/// A signed answer on its way to the client.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) response: Bytes,
    /// It takes account of every event up to this one.
    pub(super) position: Position,
    /// Where anybody may get the same one again.
    pub(super) shared: Option<Shared>,
}

/// What caches between here and the client may know of an answer.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
    pub(super) etag: HeaderValue,
    /// Whether the certificate exists.
    pub(super) is_known: bool,
}

/// What is to be signed, apart from the statuses.
struct Assignment<'a> {
    issuer: &'a Issuer,
    signer: &'a OcspSigner,
    position: Position,
    now: Timestamp,
    nonce: Option<&'a [u8]>,
    client: IpAddr,
}

impl OcspResponder {
    /// Takes its parts.
    pub fn new(parts: OcspParts) -> Self {
        let issuers = Issuers::new(parts.authorities.clone());
        let maker = SignerMaker {
            store: Arc::clone(&parts.store),
            clock: Arc::clone(&parts.clock),
            freshness: parts.freshness.clone(),
            validity_days: parts.settings.signer_validity_days,
        };
        Self(Arc::new(Inner { parts, issuers, cache: Cache::default(), maker }))
    }

    /// Answers a request of a client.
    pub(super) async fn answer(&self, request: &[u8], client: IpAddr) -> Result<Delivery, OcspFailure> {
        let answered = self.0.answer(request, client).await;
        if let Err(failure) = answered {
            count(failure.as_str(), "unsigned");
        }
        answered
    }
}

fn count(status: &'static str, source: &'static str) {
    metrics::counter!("signalbeam_ocsp_answers_total", "status" => status, "source" => source).increment(1);
}

impl Inner {
    async fn answer(&self, request: &[u8], client: IpAddr) -> Result<Delivery, OcspFailure> {
        let request = OcspRequest::parse(request).map_err(|_| OcspFailure::MalformedRequest)?;
        let now = self.parts.clock.now();
        let issuer = self.issuers.find(&request.certificates, now).ok_or(OcspFailure::Unauthorized)?;
        // While the log is not relied on nobody is vouched for, and no old answer is handed out either.
        self.parts.authenticator.require_current_state().await.map_err(|_| OcspFailure::TryLater)?;
        // Taken before anything is looked up: what is answered is complete to it at least.
        let position = self.parts.index.position();
        let is_plain = request.nonce.is_none();
        if let ([id], true) = (request.certificates.as_slice(), is_plain)
            && let Some(signed) = self.cache.find(id.der, self.seen(id), now)
        {
            count(signed.status.as_str(), "cached");
            return Ok(signed.delivery(position));
        }
        self.parts.limits.ocsp_signature(client).map_err(|_| OcspFailure::TryLater)?;
        let signer = issuer.signer.signer(&self.maker, &issuer.authority, now).await;
        let signer = signer.map_err(|_| OcspFailure::TryLater)?;
        let assignment = Assignment { issuer: &issuer, signer: &signer, position, now, nonce: request.nonce, client };
        if let ([id], true) = (request.certificates.as_slice(), is_plain) {
            return self.sign_for_all(&assignment, id).await;
        }
        let mut statuses = Vec::with_capacity(request.certificates.len());
        for id in &request.certificates {
            statuses.push((*id, self.status(&assignment, id).await?.0));
        }
        let (response, _) = self.sign(&assignment, &statuses)?;
        Ok(Delivery { response, position, shared: None })
    }

    /// What the index says of a certificate.
    fn seen(&self, id: &CertId<'_>) -> Option<Standing> {
        self.parts.index.certificate_by_serial(id.serial_number?).map(|certificate| certificate.standing)
    }

    /// Signs what is the same for everybody who asks, and keeps it.
    async fn sign_for_all(&self, assignment: &Assignment<'_>, id: &CertId<'_>) -> Result<Delivery, OcspFailure> {
        let (status, seen) = self.status(assignment, id).await?;
        let (response, next_update) = self.sign(assignment, &[(*id, status)])?;
        let this_update = assignment.now;
        let half_life = (next_update.unix_seconds() - this_update.unix_seconds()) / 2;
        let etag = format!("\"{:x}-{}\"", this_update.unix_microseconds(), status.as_str());
        let signed = Signed {
            response,
            status,
            seen,
            this_update,
            refresh_at: this_update.plus_seconds(half_life),
            next_update,
            etag: HeaderValue::from_str(&etag).map_err(|_| OcspFailure::InternalError)?,
        };
        let delivery = signed.delivery(assignment.position);
        // The index knows devices' certificates alone: whether another one ended meanwhile only the tables tell.
        if seen.is_some() || status != CertificateStatus::Good {
            self.cache.keep(id.der, signed);
        }
        Ok(delivery)
    }

    /// What is known of a certificate, with what the index says of it. Both must be of the same moment: an answer that is
    /// kept by what the index said must not say what the tables said before or after.
    async fn status(
        &self,
        assignment: &Assignment<'_>,
        id: &CertId<'_>,
    ) -> Result<(CertificateStatus, Option<Standing>), OcspFailure> {
        let Some(serial_number) = id.serial_number.filter(|_| assignment.issuer.is_named_by(id)) else {
            return Ok((CertificateStatus::Unknown, None));
        };
        for _ in 0..LOOKS {
            let seen = self.seen(id);
            // Certificates of our own are appended without waiting for the index.
            let known = self.parts.index.position().max(self.parts.freshness.last_appended());
            let awaited = self.parts.freshness.wait_for(known, TABLES_TIMEOUT).await;
            awaited.map_err(|_| OcspFailure::TryLater)?;
            let state = self.parts.read_model.certificate_state(serial_number).await.map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "the tables do not answer for OCSP");
                OcspFailure::TryLater
            })?;
            if seen.is_some() && seen != state.map(|state| state.standing) {
                continue;
            }
            // Under another authority the same number is another certificate.
            let state = state.filter(|state| state.authority_id == assignment.issuer.authority.id());
            let status = state.map_or(CertificateStatus::Unknown, |state| status_of(&state, assignment.now));
            return Ok((status, seen));
        }
        Err(OcspFailure::TryLater)
    }

    /// Signs, records and counts; answers until when it holds, too.
    fn sign(
        &self,
        assignment: &Assignment<'_>,
        statuses: &[(CertId<'_>, CertificateStatus)],
    ) -> Result<(Bytes, Timestamp), OcspFailure> {
        let now = assignment.now;
        let end = Timestamp::from_offset_date_time(assignment.signer.certificate().validity.not_after);
        let seconds = i64::try_from(self.parts.settings.validity.as_secs()).unwrap_or(i64::MAX);
        let next_update = now.plus_seconds(seconds).min(end);
        let moment = now.to_offset_date_time();
        let certificates: Vec<_> = statuses
            .iter()
            .map(|(id, status)| SingleAnswer { cert_id: id.der, status: *status, this_update: moment })
            .collect();
        let answer = OcspAnswer {
            produced_at: moment,
            next_update: next_update.to_offset_date_time(),
            certificates: &certificates,
            nonce: assignment.nonce,
        };
        let response = assignment.signer.sign(&answer).map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "an OCSP answer could not be signed");
            OcspFailure::InternalError
        })?;
        for (id, status) in statuses {
            count(status.as_str(), "signed");
            self.parts.answers.note(OcspAnswerRow {
                produced_at: now,
                authority_id: assignment.issuer.authority.id(),
                serial_number: id.serial_number,
                status: status.as_str(),
                complete_to: assignment.position,
                this_update: now,
                next_update,
                has_nonce: assignment.nonce.is_some(),
                client_address: assignment.nonce.map(|_| assignment.client),
                answers: 1,
            });
        }
        Ok((response.into(), next_update))
    }
}

impl Signed {
    fn delivery(&self, position: Position) -> Delivery {
        let shared = Shared {
            this_update: self.this_update,
            next_update: self.next_update,
            etag: self.etag.clone(),
            is_known: self.status != CertificateStatus::Unknown,
        };
        Delivery { response: self.response.clone(), position, shared: Some(shared) }
    }
}

fn status_of(state: &CertificateState, now: Timestamp) -> CertificateStatus {
    let reason = match state.standing {
        Standing::Active => return CertificateStatus::Good,
        Standing::Superseded { .. } => Some(ReasonCode::SUPERSEDED),
        Standing::Revoked => ReasonCode::of(state.reason),
    };
    CertificateStatus::Revoked { at: state.revoked_at.unwrap_or(now).to_offset_date_time(), reason }
}
