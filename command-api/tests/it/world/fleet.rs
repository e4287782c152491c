//! Devices at every stage of their lives, made over the routes.

use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use signalbeam_authn::{Role, draw};
use signalbeam_domain::certificate::{CertificateEvent, CertificateIntended, CertificateIssued};
use signalbeam_domain::device::{DeviceApproved, DeviceEvent, DeviceRegistered};
use signalbeam_domain::{
    Actor, CorrelationId, DeviceId, DeviceName, Digest, Fingerprint, Metadata, Prefix, SerialNumber, StreamId, Tags,
    ValidityBounds, Version,
};
use signalbeam_event_store::{Batch, CommandMetadata, EventStore, ExpectedVersion, StreamWrite, new_events};
use uuid::Uuid;

use super::call::Answer;
use super::{World, tenant};

/// A device that has registered; `api_key` is empty until it is approved.
#[derive(Debug, Clone)]
pub(crate) struct TestDevice {
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) claim_secret: String,
    pub(crate) api_key: String,
}

/// A certificate of a device.
#[derive(Debug, Clone)]
pub(crate) struct DeviceCertificate {
    pub(crate) serial: String,
    pub(crate) der: Vec<u8>,
    pub(crate) answer: Value,
}

impl TestDevice {
    pub(crate) fn device_id(&self) -> DeviceId {
        DeviceId::parse(&self.id).unwrap()
    }

    pub(crate) fn route(&self, action: &str) -> String {
        format!("/api/devices/{}/{action}", self.id)
    }

    pub(crate) fn issue_route(&self) -> String {
        format!("/api/certificates/{}/issue", self.id)
    }

    pub(crate) fn stream(&self) -> StreamId {
        StreamId::device(self.device_id())
    }

    pub(crate) fn keys(&self) -> StreamId {
        StreamId::api_keys(self.device_id())
    }

    pub(crate) fn certificates(&self) -> StreamId {
        StreamId::certificates(self.device_id())
    }
}

impl DeviceCertificate {
    /// Out of an answer that shows one.
    pub(crate) fn shown(answer: Value) -> Self {
        let pem = answer["certificatePem"].as_str().unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
        Self { serial: answer["serialNumber"].as_str().unwrap().to_owned(), der, answer }
    }

    pub(crate) fn serial_number(&self) -> SerialNumber {
        SerialNumber::from_hex(&self.serial).unwrap()
    }

    pub(crate) fn route(&self) -> String {
        format!("/api/certificates/{}", self.serial)
    }

    pub(crate) fn renew_route(&self) -> String {
        format!("/api/certificates/{}/renew", self.serial)
    }
}

/// A signing request over a new P-256 key.
pub(crate) fn csr() -> String {
    csr_over(&KeyPair::generate().unwrap())
}

