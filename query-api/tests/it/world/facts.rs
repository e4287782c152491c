//! What happens in the small installation: tokens, devices, keys and certificates, recorded as the commands record them.

use signalbeam_authn::draw;
use signalbeam_authn::secrets::claim_secret_sha256;
use signalbeam_domain::api_key::{ApiKeyEvent, KeyIssued, KeyOrigin};
use signalbeam_domain::authority::{AuthorityEvent, AuthorityRotated};
use signalbeam_domain::certificate::{
    CertificateEvent, CertificateIntended, CertificateIssued, CertificateRenewalRequested, CertificateReuseSuspected,
    CertificateRevoked, CertificateSuperseded, ReuseSign,
};
use signalbeam_domain::device::{
    DecisionReason, DeviceApproved, DeviceEvent, DeviceNetworksRestricted, DeviceRegistered, DeviceRejected,
    DeviceRenamed, DeviceSuspended,
};
use signalbeam_domain::registration_token::{RegistrationTokenEvent, TokenIssued};
use signalbeam_domain::{
    Actor, ActorKind, AllowedNetworks, ApiKeyId, AuthorityId, Description, DeviceId, DeviceName, Digest, Fingerprint,
    Metadata, Network, Prefix, Reason, RegistrationTokenId, SecretVerifier, SerialNumber, StreamId, Tag, Tags,
    TenantId, Timestamp, ValidityBounds,
};
use uuid::Uuid;

use super::{As, World};

/// The id of the authority that signs every certificate.
const AUTHORITY: u128 = 7;

/// A device, and the claim secret that it registered with.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) id: DeviceId,
    pub(crate) tenant_id: TenantId,
    pub(crate) claim: As,
}

/// What looks like a verifier, and must not be shown.
pub(crate) fn verifier() -> SecretVerifier {
    SecretVerifier { bcrypt: "$2b$04$verifier".to_owned(), mac: Digest([0xaa; 32]), mac_key_id: "00".repeat(8) }
}

fn reason(text: &str) -> DecisionReason {
    DecisionReason { reason: Some(Reason::parse(text).unwrap()) }
}

fn prefix() -> Prefix {
    draw::registration_token().unwrap().prefix()
}

impl World {
    /// A token that expires then; its id and its prefix.
    pub(crate) async fn issue_token(
        &self,
        tenant_id: TenantId,
        expires_at: Timestamp,
    ) -> (RegistrationTokenId, Prefix) {
        let prefix = prefix();
        let token_id = RegistrationTokenId::from_uuid(Uuid::now_v7());
        let issued = TokenIssued {
            token_id,
            tenant_id,
            prefix,
            verifier: verifier(),
            expires_at,
            description: Some(Description::parse("for the north hall").unwrap()),
        };
        let stream = StreamId::registration_token(prefix);
        self.record(Some(tenant_id), stream, [RegistrationTokenEvent::Issued(issued)]).await;
        (token_id, prefix)
    }

