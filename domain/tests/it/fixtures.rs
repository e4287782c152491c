//! The people and things that the tests speak of. Numbered ones differ only in their number.

use signalbeam_domain::api_key::{KeyIssued, KeyOrigin};
use signalbeam_domain::certificate::{CertificateIntended, CertificateIssued};
use signalbeam_domain::credential::Prefix;
use signalbeam_domain::device::{DecisionReason, DeviceRegistered};
use signalbeam_domain::registration_token::{TokenConsumed, TokenIssued};
use signalbeam_domain::{
    ApiKeyId, AuthorityId, Description, DeviceId, DeviceName, Digest, Fingerprint, Metadata, Reason,
    RegistrationTokenId, SecretVerifier, SerialNumber, Tags, TenantId, Timestamp,
};
use uuid::Uuid;

/// Midnight of a day, counted from 2026-01-01.
pub(crate) fn day(number: i64) -> Timestamp {
    Timestamp::parse("2026-01-01T00:00:00Z").unwrap().plus_days(number)
}

fn uuid(kind: u8, number: u8) -> Uuid {
    Uuid::from_u128(0x018f_3c5e_7b1a_7cc2_9d3e_0000_0000_0000 | u128::from(kind) << 8 | u128::from(number))
}

pub(crate) fn tenant(number: u8) -> TenantId {
    TenantId::from_uuid(uuid(1, number))
}

pub(crate) fn device_id() -> DeviceId {
    DeviceId::from_uuid(uuid(2, 1))
}

pub(crate) fn other_device_id() -> DeviceId {
    DeviceId::from_uuid(uuid(2, 2))
}

pub(crate) fn key_id(number: u8) -> ApiKeyId {
    ApiKeyId::from_uuid(uuid(3, number))
}

pub(crate) fn authority_id(number: u8) -> AuthorityId {
    AuthorityId::from_uuid(uuid(4, number))
}

pub(crate) fn digest(number: u8) -> Digest {
    Digest([number; 32])
}

pub(crate) fn serial(number: u8) -> SerialNumber {
    SerialNumber::from_random([number; 20])
}

pub(crate) fn fingerprint(number: u8) -> Fingerprint {
    Fingerprint::from_digest([number; 32])
}

pub(crate) fn prefix(number: u8) -> Prefix {
    Prefix::parse(&format!("pre{number:05}")).unwrap()
}

pub(crate) fn name(text: &str) -> DeviceName {
    DeviceName::parse(text).unwrap()
}

pub(crate) fn reason(text: &str) -> Reason {
    Reason::parse(text).unwrap()
}

pub(crate) fn because(text: &str) -> DecisionReason {
    DecisionReason { reason: Some(reason(text)) }
}

fn verifier() -> SecretVerifier {
    SecretVerifier { bcrypt: "$2b$12$verifier".into(), mac: digest(0xaa), mac_key_id: "0011223344556677".into() }
}

/// Of tenant 1, expires on day 30.
pub(crate) fn token() -> TokenIssued {
    TokenIssued {
        token_id: RegistrationTokenId::from_uuid(uuid(5, 1)),
        tenant_id: tenant(1),
        prefix: prefix(1),
        verifier: verifier(),
        expires_at: day(30),
        description: Some(Description::parse("for the north hall").unwrap()),
    }
}

/// A registration at tenant 1, by whoever drew the numbered claim secret.
pub(crate) fn registration(claim_secret: u8) -> TokenConsumed {
    TokenConsumed {
        device_id: device_id(),
        tenant_id: tenant(1),
        device_name: name("gateway"),
        metadata: Metadata::default(),
        tags: Tags::default(),
        claim_secret_sha256: digest(claim_secret),
    }
}

/// The device that came of `registration(1)`.
pub(crate) fn registered_device() -> DeviceRegistered {
    DeviceRegistered {
        device_id: device_id(),
        tenant_id: tenant(1),
        device_name: name("gateway"),
        metadata: Metadata::default(),
        tags: Tags::default(),
        token_prefix: prefix(1),
        claim_secret_sha256: digest(1),
    }
}

/// Expires on day 90.
pub(crate) fn key(number: u8, origin: KeyOrigin) -> KeyIssued {
    KeyIssued {
        key_id: key_id(number),
        device_id: device_id(),
        tenant_id: tenant(1),
        prefix: prefix(number),
        verifier: verifier(),
        expires_at: day(90),
        origin,
    }
}

/// Valid from day 0 to day 90, over the public key of the same number, renewing nothing.
pub(crate) fn intended(number: u8) -> CertificateIntended {
    CertificateIntended {
        serial_number: serial(number),
        device_id: device_id(),
        tenant_id: tenant(1),
        profile: "device".into(),
        public_key_sha256: digest(number),
        not_before: day(0),
        not_after: day(90),
        renewal_of: None,
    }
}

/// What was intended, signed.
pub(crate) fn signed(intended: CertificateIntended) -> CertificateIssued {
    CertificateIssued {
        fingerprint: Fingerprint::from_digest(intended.public_key_sha256.0),
        subject: format!("CN=device-{}, O=SignalBeam", intended.device_id),
        authority_id: authority_id(1),
        certificate_pem: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".into(),
        intended,
    }
}
