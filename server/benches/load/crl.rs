//! From the answer to a revocation to the new list, where the list already has a hundred thousand entries.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use signalbeam_domain::certificate::{
    CertificateEvent, CertificateIntended, CertificateIssued, CertificateRevoked, RevocationReason,
};
use signalbeam_domain::device::{DeviceApproved, DeviceEvent, DeviceRegistered};
use signalbeam_domain::{
    Actor, AuthorityId, CorrelationId, DeviceId, DeviceName, Digest, Event, Fingerprint, Metadata, Prefix,
    SerialNumber, StreamId, Tags, TenantId, ValidityBounds, Version,
};
use signalbeam_event_store::{
    Batch, Clock as _, CommandMetadata, EventStore, ExpectedVersion, SqliteEventStore, StreamWrite, SystemClock,
    new_events,
};
use signalbeam_pki::certificate_pem;
use uuid::Uuid;

use crate::client::Wire;
use crate::report::median;
use crate::server::{Server, request};

const DEVICES: usize = 1_000;
const REVOKED_OF_EACH: usize = 100;
const TURNS: usize = 5;
const PATH: &str = "/api/certificates/crl";
/// Lists may follow each other as soon as this allows.
const SETTINGS: [(&str, &str); 2] =
    [("SIGNALBEAM__PKI__CRL_MIN_INTERVAL_SECONDS", "1"), ("SIGNALBEAM__RATE_LIMIT__ENABLED", "false")];

