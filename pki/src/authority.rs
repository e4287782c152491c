//! The certificate authority: opens or creates itself, and issues certificates by their profiles.

use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, PublicKeyData};
use rustls_pki_types::CertificateDer;
use signalbeam_domain::{AuthorityId, DeviceId, Digest, Fingerprint, SerialNumber, TenantId};
use time::{Duration, OffsetDateTime};
use uuid::Builder;

use crate::certificate::{self, fingerprint, sha256, validity_of};
use crate::key_store::{CaKeyStore, CaKeyType, CaMaterial, KeyStoreError};
use crate::pem;
use crate::profile::{self, ProfileError, PublishedUrls};
use crate::public_key::{CaPublicKey, DevicePublicKey};
use crate::signing::{holds, in_two_passes};
use crate::spiffe::{DeviceIdentity, TrustDomain};
use crate::validity::Validity;

const ROOT_YEARS: i32 = 10;

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
    public_key: CaPublicKey,
    certificate: CertificateDer<'static>,
    /// The subject as it stands in the certificate, DER.
    subject_der: Vec<u8>,
    subject: String,
    serial_number: SerialNumber,
    validity: Validity,
    is_self_signed: bool,
    is_new: bool,
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
    /// When it shall hold, see [`CertificateAuthority::validity`].
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
    /// A key for our own server could not be made.
    #[error(transparent)]
    ServerKey(#[from] crate::device_key::DeviceKeyError),
    /// A server certificate needs at least one name.
    #[error("a server certificate needs at least one name")]
    NoServerName,
}

impl CertificateAuthority {
    /// Opens the authority in `store`, or creates it: a root for ten years from `now`, under `root_serial`.
    ///
    /// An interrupted creation is completed. Several that create at once all end with the same authority.
    ///
    /// # Errors
    /// [`AuthorityError`] where the store fails, or holds something that cannot be a certificate authority.
    pub async fn open_or_create(
        store: Arc<dyn CaKeyStore>,
        settings: AuthoritySettings,
        now: OffsetDateTime,
        root_serial: SerialNumber,
    ) -> Result<Self, AuthorityError> {
        let public_key = match store.load().await? {
            CaMaterial::Complete { public_key, certificate } => {
                return Self::new(store, settings, public_key, &certificate, false);
            }
            CaMaterial::KeyOnly(public_key) => public_key,
            CaMaterial::Absent => store.create_key(settings.key_type).await?,
        };
        let end = now.replace_year(now.year() + ROOT_YEARS).unwrap_or(now + Duration::days(3652));
        let validity = Validity::new(now.saturating_sub(settings.backdating), end);
        let params = profile::root(&root_serial, validity)?;
        let root = in_two_passes(&public_key, &*store, |signer| params.self_signed(signer)).await?;
        let stored = store.store_certificate(root.der()).await?;
        let is_new = stored == root.der().as_ref();
        Self::new(store, settings, public_key, &stored, is_new)
    }

    fn new(
        store: Arc<dyn CaKeyStore>,
        mut settings: AuthoritySettings,
        public_key: CaPublicKey,
        der: &[u8],
        is_new: bool,
    ) -> Result<Self, AuthorityError> {
        let parsed = certificate::parse(der).ok_or(AuthorityError::Certificate("it cannot be read"))?;
        if parsed.public_key().raw != public_key.spki_der() {
            return Err(AuthorityError::Certificate("it belongs to another key"));
        }
        if !parsed.is_ca() {
            return Err(AuthorityError::Certificate("its basicConstraints do not say CA"));
        }
        let may_sign = parsed.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
        if !may_sign {
            return Err(AuthorityError::Certificate("its keyUsage does not allow signing certificates"));
        }
        settings.urls.crl = settings.urls.crl.map(|url| url.for_authority(id_of(der)));
        Ok(Self {
            subject_der: parsed.subject().as_raw().to_vec(),
            subject: parsed.subject().to_string(),
            serial_number: certificate::serial_number_of(&parsed)
                .ok_or(AuthorityError::Certificate("its serial number has more than 20 octets or is not positive"))?,
            validity: validity_of(&parsed),
            is_self_signed: parsed.subject().as_raw() == parsed.issuer().as_raw(),
            certificate: der.to_vec().into(),
            store,
            settings,
            public_key,
            is_new,
        })
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

    /// When the authority itself holds.
    pub fn own_validity(&self) -> Validity {
        self.validity
    }

    /// The public half of the key.
    pub fn public_key(&self) -> &CaPublicKey {
        &self.public_key
    }

    /// Whether the certificate is a root, which nobody needs to be sent.
    pub fn is_self_signed(&self) -> bool {
        self.is_self_signed
    }

    /// The validity of a certificate that is issued at `now` for so many days: backdated, and never outside of the
    /// authority's own.
    pub fn validity(&self, now: OffsetDateTime, days: u32) -> Validity {
        Validity::starting(now, self.settings.backdating, Duration::days(days.into())).intersect(&self.validity)
    }

    /// Issues a device's certificate. Where the asked-for validity reaches beyond the authority's own it is cut; the
    /// answer tells the real one.
    ///
    /// # Errors
    /// [`AuthorityError`]; nothing has been issued then.
    pub async fn issue_device(&self, request: &DeviceCertificateRequest) -> Result<IssuedCertificate, AuthorityError> {
        let validity = self.within_own(request.validity)?;
        let identity = DeviceIdentity {
            trust_domain: self.settings.trust_domain.clone(),
            tenant_id: request.tenant_id,
            device_id: request.device_id,
        };
        let key = &request.public_key;
        let params = profile::device(&request.serial, &identity, key.algorithm(), validity, &self.settings.urls)?;
        self.issue(&params, key, key.spki_der(), request.serial).await
    }

    /// The subject as it stands in the certificate, DER.
    pub(crate) fn subject_der(&self) -> &[u8] {
        &self.subject_der
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