    /// A pending device.
    pub(crate) async fn register(&self, tenant_id: TenantId, name: &str) -> Registered {
        let claim = draw::claim_secret().unwrap();
        let id = DeviceId::from_uuid(Uuid::now_v7());
        let token_prefix = prefix();
        let registered = DeviceRegistered {
            device_id: id,
            tenant_id,
            device_name: DeviceName::parse(name).unwrap(),
            metadata: serde_json::from_str::<Metadata>(r#"{"mac": "aa:bb:cc:dd:ee:ff"}"#).unwrap(),
            tags: Tags::default(),
            token_prefix,
            claim_secret_sha256: claim_secret_sha256(&claim),
        };
        let actor = Actor { kind: ActorKind::RegistrationToken, id: token_prefix.to_string() };
        self.record_by(actor, Some(tenant_id), StreamId::device(id), [DeviceEvent::Registered(registered)]).await;
        Registered { id, tenant_id, claim: As::Bearer(claim.expose()) }
    }

    /// Gives a device these tags and no others.
    pub(crate) async fn tag(&self, device: &Registered, tags: &[&str]) {
        let tags = Tags::new(tags.iter().map(|tag| Tag::parse(tag).unwrap())).unwrap();
        let renamed = DeviceRenamed { tags: Some(tags), ..DeviceRenamed::default() };
        self.device_event(device.tenant_id, device.id, DeviceEvent::Renamed(renamed)).await;
    }

    /// Binds a device to networks.
    pub(crate) async fn restrict(&self, device: &Registered, networks: &[&str]) {
        let networks = networks.iter().map(|network| Network::parse(network).unwrap()).collect();
        let restricted = DeviceNetworksRestricted { networks: AllowedNetworks::new(networks).unwrap() };
        self.device_event(device.tenant_id, device.id, DeviceEvent::NetworksRestricted(restricted)).await;
    }

    async fn device_event(&self, tenant_id: TenantId, id: DeviceId, event: DeviceEvent) {
        self.record(Some(tenant_id), StreamId::device(id), [event]).await;
    }

    pub(crate) async fn approve(&self, device: &Registered) {
        let api_key_validity_days = ValidityBounds::API_KEY.judge(Some(90)).unwrap();
        let approved = DeviceEvent::Approved(DeviceApproved { api_key_validity_days });
        self.device_event(device.tenant_id, device.id, approved).await;
    }

    pub(crate) async fn reject(&self, device: &Registered, why: &str) {
        let rejected = DeviceEvent::Rejected(DeviceRejected(reason(why)));
        self.device_event(device.tenant_id, device.id, rejected).await;
    }

    pub(crate) async fn suspend(&self, device: &Registered, why: &str) {
        let suspended = DeviceEvent::Suspended(DeviceSuspended(reason(why)));
        self.device_event(device.tenant_id, device.id, suspended).await;
    }

    /// An API key of 90 days that really authenticates.
    pub(crate) async fn give_key(&self, device: &Registered) -> As {
        let key = draw::api_key().unwrap();
        let issued = KeyIssued {
            key_id: ApiKeyId::from_uuid(Uuid::now_v7()),
            device_id: device.id,
            tenant_id: device.tenant_id,
            prefix: key.prefix(),
            verifier: self.keeper.verifier(&key.expose()).await.unwrap(),
            expires_at: self.now().plus_days(90),
            origin: KeyOrigin::Claim,
        };
        let stream = StreamId::api_keys(device.id);
        self.record(Some(device.tenant_id), stream, [ApiKeyEvent::Issued(issued)]).await;
        As::ApiKey(key.expose())
    }

    /// An approved device with an API key.
    pub(crate) async fn enrol(&self, tenant_id: TenantId, name: &str) -> (Registered, As) {
        let device = self.register(tenant_id, name).await;
        self.approve(&device).await;
        let key = self.give_key(&device).await;
        (device, key)
    }

    /// A certificate from now on for so many days; the one before is superseded.
    pub(crate) async fn certify(
        &self,
        device: &Registered,
        days: i64,
        predecessor: Option<SerialNumber>,
    ) -> SerialNumber {
        let serial_number = draw::serial_number().unwrap();
        let mut digest = [0; 32];
        digest[..20].copy_from_slice(serial_number.as_octets());
        let intended = CertificateIntended {
            serial_number,
            device_id: device.id,
            tenant_id: device.tenant_id,
            profile: "device".to_owned(),
            public_key_sha256: Digest(digest),
            not_before: self.now(),
            not_after: self.now().plus_days(days),
            renewal_of: predecessor,
        };
        let issued = CertificateIssued {
            intended: intended.clone(),
            fingerprint: Fingerprint::from_digest(digest),
            subject: format!("CN=device-{}, O=SignalBeam", device.id),
            authority_id: AuthorityId::from_uuid(Uuid::from_u128(AUTHORITY)),
            certificate_pem: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned(),
        };
        let mut events = vec![CertificateEvent::Intended(intended), CertificateEvent::Issued(issued)];
        events.extend(predecessor.map(|old| {
            CertificateEvent::Superseded(CertificateSuperseded { serial_number: old, superseded_by: serial_number })
        }));
        self.record(Some(device.tenant_id), StreamId::certificates(device.id), events).await;
        serial_number
    }

    pub(crate) async fn revoke_certificate(&self, device: &Registered, serial_number: SerialNumber, why: &str) {
        let revoked = CertificateRevoked { serial_number, reason: Some(Reason::parse(why).unwrap()) };
        let stream = StreamId::certificates(device.id);
        self.record(Some(device.tenant_id), stream, [CertificateEvent::Revoked(revoked)]).await;
    }

    /// Asks for a renewal in a window.
    pub(crate) async fn request_renewal(
        &self,
        device: &Registered,
        of: SerialNumber,
        start: Timestamp,
        end: Timestamp,
    ) {
        let requested = CertificateRenewalRequested {
            serial_number: of,
            window_start: start,
            window_end: end,
            reason: Some(Reason::parse("now").unwrap()),
        };
        let stream = StreamId::certificates(device.id);
        self.record(Some(device.tenant_id), stream, [CertificateEvent::RenewalRequested(requested)]).await;
    }

    /// A superseded certificate turns up.
    pub(crate) async fn suspect_reuse(
        &self,
        device: &Registered,
        serial_number: SerialNumber,
        successor: SerialNumber,
    ) {
        let how = ReuseSign::PresentedAfterSuccession;
        let suspected = CertificateReuseSuspected { serial_number, successor, seen_from: None, how };
        let stream = StreamId::certificates(device.id);
        self.record(Some(device.tenant_id), stream, [CertificateEvent::ReuseSuspected(suspected)]).await;
    }

    /// Another authority signs from now on than the one that signed every certificate so far.
    pub(crate) async fn rotate_authority(&self) {
        let old = AuthorityId::from_uuid(Uuid::from_u128(AUTHORITY));
        let rotated = AuthorityRotated { successor_id: AuthorityId::from_uuid(Uuid::from_u128(AUTHORITY + 1)) };
        self.record(None, StreamId::certificate_authority(old), [AuthorityEvent::Rotated(rotated)]).await;
    }
}
