//! The certificate of our own listener, issued by our own certificate authority.

use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use signalbeam_domain::SerialNumber;
use time::{Duration, OffsetDateTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::authority::{AuthorityError, CertificateAuthority, IssuedCertificate};
use crate::certificate;
use crate::chain::SIGNATURE_ALGORITHMS;
use crate::device_key::generate_p256;
use crate::pem::PrivateKeyPem;
use crate::profile;
use crate::public_key::DevicePublicKey;
use crate::validity::{Timeliness, Validity};

/// What our server's certificate is to hold.
#[derive(Debug, Clone)]
pub struct ServerCertificateRequest {
    /// The serial number, drawn by the caller.
    pub serial: SerialNumber,
    /// The host names and addresses, at least one.
    pub names: Vec<ServerName<'static>>,
    /// When it shall hold, see [`CertificateAuthority::validity`].
    pub validity: Validity,
}

impl ServerCertificateRequest {
    /// How long a server's certificate usually holds.
    pub const DEFAULT_DAYS: u32 = 90;
}

/// A server certificate with its freshly made P-256 key.
#[derive(Debug, Clone)]
pub struct IssuedServerCertificate {
    /// The certificate.
    pub certificate: IssuedCertificate,
    /// What a TLS server sends: the certificate, then what leads from it to the root, which clients have. PEM.
    pub chain_pem: String,
    /// The private key.
    pub private_key: PrivateKeyPem,
    /// What a TLS server sends, each in DER.
    pub chain_der: Vec<CertificateDer<'static>>,
}

/// Why a server certificate is to be replaced now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewalReason {
    /// It cannot be read.
    Unreadable,
    /// It was not issued by this authority for servers.
    NotOurs,
    /// It lacks one of the names.
    NameMissing,
    /// It is not valid yet, by our clock.
    NotYetValid,
    /// Less than a third of its life is left.
    Ageing,
}

impl CertificateAuthority {
    /// Makes a P-256 key and issues a server certificate for it.
    ///
    /// # Errors
    /// [`AuthorityError`]; nothing has been issued then.
    pub async fn issue_server(
        &self,
        request: &ServerCertificateRequest,
    ) -> Result<IssuedServerCertificate, AuthorityError> {
        if request.names.is_empty() {
            return Err(AuthorityError::NoServerName);
        }
        let validity = self.within_own(request.validity)?;
        let (pkcs8, spki) = generate_p256()?;
        let key = DevicePublicKey::from_spki_der(&spki).map_err(crate::device_key::DeviceKeyError::from)?;
        let params = profile::server(&request.serial, &request.names, validity, self.urls())?;
        let certificate = self.issue(&params, &key, &spki, request.serial).await?;
        let mut chain_pem = certificate.pem.clone();
        let mut chain_der = vec![CertificateDer::from(certificate.der.clone())];
        chain_pem.push_str(&self.intermediates_pem());
        chain_der.extend(self.intermediates().map(|der| CertificateDer::from(der.to_vec())));
        let private_key = PrivateKeyPem::from_pkcs8_der(&pkcs8);
        Ok(IssuedServerCertificate { certificate, chain_pem, private_key, chain_der })
    }
}

/// Decides whether our server's certificate (DER) is to be replaced now, and why.
pub fn server_certificate_needs_renewal(
    der: &[u8],
    now: OffsetDateTime,
    names: &[ServerName<'static>],
    authority: &CertificateAuthority,
) -> Option<RenewalReason> {
    let Some(validity) = certificate::peek_validity(der) else { return Some(RenewalReason::Unreadable) };
    let leaf = CertificateDer::from(der);
    let Ok(leaf) = EndEntityCert::try_from(&leaf) else { return Some(RenewalReason::Unreadable) };
    if !is_ours(&leaf, validity, authority) {
        return Some(RenewalReason::NotOurs);
    }
    if names.iter().any(|name| leaf.verify_is_valid_for_subject_name(name).is_err()) {
        return Some(RenewalReason::NameMissing);
    }
    let left = validity.not_after - now;
    match validity.timeliness(now) {
        Timeliness::NotYet => Some(RenewalReason::NotYetValid),
        Timeliness::Past => Some(RenewalReason::Ageing),
        Timeliness::Within => (left < lifetime(validity) / 3).then_some(RenewalReason::Ageing),
    }
}

fn lifetime(validity: Validity) -> Duration {
    validity.not_after - validity.not_before
}

fn is_ours(leaf: &EndEntityCert<'_>, validity: Validity, authority: &CertificateAuthority) -> bool {
    let anchor = CertificateDer::from(authority.certificate_der());
    let Ok(anchor) = webpki::anchor_from_trusted_cert(&anchor) else { return false };
    let Ok(at) = u64::try_from(validity.not_before.unix_timestamp()) else { return false };
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
    leaf.verify_for_usage(SIGNATURE_ALGORITHMS, &[anchor], &[], at, KeyUsage::server_auth(), None, None).is_ok()
}

impl IssuedServerCertificate {
    /// The private key as a TLS library takes it.
    ///
    /// # Errors
    /// Never for a key that was made here; the text is simply read back.
    pub fn private_key_der(&self) -> Result<PrivatePkcs8KeyDer<'static>, crate::pem::InvalidPem> {
        crate::pem::decode_one(self.private_key.expose(), &["PRIVATE KEY"])
            .map(|der| PrivatePkcs8KeyDer::from(der.to_vec()))
    }
}
