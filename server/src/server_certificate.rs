//! The server's own certificate: issued by our authority and renewed by itself, or read from files that others renew.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use signalbeam_command_api::{IntentError, ServiceCertificate, intend_service_certificate};
use signalbeam_event_store::{Clock, EventStore};
use signalbeam_pki::device_key::DeviceKeyError;
use signalbeam_pki::{
    Authorities, AuthorityError, CertificateAuthority, RenewalReason, ServerCertificateRequest, ServerName, ServiceKey,
    peek_validity, server_certificate_needs_renewal,
};
use tokio::sync::Mutex;

use crate::config::Tls;
use crate::data_dir::{DataDirError, make_private_dir, write_private};
use crate::tls::CertificateSlot;

/// Key and chain in one file, so that they are always those of each other.
pub(crate) const OWN_FILE: &str = "server.pem";
/// What every server certificate of ours names.
pub(crate) const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How long the present certificate must still hold to be served on, where the authority that should renew it cannot sign.
const LAST_RESERVE: Duration = Duration::from_hours(7 * 24);

/// Why there is no usable server certificate.
#[derive(Debug, thiserror::Error)]
pub enum ServerCertificateError {
    /// A file cannot be read as PEM.
    #[error("cannot read {}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The files hold no usable pair.
    #[error("{} and its private key are not usable for TLS", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// A configured name cannot stand in a certificate.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
    /// Our authority did not issue one.
    #[error("the certificate authority did not issue a server certificate")]
    Issue(#[from] AuthorityError),
    /// It could not be recorded before it was signed.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// Its key could not be made.
    #[error(transparent)]
    Key(#[from] DeviceKeyError),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] DataDirError),
    /// It could not be read back.
    #[error("the freshly issued private key cannot be read back")]
    OwnKey,
}

/// What a certificate is issued with.
#[derive(Clone)]
pub struct Issuance {
    /// One of them signs it.
    pub authorities: Authorities,
    /// Where it is recorded before it is signed.
    pub store: Arc<dyn EventStore>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// Keeps the server's certificate fresh.
pub struct ServerCertificate {
    /// Where our own one is kept.
    file: PathBuf,
    issuance: Issuance,
    settings: Mutex<Tls>,
    slot: Arc<CertificateSlot>,
}

impl ServerCertificate {
    /// Reads or issues the first one. `folder` is made where it is missing.
    ///
    /// # Errors
    /// [`ServerCertificateError`]
    pub async fn prepare(folder: &Path, issuance: Issuance, settings: Tls) -> Result<Self, ServerCertificateError> {
        make_private_dir(folder)?;
        let file = folder.join(OWN_FILE);
        let first = obtain(&file, &issuance, &settings).await?;
        Ok(Self { file, issuance, settings: Mutex::new(settings), slot: CertificateSlot::new(Arc::new(first)) })
    }

    /// What new handshakes get.
    pub fn slot(&self) -> Arc<CertificateSlot> {
        Arc::clone(&self.slot)
    }

    /// Renews our own one where its time has come, or reads the configured files again; the present one is served on
    /// where that fails. Answers whether new handshakes get another one.
    ///
    /// # Errors
    /// [`ServerCertificateError`]
    pub async fn refresh(&self) -> Result<bool, ServerCertificateError> {
        self.take(None).await
    }

    /// Takes other settings, and a certificate by them.
    ///
    /// # Errors
    /// [`ServerCertificateError`]; the settings stay as they were then.
    pub async fn reconfigure(&self, settings: Tls) -> Result<bool, ServerCertificateError> {
        self.take(Some(settings)).await
    }

    async fn take(&self, wanted: Option<Tls>) -> Result<bool, ServerCertificateError> {
        // Held all the while, so that two refreshes do not issue two.
        let mut settings = self.settings.lock().await;
        let wanted = wanted.unwrap_or_else(|| settings.clone());
        let fresh = obtain(&self.file, &self.issuance, &wanted).await?;
        *settings = wanted;
        let is_other = fresh.cert != self.slot.current().cert;
        if is_other {
            self.slot.replace(Arc::new(fresh));
        }
        Ok(is_other)
    }
}

async fn obtain(file: &Path, issuance: &Issuance, settings: &Tls) -> Result<CertifiedKey, ServerCertificateError> {
    if let (Some(certificate), Some(key)) = (&settings.certificate_file, &settings.private_key_file) {
        return read_pair(certificate, key);
    }
    let names = LOCAL_NAMES.into_iter().chain(settings.server_names.iter().map(String::as_str));
    let names: Vec<ServerName<'static>> = names
        .map(|name| ServerName::try_from(name.to_owned()).map_err(|_| ServerCertificateError::Name(name.to_owned())))
        .collect::<Result<_, _>>()?;
    let now = issuance.clock.now().to_offset_date_time();
    let authorities = issuance.authorities.current();
    let able = authorities.for_servers(now);
    let mut present = read_pair(file, file).ok();
    if let Some(leaf) = present.as_ref().and_then(|present| present.cert.first()) {
        let judged: Vec<_> = able.iter().map(|one| server_certificate_needs_renewal(leaf, now, &names, one)).collect();
        match judged.first() {
            Some(Some(reason)) => tracing::info!(?reason, "renewing the server's certificate"),
            _ => return present.ok_or(ServerCertificateError::OwnKey),
        }
        let is_in_order = judged.iter().any(|reason| matches!(reason, None | Some(RenewalReason::Ageing)));
        let lasts = peek_validity(leaf).is_some_and(|validity| validity.not_after > now + LAST_RESERVE);
        present = present.filter(|_| is_in_order && lasts);
    }
    let mut failure = None;
    for authority in able {
        match issue(file, issuance, authority, &names).await {
            Err(ServerCertificateError::Issue(error)) => {
                metrics::counter!("signalbeam_ca_errors_total").increment(1);
                let cause = &error as &dyn std::error::Error;
                tracing::error!(error = cause, authority_id = %authority.id(), "no server certificate was issued");
                // Some devices know this authority alone: the others are asked when the present certificate is at its end.
                if let Some(present) = present {
                    return Ok(present);
                }
                failure = Some(error);
            }
            outcome => return outcome,
        }
    }
    Err(failure.map_or(ServerCertificateError::OwnKey, ServerCertificateError::Issue))
}

async fn issue(
    file: &Path,
    Issuance { store, clock, .. }: &Issuance,
    authority: &CertificateAuthority,
    names: &[ServerName<'static>],
) -> Result<CertifiedKey, ServerCertificateError> {
    // Nothing is recorded hour after hour that cannot be signed.
    authority.prove_key().await?;
    let (key, days) = (ServiceKey::generate()?, ServerCertificateRequest::DEFAULT_DAYS);
    let certificate = ServiceCertificate::TlsServer;
    let intent = intend_service_certificate(&**store, authority, certificate, &key, days, clock.now()).await?;
    let (serial, validity) = (intent.serial_number, intent.validity);
    let request = ServerCertificateRequest { serial, names: names.to_vec(), validity };
    let issued = authority.issue_server(&request, &key).await?;
    let text = zeroize::Zeroizing::new(format!("{}{}", issued.private_key.expose(), issued.chain_pem));
    write_private(file, text.as_bytes())?;
    let key = issued.private_key_der().map_err(|_| ServerCertificateError::OwnKey)?;
    certified(file, issued.chain_der, PrivateKeyDer::Pkcs8(key))
}

/// Reads a chain and its key; refuses them where they do not belong to each other.
///
/// # Errors
/// [`ServerCertificateError`]
pub(crate) fn read_pair(certificate: &Path, key: &Path) -> Result<CertifiedKey, ServerCertificateError> {
    let pem_error = |path: &Path| {
        let path = path.to_owned();
        move |source| ServerCertificateError::Pem { path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(pem_error(certificate))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(pem_error(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(pem_error(key))?;
    certified(certificate, chain, key)
}

/// Pairs chain and key; refuses them where they do not belong to each other.
fn certified(
    path: &Path,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, ServerCertificateError> {
    let unusable = |source| ServerCertificateError::Unusable { path: path.to_owned(), source };
    if chain.is_empty() {
        return Err(unusable(rustls::Error::NoCertificatesPresented));
    }
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).map_err(unusable)
}
