//! Authorities, keys and odd certificates that several tests need.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use signalbeam_domain::{DeviceId, SerialNumber, TenantId};
use signalbeam_pki::{
    AuthoritySettings, BlockingPool, CaKeyType, CertificateAuthority, DeviceCertificateRequest, DeviceKeyGenerator,
    DeviceKeyType, DevicePublicKey, MemoryKeyStore, PrivateKeyPem,
};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use tokio::sync::OnceCell;

/// When the tests take place; with a fraction of a second, which certificates cannot express.
pub(crate) const NOW: OffsetDateTime = datetime!(2025-06-01 12:00:00.5 UTC);
pub(crate) const TENANT: &str = "018f3c5e-7b1a-7cc2-9d3e-0123456789ab";
pub(crate) const DEVICE: &str = "018f3c5e-7b1a-7cc2-9d3e-ba9876543210";

pub(crate) fn tenant_id() -> TenantId {
    TenantId::parse(TENANT).unwrap()
}

pub(crate) fn device_id() -> DeviceId {
    DeviceId::parse(DEVICE).unwrap()
}

pub(crate) fn spiffe_id() -> String {
    format!("spiffe://signalbeam.local/tenant/{TENANT}/device/{DEVICE}")
}

pub(crate) fn serial(seed: u8) -> SerialNumber {
    SerialNumber::from_random([seed; 20])
}

pub(crate) fn settings(key_type: CaKeyType) -> AuthoritySettings {
    AuthoritySettings { key_type, ..AuthoritySettings::default() }
}

pub(crate) async fn authority(settings: AuthoritySettings) -> CertificateAuthority {
    let store = Arc::new(MemoryKeyStore::new(BlockingPool::new(2)));
    CertificateAuthority::open_or_create(store, settings, NOW, serial(0xca)).await.unwrap()
}

/// A key that was made for a device; RSA keys are made once for all tests.
pub(crate) async fn device_key(kind: DeviceKeyType) -> (PrivateKeyPem, DevicePublicKey) {
    static RSA: OnceCell<(PrivateKeyPem, DevicePublicKey)> = OnceCell::const_new();
    let generate = || async move { DeviceKeyGenerator::new(1, 1).generate(kind).await.unwrap() };
    match kind {
        DeviceKeyType::Rsa2048 => RSA.get_or_init(generate).await.clone(),
        _ => generate().await,
    }
}

pub(crate) fn request(authority: &CertificateAuthority, public_key: DevicePublicKey) -> DeviceCertificateRequest {
    DeviceCertificateRequest {
        profile: Arc::default(),
        serial: serial(1),
        tenant_id: tenant_id(),
        device_id: device_id(),
        public_key,
        validity: authority.validity(NOW, 90),
    }
}

/// A certificate authority that signs whatever a test wants.
pub(crate) struct Forge {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: Vec<u8>,
}

impl Forge {
    /// A root with the subject of ours.
    pub(crate) fn root() -> Self {
        Self::root_with(KeyPair::generate().unwrap(), |_| {})
    }

    pub(crate) fn root_with(key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca_params("SignalBeam Root CA");
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate authority below this one.
    pub(crate) fn intermediate(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = ca_params("Intermediate");
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate as a device has it, changed at will.
    pub(crate) fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial(1).as_octets().to_vec().into());
        params.not_before = NOW - Duration::days(1);
        params.not_after = NOW + Duration::days(89);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::URI(spiffe_id().try_into().unwrap())];
        change(&mut params);
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().to_vec()
    }
}

fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.distinguished_name.push(DnType::OrganizationName, "SignalBeam");
    params.not_before = NOW - Duration::days(10);
    params.not_after = NOW + Duration::days(3650);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// One DER element.
pub(crate) fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).unwrap();
    let mut der = vec![tag];
    match length {
        0..128 => der.push(u8::try_from(length).unwrap()),
        128..256 => der.extend([0x81, u8::try_from(length).unwrap()]),
        _ => {
            der.push(0x82);
            der.extend(length.to_be_bytes());
        }
    }
    der.extend(contents);
    der
}
