//! The server's own certificate: issued by our authority and renewed by itself, or read from files that others renew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use signalbeam_authn::draw;
use signalbeam_event_store::Clock;
use signalbeam_pki::{
    Authorities, AuthorityError, ServerCertificateRequest, ServerName, server_certificate_needs_renewal,
};
use tokio::sync::Mutex;

use crate::config::Tls;
use crate::data_dir::{DataDirError, make_private_dir, write_private};
use crate::tls::CertificateSlot;

/// Key and chain in one file, so that they are always those of each other.
pub(crate) const OWN_FILE: &str = "server.pem";
/// What every server certificate of ours names.
pub(crate) const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

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
    /// No serial number could be drawn.
    #[error(transparent)]
    Draw(#[from] draw::DrawError),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] DataDirError),
    /// It could not be read back.
    #[error("the freshly issued private key cannot be read back")]
    OwnKey,
}

/// Keeps the server's certificate fresh.
pub struct ServerCertificate {
    /// Where our own one is kept.
    file: PathBuf,
    authorities: Authorities,
    clock: Arc<dyn Clock>,
    settings: Mutex<Tls>,
    slot: Arc<CertificateSlot>,
}

impl ServerCertificate {
    /// Reads or issues the first one. `folder` is made where it is missing.
    ///
    /// # Errors
    /// [`ServerCertificateError`]
    pub async fn prepare(
        folder: &Path,
        authorities: Authorities,
        clock: Arc<dyn Clock>,
        settings: Tls,
    ) -> Result<Self, ServerCertificateError> {
        make_private_dir(folder)?;
        let file = folder.join(OWN_FILE);
        let first = obtain(&file, &authorities, &*clock, &settings).await?;
        Ok(Self {
            file,
            authorities,
            clock,
            settings: Mutex::new(settings),
            slot: CertificateSlot::new(Arc::new(first)),
        })
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
        let fresh = obtain(&self.file, &self.authorities, &*self.clock, &wanted).await?;
        *settings = wanted;
        let is_other = fresh.cert != self.slot.current().cert;
        if is_other {
            self.slot.replace(Arc::new(fresh));
        }
        Ok(is_other)
    }
}

async fn obtain(
    file: &Path,
    authorities: &Authorities,
    clock: &dyn Clock,
    settings: &Tls,
) -> Result<CertifiedKey, ServerCertificateError> {
    if let (Some(certificate), Some(key)) = (&settings.certificate_file, &settings.private_key_file) {
        return read_pair(certificate, key);
    }
    let names = LOCAL_NAMES.into_iter().chain(settings.server_names.iter().map(String::as_str));
    let names: Vec<ServerName<'static>> = names
        .map(|name| ServerName::try_from(name.to_owned()).map_err(|_| ServerCertificateError::Name(name.to_owned())))
        .collect::<Result<_, _>>()?;
    let now = clock.now().to_offset_date_time();
    let authorities = authorities.current();
    let authority = authorities.for_servers(now);
    if let Ok(present) = read_pair(file, file) {
        match present.cert.first().map(|leaf| server_certificate_needs_renewal(leaf, now, &names, authority)) {
            Some(None) => return Ok(present),
            Some(Some(reason)) => tracing::info!(?reason, "renewing the server's certificate"),
            None => tracing::info!("making the server's certificate: its file holds none"),
        }
    }
    let request = ServerCertificateRequest {
        serial: draw::serial_number()?,
        names,
        validity: authority.validity(now, ServerCertificateRequest::DEFAULT_DAYS),
    };
    let issued = authority.issue_server(&request).await?;
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
