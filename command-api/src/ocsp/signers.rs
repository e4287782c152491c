//! Who signs answers: for each authority a key that is made in memory, with a certificate that the authority issues for
//! it. Made when the first answer is asked for, so that a server whose answers nobody wants leaves nothing in the log, and
//! renewed when half of its time is over.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use signalbeam_domain::Timestamp;
use signalbeam_event_store::{Clock, EventStore};
use signalbeam_pki::device_key::DeviceKeyError;
use signalbeam_pki::ocsp::OcspSigner;
use signalbeam_pki::{AuthorityError, CertificateAuthority, ServiceKey, Timeliness};
use signalbeam_projections::Freshness;
use tokio::sync::Mutex;

use crate::service_certificates::{IntentError, ServiceCertificate, intend_service_certificate};

/// How long after a failure the authority's key store is left in peace.
const PAUSE: Duration = Duration::from_secs(1);

/// The signer of an authority, and its making: one at a time.
#[derive(Debug, Default)]
pub(super) struct SignerSlot {
    current: RwLock<Option<Arc<OcspSigner>>>,
    making: Mutex<Making>,
}

#[derive(Debug, Default)]
struct Making {
    failed_at: Option<Instant>,
}

/// What signers are made with.
#[derive(Clone)]
pub(super) struct SignerMaker {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Arc<dyn Clock>,
    /// Told of what is recorded, so that the signer itself is known when it is asked about.
    pub(super) freshness: Freshness,
    pub(super) validity_days: u16,
}

/// Why there is no signer.
#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error(transparent)]
    Key(#[from] DeviceKeyError),
    #[error(transparent)]
    Intent(#[from] IntentError),
    #[error(transparent)]
    Issue(#[from] AuthorityError),
}

/// There is no signer at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoSigner;

impl SignerSlot {
    fn usable(&self, now: Timestamp) -> Option<Arc<OcspSigner>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let signer = current.as_ref()?;
        let is_timely = signer.certificate().validity.timeliness(now.to_offset_date_time()) == Timeliness::Within;
        is_timely.then(|| Arc::clone(signer))
    }

    /// The signer of an authority: made where there is none, renewed beside the answers where its time comes.
    pub(super) async fn signer(
        self: &Arc<Self>,
        maker: &SignerMaker,
        authority: &Arc<CertificateAuthority>,
        now: Timestamp,
    ) -> Result<Arc<OcspSigner>, NoSigner> {
        let usable = self.usable(now);
        if let Some(signer) = &usable
            && (!is_ageing(signer, now) || self.making.try_lock().is_err())
        {
            return Ok(Arc::clone(signer));
        }
        let (slot, maker, authority) = (Arc::clone(self), maker.clone(), Arc::clone(authority));
        // Ends also where the client goes away: what was recorded is then signed.
        let making = tokio::spawn(async move { slot.make(&maker, &authority).await });
        match usable {
            Some(signer) => Ok(signer),
            None => making.await.map_err(|_| NoSigner)?,
        }
    }

    async fn make(&self, maker: &SignerMaker, authority: &CertificateAuthority) -> Result<Arc<OcspSigner>, NoSigner> {
        let mut making = self.making.lock().await;
        let now = maker.clock.now();
        // Somebody else may have made it meanwhile.
        if let Some(signer) = self.usable(now).filter(|signer| !is_ageing(signer, now)) {
            return Ok(signer);
        }
        if making.failed_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(NoSigner);
        }
        match maker.make(authority, now).await {
            Ok(signer) => {
                let signer = Arc::new(signer);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&signer));
                making.failed_at = None;
                tracing::info!(
                    serial_number = %signer.certificate().serial,
                    authority_id = %authority.id(),
                    "OCSP answers are signed by a new certificate"
                );
                Ok(signer)
            }
            Err(error) => {
                metrics::counter!("signalbeam_ca_errors_total").increment(1);
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, authority_id = %authority.id(), "there is no certificate to sign OCSP answers with");
                making.failed_at = Some(Instant::now());
                Err(NoSigner)
            }
        }
    }
}

impl SignerMaker {
    async fn make(&self, authority: &CertificateAuthority, now: Timestamp) -> Result<OcspSigner, MakeError> {
        // Before anything is recorded: the log keeps every intent, and while the store is dead each second's first question
        // would make another one.
        authority.prove_key().await?;
        let (key, days) = (ServiceKey::generate()?, u32::from(self.validity_days));
        let intent =
            intend_service_certificate(&*self.store, authority, ServiceCertificate::OcspSigner, &key, days, now)
                .await?;
        if let Some(position) = intent.position {
            self.freshness.note_appended(position);
        }
        Ok(authority.issue_ocsp_signer(&key, intent.serial_number, intent.validity).await?)
    }
}

/// Whether half of its time is over.
fn is_ageing(signer: &OcspSigner, now: Timestamp) -> bool {
    let validity = signer.certificate().validity;
    let half = (validity.not_after - validity.not_before) / 2;
    now.to_offset_date_time() >= validity.not_before + half
}
