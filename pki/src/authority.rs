//! The certificate authority: opens or creates itself, and issues certificates by their profiles.

use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, PublicKeyData};
use rustls_pki_types::CertificateDer;
use signalbeam_domain::{AuthorityId, DeviceId, Digest, Fingerprint, SerialNumber, TenantId};
use time::{Duration, OffsetDateTime};
use uuid::Builder;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_KEY_IDENTIFIER;
use x509_parser::prelude::X509Certificate;

use crate::certificate::{self, fingerprint, sha256, validity_of};
use crate::key_store::{CaKeyStore, CaKeyType, CaMaterial, KeyStoreError};
use crate::pem;
use crate::profile::{self, Profile, ProfileError, PublishedUrls};
use crate::public_key::{CaPublicKey, DevicePublicKey};
use crate::signing::{holds, in_two_passes};
use crate::spiffe::{DeviceIdentity, TrustDomain};
use crate::validity::Validity;

const ROOT_YEARS: i32 = 10;

/// The first root's common name.
pub const FIRST_ROOT: &str = "SignalBeam Root CA";

/// What a certificate authority is told by the configuration.
#[derive(Debug, Clone)]
pub struct AuthoritySettings {
    /// The type of key for a new authority; an existing one keeps its own.
    pub key_type: CaKeyType,
    /// The trust domain in devices' SPIFFE ids.
    pub trust_domain: TrustDomain,
    /// What is published where.
    pub urls: PublishedUrls,
    /// How far back certificates start, for devices whose clocks are slow.
    pub backdating: Duration,
}

impl Default for AuthoritySettings {
    /// RSA-2048, `signalbeam.local`, no URLs, 5 minutes.
    fn default() -> Self {
        Self {
            key_type: CaKeyType::default(),
            trust_domain: TrustDomain::default(),
            urls: PublishedUrls::default(),
            backdating: Duration::minutes(5),
        }
    }
}

/// A certificate authority whose key lives in a key store.
#[derive(Debug)]
pub struct CertificateAuthority {
    store: Arc<dyn CaKeyStore>,
    settings: AuthoritySettings,
    /// What it writes into certificates of authorities under it.
    urls_for_authorities: PublishedUrls,
    public_key: CaPublicKey,
    certificate: CertificateDer<'static>,
    /// Who signed its certificate, and so on, up to and including the root; empty for a root.
    issuers: Vec<CertificateDer<'static>>,
    /// The subject as it stands in the certificate, DER.
    subject_der: Vec<u8>,
    subject: String,
    serial_number: SerialNumber,
    validity: Validity,
    is_new: bool,
}

/// How a new authority is named and numbered.
#[derive(Debug, Clone)]
pub struct NewAuthority<'n> {
    /// Its common name. Two authorities of one name would be taken for each other by those who check revocation lists.
    pub common_name: &'n str,
    /// The serial number of its certificate, drawn by the caller.
    pub serial: SerialNumber,
    /// When it is made.
    pub now: OffsetDateTime,
}

/// What goes into a device's certificate; decided and recorded before anything is signed.
#[derive(Debug, Clone)]
pub struct DeviceCertificateRequest {
    /// The serial number, drawn by the caller.
    pub serial: SerialNumber,
    /// The device's tenant.
    pub tenant_id: TenantId,
    /// The device.
    pub device_id: DeviceId,
    /// The device's key.
    pub public_key: DevicePublicKey,
    /// What decides everything else.
    pub profile: Arc<Profile>,
    /// When it shall hold, see [`CertificateAuthority::device_validity`].
    pub validity: Validity,
}

/// A certificate that has been signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// The certificate, PEM.
    pub pem: String,
    /// Its serial number.
    pub serial: SerialNumber,
    /// The SHA-256 of its DER.
    pub fingerprint: Fingerprint,
    /// Its subject, such as `CN=device-..., O=SignalBeam`.
    pub subject: String,
    /// When it holds: what was asked for, cut to the authority's own validity.
    pub validity: Validity,
    /// The SHA-256 of its `SubjectPublicKeyInfo`, as [`DevicePublicKey::sha256`].
    pub public_key_sha256: Digest,
}

