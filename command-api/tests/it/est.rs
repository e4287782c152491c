//! Enrolment over EST: who gets a certificate, when, how often, and for what.

mod bodies;
mod by_token;
mod enrolling;
mod reenrolling;
mod server_keys;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::Value;
use signalbeam_authn::ErrorCode;
use signalbeam_domain::Event;
use signalbeam_domain::SerialNumber;
use signalbeam_domain::certificate::CertificateEvent;
use signalbeam_pki::{
    AuthoritySet, AuthoritySettings, AuthorityStanding, BlockingPool, CaKeyType, CertificateAuthority, MemoryKeyStore,
    TrustedAuthority, fingerprint,
};

use crate::world::World;
use crate::world::call::{Answer, Call};
use crate::world::fleet::{DeviceCertificate, TestDevice};

const ENROL: &str = "/.well-known/est/simpleenroll";
const REENROL: &str = "/.well-known/est/simplereenroll";
const SERVER_KEY: &str = "/.well-known/est/serverkeygen";

/// A request for this key, as a body.
fn request_over(key: &KeyPair) -> String {
    STANDARD.encode(CertificateParams::default().serialize_request(key).unwrap().der())
}

fn request() -> String {
    request_over(&KeyPair::generate().unwrap())
}

/// A request whose subject has this common name.
fn request_of(name: &str) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    STANDARD.encode(params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der())
}

impl<'a> Call<'a> {
    /// With a request in its media type.
    fn asking(self, request: &str) -> Call<'a> {
        self.header("content-type", "application/pkcs10").raw(request)
    }

    /// By a device's id and API key.
    fn basic_device(self, device: &TestDevice) -> Call<'a> {
        self.basic(&device.id, &device.api_key)
    }
}

/// The contents of a DER value, and what follows it.
fn contents(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, at) = match der[1] {
        short if short < 0x80 => (usize::from(short), 2),
        long => {
            let octets = usize::from(long & 0x7f);
            (der[2..2 + octets].iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), 2 + octets)
        }
    };
    (&der[at..at + length], &der[at + length..])
}

fn after(der: &[u8]) -> &[u8] {
    contents(der).1
}

/// The certificates in an envelope, one behind the other.
fn enveloped(body: &str) -> Vec<u8> {
    assert!(!body.contains(char::is_whitespace), "{body:?}");
    let der = STANDARD.decode(body).unwrap();
    let (content_info, rest) = contents(&der);
    assert!(rest.is_empty());
    let signed_data = contents(contents(after(content_info)).0).0;
    let certificates = after(after(after(signed_data)));
    contents(certificates).0.to_vec()
}

impl Answer {
    /// The envelope of an answer that has one.
    #[track_caller]
    fn certificates(self) -> Vec<u8> {
        assert_eq!(self.headers["content-type"], "application/pkcs7-mime; smime-type=certs-only");
        assert_eq!(self.headers["content-transfer-encoding"], "base64");
        enveloped(self.expect(200).as_str().unwrap())
    }

    /// The one certificate of an answer that issued it.
    #[track_caller]
    fn issued(self) -> Vec<u8> {
        assert!(self.status.is_success(), "{self:?}");
        assert!(self.position().is_some());
        assert_eq!(self.headers["cache-control"], "no-store");
        let der = self.certificates();
        assert!(after(&der).is_empty(), "one certificate and nothing else");
        der
    }

    /// A refusal for lack of good credentials, which names the way to present them.
    #[track_caller]
    fn challenged(self, code: ErrorCode) -> Value {
        assert_eq!(self.headers["www-authenticate"], "Basic realm=\"signalbeam\", charset=\"UTF-8\"");
        self.problem(code)
    }
}

impl World {
    /// A certificate of a device as the other routes show it.
    async fn shown(&self, device: &TestDevice, der: Vec<u8>) -> DeviceCertificate {
        let issued = self.events(&device.certificates()).await.into_iter().find_map(|event| match event {
            Event::CertificateEvent(CertificateEvent::Issued(issued)) if issued.fingerprint == fingerprint(&der) => {
                Some(issued)
            }
            _ => None,
        });
        let serial = issued.expect("what was answered was recorded").intended.serial_number.to_string();
        DeviceCertificate { serial, der, answer: Value::Null }
    }

    /// Enrols by API key.
    async fn enrolled(&self, device: &TestDevice, request: &str) -> DeviceCertificate {
        let der = self.post(ENROL).basic_device(device).asking(request).send().await.issued();
        self.shown(device, der).await
    }
}

#[tokio::test]
async fn anybody_gets_the_authorities_and_what_a_request_should_be_made_of() {
    let world = World::new().await;
    let answer = world.get("/.well-known/est/cacerts").send().await;
    assert_eq!(answer.certificates(), world.authority.certificate_der());
    let answer = world.get("/.well-known/est/csrattrs").send().await;
    assert_eq!(answer.headers["content-type"], "application/csrattrs");
    let body = answer.expect(200);
    let der = STANDARD.decode(body.as_str().unwrap()).unwrap();
    assert_eq!(der, signalbeam_pki::enrolment::csr_attributes(signalbeam_pki::DeviceKeyAlgorithm::EcdsaP256));
}

#[tokio::test]
async fn while_one_authority_takes_over_from_another_both_are_given() {
    let world = World::new().await;
    let store = Arc::new(MemoryKeyStore::new(BlockingPool::new(1)));
    let settings = AuthoritySettings { key_type: CaKeyType::EcdsaP256, ..AuthoritySettings::default() };
    let (now, serial) = (world.now().to_offset_date_time(), SerialNumber::from_random([8; 20]));
    let next = Arc::new(CertificateAuthority::open_or_create(store, settings, now, serial).await.unwrap());
    let rotated =
        TrustedAuthority { authority: world.authority.clone(), standing: AuthorityStanding::Rotated { at: now } };
    let active = TrustedAuthority { authority: next.clone(), standing: AuthorityStanding::Active };
    world.authorities.replace(AuthoritySet::new(vec![rotated, active]).unwrap());
    let mut both = [world.authority.certificate_der(), next.certificate_der()];
    both.sort_unstable();
    assert_eq!(world.get("/.well-known/est/cacerts").send().await.certificates(), both.concat());
}

#[tokio::test]
async fn an_unknown_label_does_not_exist() {
    let world = World::new().await;
    let device = world.approved_device(crate::world::TENANT_A).await;
    let call = world.post("/.well-known/est/other/simpleenroll").basic_device(&device).asking(&request());
    assert_eq!(call.send().await.status.as_u16(), 404);
}