pub(crate) async fn measure() {
    let server = Server::start(&SETTINGS).await;
    let root = server.root.clone();
    let folder = server.stop();
    let started = Instant::now();
    fill(&folder.path().join("data/events.db"), &root).await;
    println!("\n{} revoked certificates, recorded in {:.1?}", DEVICES * REVOKED_OF_EACH, started.elapsed());
    let started = Instant::now();
    let server = Server::start_on(folder, &SETTINGS).await;
    println!("the server's start, its tables filled from the log: {:.1?}", started.elapsed());
    let mut wire = Wire::connect(&server.https()).await.unwrap();
    let (mut tag, octets) = await_list(&mut wire, |octets| octets > DEVICES * REVOKED_OF_EACH * 20).await;
    println!("the list: {} KiB", octets / 1_024);
    let mut seconds = vec![];
    for device in server.approved(TURNS).await {
        let path = format!("/api/certificates/{}/issue", device.id);
        let issued = server.as_admin("POST", &path, &json!({})).await;
        let path = format!("/api/certificates/{}", issued["serialNumber"].as_str().unwrap());
        server.as_admin("DELETE", &path, &json!({"reasonCode": "keyCompromise"})).await;
        let revoked = Instant::now();
        tag = await_other(&mut wire, &tag).await;
        seconds.push(revoked.elapsed().as_secs_f64());
        // The next one is to find the publisher at rest.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    println!("from a revocation's answer to the list with it, half a second of gathering included: {seconds:.2?} s");
    println!("median: {:.2} s", median(seconds));
    server.stop();
}

/// The tag and the size of the list, once it is large enough.
async fn await_list(wire: &mut Wire, is_enough: impl Fn(usize) -> bool) -> (String, usize) {
    let deadline = Instant::now() + Duration::from_mins(3);
    loop {
        assert!(Instant::now() < deadline, "the list was not published");
        let answer = wire.exchange(&request("GET", PATH, "", "")).await.unwrap();
        if answer.status == 200 && is_enough(answer.body().len()) {
            return (answer.header("etag").unwrap().to_owned(), answer.body().len());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the list has another tag, and returns it.
async fn await_other(wire: &mut Wire, tag: &str) -> String {
    let deadline = Instant::now() + Duration::from_mins(1);
    let unless_changed = request("GET", PATH, &format!("If-None-Match: {tag}\r\n"), "");
    loop {
        assert!(Instant::now() < deadline, "the list was not published");
        let answer = wire.exchange(&unless_changed).await.unwrap();
        if answer.status == 200 {
            return answer.header("etag").unwrap().to_owned();
        }
        assert_eq!(answer.status, 304);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Records devices with certificates of this authority that were revoked.
async fn fill(events: &Path, root: &CertificateDer<'_>) {
    let store = SqliteEventStore::open(events, Arc::new(SystemClock)).await.unwrap();
    let mut authority_id = [0; 16];
    authority_id.copy_from_slice(&signalbeam_pki::fingerprint(root).as_octets()[..16]);
    let authority_id = AuthorityId::from_uuid(uuid::Builder::from_custom_bytes(authority_id).into_uuid());
    let certificate_pem = certificate_pem(root);
    for number in 0..DEVICES {
        for batch in of_device(number, authority_id, &certificate_pem) {
            store.append(batch).await.unwrap();
        }
    }
    store.close().await;
}

fn of_device(number: usize, authority_id: AuthorityId, certificate_pem: &str) -> [Batch; 2] {
    let (device_id, tenant_id) = (DeviceId::from_uuid(Uuid::now_v7()), TenantId::from_uuid(Uuid::from_u128(1)));
    let registered = DeviceRegistered {
        device_id,
        tenant_id,
        device_name: DeviceName::parse(&format!("revoked-{number}")).unwrap(),
        metadata: Metadata::default(),
        tags: Tags::default(),
        token_prefix: Prefix::parse("a1B2c3D4").unwrap(),
        claim_secret_sha256: Digest([7; 32]),
    };
    let approved = DeviceApproved {
        api_key_validity_days: ValidityBounds::API_KEY.judge(None).unwrap(),
        certificate_profile: None,
    };
    let device = [DeviceEvent::from(registered), DeviceEvent::from(approved)].map(Event::from);
    let certificates = (0..REVOKED_OF_EACH).flat_map(|_| {
        let issued = issued(device_id, tenant_id, authority_id, certificate_pem);
        let revoked = CertificateRevoked {
            serial_number: issued.intended.serial_number,
            reason: None,
            reason_code: Some(RevocationReason::KeyCompromise),
        };
        let intended = CertificateEvent::from(issued.intended.clone());
        [intended, CertificateEvent::from(issued), CertificateEvent::from(revoked)].map(Event::from)
    });
    let batch = |stream, events: Vec<Event>| Batch {
        metadata: CommandMetadata {
            actor: Actor::system("benchmark"),
            correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
            causation_id: None,
            idempotency: None,
        },
        writes: vec![StreamWrite {
            stream,
            expected: ExpectedVersion::Exact(Version(0)),
            events: new_events(Some(tenant_id), events),
        }],
    };
    [
        batch(StreamId::device(device_id), device.to_vec()),
        batch(StreamId::certificates(device_id), certificates.collect()),
    ]
}

/// A certificate that need not verify: only its number is going to be read.
fn issued(
    device_id: DeviceId,
    tenant_id: TenantId,
    authority_id: AuthorityId,
    certificate_pem: &str,
) -> CertificateIssued {
    let mut drawn = [0; 52];
    SystemRandom::new().fill(&mut drawn).unwrap();
    let (serial_number, fingerprint) = drawn.split_at(20);
    let now = SystemClock.now();
    CertificateIssued {
        intended: CertificateIntended {
            serial_number: SerialNumber::from_random(serial_number.try_into().unwrap()),
            device_id,
            tenant_id,
            profile: "device".to_owned(),
            public_key_sha256: Digest([7; 32]),
            not_before: now,
            not_after: now.plus_days(90),
            renewal_of: None,
        },
        fingerprint: Fingerprint::from_digest(fingerprint.try_into().unwrap()),
        subject: format!("CN=device-{device_id}, O=SignalBeam"),
        authority_id,
        certificate_pem: certificate_pem.to_owned(),
    }
}