/// A certificate authority cannot be opened or cannot issue.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The key store failed.
    #[error(transparent)]
    KeyStore(#[from] KeyStoreError),
    /// The stored certificate cannot be used with the stored key as a certificate authority.
    #[error("the certificate authority's certificate cannot be used: {0}")]
    Certificate(&'static str),
    /// Nothing of the asked-for validity lies within the authority's own.
    #[error("the certificate authority is valid from {} to {}, which the certificate would not be", .0.not_before, .0.not_after)]
    OutsideValidity(Validity),
    /// The profile cannot be expressed.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The certificate cannot be put together.
    #[error("the certificate cannot be put together")]
    Build(#[from] rcgen::Error),
    /// The key store's signature does not hold under the authority's public key.
    #[error("the key store's signature does not hold under the certificate authority's public key")]
    BadSignature,
    /// The finished certificate does not say what it was to say.
    #[error("the finished certificate has another {0} than was asked for")]
    NotPreserved(&'static str),
    /// The profile does not allow the key.
    #[error(transparent)]
    Key(#[from] crate::csr::CsrError),
    /// A key for our own server could not be made.
    #[error(transparent)]
    ServerKey(#[from] crate::device_key::DeviceKeyError),
    /// A server certificate needs at least one name.
    #[error("a server certificate needs at least one name")]
    NoServerName,
}

impl CertificateAuthority {
    /// Opens the authority in `store`, or creates it: the first root, see [`CertificateAuthority::root`].
    ///
    /// # Errors
    /// [`AuthorityError`] where the store fails, or holds something that cannot be a certificate authority.
    pub async fn open_or_create(
        store: Arc<dyn CaKeyStore>,
        settings: AuthoritySettings,
        now: OffsetDateTime,
        root_serial: SerialNumber,
    ) -> Result<Self, AuthorityError> {
        Self::root(store, settings, NewAuthority { common_name: FIRST_ROOT, serial: root_serial, now }).await
    }

    /// Opens the root in `store`, or creates it for ten years.
    ///
    /// An interrupted creation is completed. Several that create at once all end with the same authority.
    ///
    /// # Errors
    /// [`AuthorityError`] where the store fails, or holds something that cannot be a certificate authority.
    pub async fn root(
        store: Arc<dyn CaKeyStore>,
        settings: AuthoritySettings,
        new: NewAuthority<'_>,
    ) -> Result<Self, AuthorityError> {
        let public_key = match key_of(&*store, &settings).await? {
            Found::Whole(certificate) => return Self::from_certificates(store, settings, vec![certificate]),
            Found::Key(public_key) => public_key,
        };
        let validity = Validity::new(new.now.saturating_sub(settings.backdating), years_after(new.now, ROOT_YEARS));
        let params = profile::root(new.common_name, &new.serial, validity)?;
        let root = in_two_passes(&public_key, &*store, |signer| params.self_signed(signer)).await?;
        let stored = store.store_certificate(root.der()).await?;
        let is_new = stored == root.der().as_ref();
        Ok(Self { is_new, ..Self::from_certificates(store, settings, vec![stored])? })
    }

    /// The authority of these certificates, whose key is in `store`: its own (DER), its issuer's, and so on up to the
    /// root. The store is not asked: it may be out of reach for now, and then everything but signing works.
    ///
    /// # Errors
    /// [`AuthorityError::Certificate`] where these are no authority's certificates, or do not sign each other.
    pub fn from_certificates(
        store: Arc<dyn CaKeyStore>,
        mut settings: AuthoritySettings,
        certificates: Vec<Vec<u8>>,
    ) -> Result<Self, AuthorityError> {
        let mut certificates = certificates.into_iter().map(CertificateDer::from);
        let certificate = certificates.next().ok_or(AuthorityError::Certificate("there is none"))?;
        let issuers: Vec<_> = certificates.collect();
        let parsed = read_authority(&certificate)?;
        let public_key = CaPublicKey::from_spki_der(parsed.public_key().raw)
            .map_err(|_| AuthorityError::Certificate("its key is of a kind that cannot sign here"))?;
        let mut validity = validity_of(&parsed);
        let mut below = parsed.clone();
        for issuer in &issuers {
            let above = read_authority(issuer)?;
            if below.issuer() != above.subject() || below.verify_signature(Some(above.public_key())).is_err() {
                return Err(AuthorityError::Certificate("it was not signed by the next one of its chain"));
            }
            validity = validity.intersect(&validity_of(&above));
            below = above;
        }
        let urls_for_authorities = settings.urls.for_authorities_under(id_of(&certificate));
        settings.urls = settings.urls.for_authority(id_of(&certificate));
        Ok(Self {
            subject_der: parsed.subject().as_raw().to_vec(),
            subject: parsed.subject().to_string(),
            serial_number: certificate::serial_number_of(&parsed)
                .ok_or(AuthorityError::Certificate("its serial number has more than 20 octets or is not positive"))?,
            validity,
            certificate: certificate.clone(),
            issuers: issuers.clone(),
            store,
            settings,
            urls_for_authorities,
            public_key,
            is_new: false,
        })
    }

    /// What a certificate that others made lacks of an authority's that strict checkers accept (RFC 5280, sections 4.2.1.2
    /// and 4.2.1.3): they ask for more than [`CertificateAuthority::from_certificates`].
    pub fn lacks(&self) -> Option<&'static str> {
        let Some(parsed) = certificate::parse(&self.certificate) else { return Some("it cannot be read") };
        let usage = parsed.key_usage().ok().flatten().map(|usage| usage.value);
        let has_key_id = parsed.iter_extensions().any(|one| one.oid == OID_X509_EXT_SUBJECT_KEY_IDENTIFIER);
        match usage {
            None => Some("it has no keyUsage; it needs keyCertSign and cRLSign"),
            Some(usage) if !usage.crl_sign() => Some("its keyUsage does not allow signing revocation lists (cRLSign)"),
            Some(_) if !has_key_id => Some("it has no subjectKeyIdentifier"),
            Some(_) => None,
        }
    }

    /// The id, derived from the fingerprint: the same authority has the same id on every node.
    pub fn id(&self) -> AuthorityId {
        id_of(&self.certificate)
    }

    /// Whether this very call created it.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The certificate, DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The certificate, PEM.
    pub fn certificate_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.certificate)
    }

    /// The SHA-256 of the certificate's DER.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.certificate)
    }

    /// The subject, such as `CN=SignalBeam Root CA, O=SignalBeam, C=US`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The serial number of its own certificate.
    pub fn serial_number(&self) -> SerialNumber {
        self.serial_number
    }

    /// When the authority itself holds, and all who vouch for it do.
    pub fn own_validity(&self) -> Validity {
        self.validity
    }

    /// The public half of the key.
    pub fn public_key(&self) -> &CaPublicKey {
        &self.public_key
    }

    /// Its certificate, its issuer's, and so on up to the root, each in DER.
    pub fn chain(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&self.certificate).chain(&self.issuers).map(AsRef::as_ref)
    }

    /// What goes with a certificate that it issued, so that whoever trusts the root alone can check it: its own
    /// certificate and those between it and the root, each in DER. Nothing where it is the root.
    pub fn intermediates(&self) -> impl Iterator<Item = &[u8]> {
        self.chain().take(self.issuers.len())
    }

    /// [`CertificateAuthority::intermediates`] in PEM.
    pub fn intermediates_pem(&self) -> String {
        self.intermediates().map(|der| pem::encode("CERTIFICATE", der)).collect()
    }

    /// The certificate of who signed its own, DER; `None` for a root.
    pub fn issuer_der(&self) -> Option<&[u8]> {
        self.issuers.first().map(AsRef::as_ref)
    }

    /// Whether its chain ends at a certificate that signed itself.
    pub fn ends_at_root(&self) -> bool {
        certificate::parse(self.root_der())
            .is_some_and(|root| root.subject() == root.issuer() && root.verify_signature(None).is_ok())
    }

    /// Signs something with its key and checks the signature under the certificate's.
    ///
    /// # Errors
    /// [`AuthorityError`] where the store cannot sign, or with another key.
    pub async fn prove_key(&self) -> Result<(), AuthorityError> {
        let challenge = b"SignalBeam: does this key belong to this certificate?";
        let signature = self.store.sign(challenge).await?;
        if holds(&self.public_key, challenge, &signature) { Ok(()) } else { Err(AuthorityError::BadSignature) }
    }

    /// The root's certificate, DER: its own where it is the root.
    pub fn root_der(&self) -> &[u8] {
        self.issuers.last().unwrap_or(&self.certificate)
    }

    /// The subject as it stands in the certificate, DER.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// Whether the certificate is a root, which nobody needs to be sent.
    pub fn is_root(&self) -> bool {
        self.issuers.is_empty()
    }

    /// The validity of a certificate that is issued at `now` for so many days: backdated, and never outside of the
    /// authority's own.
    pub fn validity(&self, now: OffsetDateTime, days: u32) -> Validity {
        Validity::starting(now, self.settings.backdating, Duration::days(days.into())).intersect(&self.validity)
    }

    /// The same for a device's certificate, backdated as its profile says.
    pub fn device_validity(&self, profile: &Profile, now: OffsetDateTime, days: u32) -> Validity {
        Validity::starting(now, profile.backdating(), Duration::days(days.into())).intersect(&self.validity)
    }

    /// Issues a device's certificate. Where the asked-for validity reaches beyond the authority's own it is cut; the
    /// answer tells the real one.
    ///
    /// # Errors
    /// [`AuthorityError`], also where the profile does not allow the key; nothing has been issued then.
    pub async fn issue_device(&self, request: &DeviceCertificateRequest) -> Result<IssuedCertificate, AuthorityError> {
        let validity = self.within_own(request.validity)?;
        let identity = DeviceIdentity {
            trust_domain: self.settings.trust_domain.clone(),
            tenant_id: request.tenant_id,
            device_id: request.device_id,
        };
        let key = &request.public_key;
        request.profile.check_key(key)?;
        let params =
            request.profile.params(&request.serial, &identity, key.algorithm(), validity, &self.settings.urls)?;
        self.issue(&params, key, key.spki_der(), request.serial).await
    }

    /// Signs octets with the authority's key; a signature of a faulty store does not get out.
    pub(crate) async fn sign(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, AuthorityError> {
        let signature = self.store.sign(to_be_signed).await?;
        if holds(&self.public_key, to_be_signed, &signature) {
            Ok(signature)
        } else {
            Err(AuthorityError::BadSignature)
        }
    }

    pub(crate) fn urls(&self) -> &PublishedUrls {
        &self.settings.urls
    }

    pub(crate) fn urls_for_authorities(&self) -> &PublishedUrls {
        &self.urls_for_authorities
    }

    pub(crate) fn within_own(&self, validity: Validity) -> Result<Validity, AuthorityError> {
        let cut = validity.intersect(&self.validity);
        if cut.is_empty() { Err(AuthorityError::OutsideValidity(self.validity)) } else { Ok(cut) }
    }

    pub(crate) async fn issue(
        &self,
        params: &CertificateParams,
        key: &(impl PublicKeyData + Sync),
        spki: &[u8],
        serial: SerialNumber,
    ) -> Result<IssuedCertificate, AuthorityError> {
        let certificate = in_two_passes(&self.public_key, &*self.store, |signer| {
            params.signed_by(key, &Issuer::from_ca_cert_der(&self.certificate, signer)?)
        })
        .await?;
        self.describe(certificate.der().to_vec(), spki, serial)
    }

    /// Reads the finished certificate back, and holds it against what was asked for: a re-encoded key or issuer would
    /// make a certificate that verifies nowhere.
    fn describe(&self, der: Vec<u8>, spki: &[u8], serial: SerialNumber) -> Result<IssuedCertificate, AuthorityError> {
        let parsed = certificate::parse(&der).ok_or(AuthorityError::NotPreserved("encoding"))?;
        if parsed.public_key().raw != spki {
            return Err(AuthorityError::NotPreserved("public key"));
        }
        if parsed.issuer().as_raw() != self.subject_der {
            return Err(AuthorityError::NotPreserved("issuer"));
        }
        if parsed.raw_serial() != serial.as_octets() {
            return Err(AuthorityError::NotPreserved("serial number"));
        }
        let (subject, validity) = (parsed.subject().to_string(), validity_of(&parsed));
        Ok(IssuedCertificate {
            pem: pem::encode("CERTIFICATE", &der),
            fingerprint: fingerprint(&der),
            public_key_sha256: Digest(sha256(spki)),
            der,
            serial,
            subject,
            validity,
        })
    }
}

fn id_of(certificate: &[u8]) -> AuthorityId {
    let mut octets = [0; 16];
    octets.copy_from_slice(&fingerprint(certificate).as_octets()[..16]);
    AuthorityId::from_uuid(Builder::from_custom_bytes(octets).into_uuid())
}

/// What a store holds of an authority that is to be opened or created.
pub(crate) enum Found {
    Whole(Vec<u8>),
    Key(CaPublicKey),
}

/// The key in a store, made where there is none, and its certificate where there is one.
pub(crate) async fn key_of(store: &dyn CaKeyStore, settings: &AuthoritySettings) -> Result<Found, AuthorityError> {
    match store.load().await? {
        CaMaterial::Complete { public_key, certificate } => {
            let parsed = certificate::parse(&certificate).ok_or(AuthorityError::Certificate("it cannot be read"))?;
            if parsed.public_key().raw != public_key.spki_der() {
                return Err(AuthorityError::Certificate("it belongs to another key"));
            }
            Ok(Found::Whole(certificate))
        }
        CaMaterial::KeyOnly(public_key) => Ok(Found::Key(public_key)),
        CaMaterial::Absent => Ok(Found::Key(store.create_key(settings.key_type).await?)),
    }
}

/// Reads a certificate that may sign others (RFC 5280, sections 4.2.1.3 and 4.2.1.9).
fn read_authority(der: &[u8]) -> Result<X509Certificate<'_>, AuthorityError> {
    let parsed = certificate::parse(der).ok_or(AuthorityError::Certificate("it cannot be read"))?;
    if !parsed.is_ca() {
        return Err(AuthorityError::Certificate("its basicConstraints do not say CA"));
    }
    if !parsed.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign()) {
        return Err(AuthorityError::Certificate("its keyUsage does not allow signing certificates"));
    }
    Ok(parsed)
}

pub(crate) fn years_after(now: OffsetDateTime, years: i32) -> OffsetDateTime {
    now.replace_year(now.year() + years).unwrap_or(now + Duration::days(i64::from(years) * 365))
}