pub(crate) fn csr_over(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

pub(crate) fn new_claim_secret() -> String {
    draw::claim_secret().unwrap().expose()
}

/// A credential's text with another secret behind the same prefix.
pub(crate) fn with_another_secret(text: &str) -> String {
    let secret = new_claim_secret();
    let at = text.len() - 43;
    format!("{}{}", &text[..at], &secret["sbc_".len()..])
}

impl World {
    /// A registration token of a tenant, as it was answered.
    pub(crate) async fn token(&self, tenant_id: &str) -> Value {
        let request = self.post("/api/registration-tokens").admin(Role::Operator).json(&json!({"tenantId": tenant_id}));
        request.send().await.expect(201)
    }

    /// Registers with a token and a claim secret.
    pub(crate) async fn register_with(&self, token: &Value, claim_secret: &str) -> Answer {
        let body = json!({
            "tenantId": token["tenantId"], "token": token["token"], "deviceName": "sensor", "claimSecret": claim_secret,
        });
        self.post("/api/devices").json(&body).send().await
    }

    /// A device that waits for an admin.
    pub(crate) async fn pending_device(&self, tenant_id: &str) -> TestDevice {
        let token = self.token(tenant_id).await;
        let claim_secret = new_claim_secret();
        let registered = self.register_with(&token, &claim_secret).await.expect(201);
        let id = registered["deviceId"].as_str().unwrap().to_owned();
        TestDevice { id, tenant_id: tenant_id.to_owned(), claim_secret, api_key: String::new() }
    }

    /// Pending devices, recorded without the routes, since a thousand registrations take their time.
    pub(crate) async fn record_pending_devices(&self, tenant_id: &str, number: usize) -> Vec<String> {
        let mut ids = vec![];
        for _ in 0..number {
            let device_id = DeviceId::from_uuid(Uuid::now_v7());
            let registered = DeviceRegistered {
                device_id,
                tenant_id: tenant(tenant_id),
                device_name: DeviceName::parse("sensor").unwrap(),
                metadata: Metadata::default(),
                tags: Tags::default(),
                token_prefix: Prefix::parse("a1B2c3D4").unwrap(),
                claim_secret_sha256: Digest([7; 32]),
            };
            let write = StreamWrite {
                stream: StreamId::device(device_id),
                expected: ExpectedVersion::Exact(Version(0)),
                events: new_events(Some(registered.tenant_id), [DeviceEvent::from(registered)]),
            };
            self.record(vec![write]).await;
            ids.push(device_id.to_string());
        }
        ids
    }

    /// Approved devices with a certificate each, recorded without the routes: their serial numbers.
    pub(crate) async fn record_certified_devices(&self, tenant_id: &str, number: usize) -> Vec<SerialNumber> {
        let mut serial_numbers = vec![];
        for id in self.record_pending_devices(tenant_id, number).await {
            let device_id = DeviceId::parse(&id).unwrap();
            let mut octets = [0; 20];
            octets[4..].copy_from_slice(device_id.as_uuid().as_bytes());
            let intended = CertificateIntended {
                serial_number: SerialNumber::from_random(octets),
                device_id,
                tenant_id: tenant(tenant_id),
                profile: "device".into(),
                public_key_sha256: Digest([8; 32]),
                not_before: self.now(),
                not_after: self.now().plus_days(90),
                renewal_of: None,
            };
            serial_numbers.push(intended.serial_number);
            let mut fingerprint = [0; 32];
            fingerprint[..20].copy_from_slice(intended.serial_number.as_octets());
            let issued = CertificateIssued {
                intended: intended.clone(),
                fingerprint: Fingerprint::from_digest(fingerprint),
                subject: format!("CN=device-{id}, O=SignalBeam"),
                authority_id: self.authority.id(),
                certificate_pem: "-----BEGIN CERTIFICATE-----".into(),
            };
            let approved = DeviceEvent::from(DeviceApproved {
                api_key_validity_days: ValidityBounds::API_KEY.judge(None).unwrap(),
                certificate_profile: None,
            });
            let certificates = [CertificateEvent::from(intended), issued.into()];
            let write = |stream, expected, events| StreamWrite { stream, expected, events };
            let writes = vec![
                write(
                    StreamId::device(device_id),
                    ExpectedVersion::Exact(Version(1)),
                    new_events(Some(tenant(tenant_id)), [approved]),
                ),
                write(
                    StreamId::certificates(device_id),
                    ExpectedVersion::Exact(Version(0)),
                    new_events(Some(tenant(tenant_id)), certificates),
                ),
            ];
            self.record(writes).await;
        }
        serial_numbers
    }

    async fn record(&self, writes: Vec<StreamWrite>) {
        let metadata = CommandMetadata {
            actor: Actor::system("tests"),
            correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
            causation_id: None,
            idempotency: None,
        };
        self.store.append(Batch { metadata, writes }).await.unwrap();
    }

    pub(crate) async fn decide(&self, device: &TestDevice, action: &str) -> Answer {
        self.post(device.route(action)).admin(Role::Admin).send().await
    }

    pub(crate) async fn claim(&self, device: &TestDevice) -> Answer {
        self.post(device.route("api-key/claim")).bearer(&device.claim_secret).send().await
    }

    /// A device that is approved and has claimed its key, without having used it.
    pub(crate) async fn approved_device(&self, tenant_id: &str) -> TestDevice {
        let device = self.pending_device(tenant_id).await;
        self.decide(&device, "approve").await.expect(200);
        self.with_key(device).await
    }

    /// An approved device, once it has claimed its key.
    pub(crate) async fn with_key(&self, mut device: TestDevice) -> TestDevice {
        let claimed = self.claim(&device).await.expect(200);
        claimed["apiKey"].as_str().unwrap().clone_into(&mut device.api_key);
        device
    }

    /// A certificate for a new key, asked for with the API key.
    pub(crate) async fn certificate_of(&self, device: &TestDevice) -> DeviceCertificate {
        let request = self.post(device.issue_route()).device(device).json(&json!({"csrPem": csr()}));
        DeviceCertificate::shown(request.send().await.expect(201))
    }

    pub(crate) async fn device_with_certificate(&self, tenant_id: &str) -> (TestDevice, DeviceCertificate) {
        let device = self.approved_device(tenant_id).await;
        let certificate = self.certificate_of(&device).await;
        (device, certificate)
    }

    pub(crate) async fn heartbeat_by_key(&self, device: &TestDevice) -> Answer {
        self.post(device.route("heartbeat")).device(device).send().await
    }

    pub(crate) async fn heartbeat_by_certificate(
        &self,
        device: &TestDevice,
        certificate: &DeviceCertificate,
    ) -> Answer {
        self.post(device.route("heartbeat")).certificate(certificate).send().await
    }
}
