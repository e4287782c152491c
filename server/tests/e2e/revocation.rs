//! A revocation is in force when it is answered: on open connections, resumed sessions and new ones.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use serde_json::json;

use crate::device::Device;
use crate::server::Site;
use crate::waiting::eventually;
use crate::wire::{Wire, config};

#[test]
fn a_revoked_certificate_is_refused_at_once_on_every_kind_of_connection_in_tls_1_3() {
    revoke_everywhere(&TLS13);
}

#[test]
fn a_revoked_certificate_is_refused_at_once_on_every_kind_of_connection_in_tls_1_2() {
    revoke_everywhere(&TLS12);
}

fn revoke_everywhere(version: &'static SupportedProtocolVersion) {
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let identity = device.issue(&server, 90);
    let config = config(&site.ca_pem(), Some(&identity), &[version]);
    let heartbeat = device.path("heartbeat");

    let mut kept = Wire::open(server.address, &config).unwrap();
    assert!(!kept.is_resumed());
    kept.post(&heartbeat).unwrap().expect(200);
    let mut resumed_before = Wire::open(server.address, &config).unwrap();
    assert!(resumed_before.is_resumed(), "the session resumes while the certificate is good");
    resumed_before.post(&heartbeat).unwrap().expect(200);

    assert_eq!(admin.delete(&format!("/api/certificates/{}", identity.serial_number)).status, 204);

    kept.post(&heartbeat).unwrap().refused(401, "CERTIFICATE_REVOKED");
    resumed_before.post(&heartbeat).unwrap().refused(401, "CERTIFICATE_REVOKED");
    let mut resumed_after = Wire::open(server.address, &config).unwrap();
    assert!(resumed_after.is_resumed(), "it is the request that is refused, not the session");
    resumed_after.post(&heartbeat).unwrap().refused(401, "CERTIFICATE_REVOKED");
    let fresh = crate::wire::config(&site.ca_pem(), Some(&identity), &[version]);
    let mut new = Wire::open(server.address, &fresh).unwrap();
    assert!(!new.is_resumed());
    new.post(&heartbeat).unwrap().refused(401, "CERTIFICATE_REVOKED");

    let next = device.issue(&server, 90);
    let config = crate::wire::config(&site.ca_pem(), Some(&next), &[version]);
    let mut kept = Wire::open(server.address, &config).unwrap();
    kept.post(&heartbeat).unwrap().expect(200);
    admin.post(&device.path("suspend"), &json!({})).expect(200);
    kept.post(&heartbeat).unwrap().refused(403, "DEVICE_NOT_APPROVED");
    admin.post(&device.path("reinstate"), &json!({})).expect(200);
    kept.post(&heartbeat).unwrap().expect(200);
    admin.post(&device.path("decommission"), &json!({})).expect(200);
    let refusal = kept.post(&heartbeat).unwrap();
    assert!(matches!(refusal.status, 401 | 403), "{refusal:?}");
}

#[test]
fn under_load_no_request_that_begins_after_the_revocation_was_answered_succeeds() {
    const CONNECTIONS: usize = 8;
    const REFUSALS: usize = 20;
    let site = Site::new();
    let server = site.start();
    let admin = server.admin();
    for _ in 0..3 {
        let device = Device::approved(&server, &admin);
        let identity = device.issue(&server, 90);
        let config = config(&site.ca_pem(), Some(&identity), &[&TLS13]);
        let heartbeat = device.path("heartbeat");
        let (is_revoked, successes) = (AtomicBool::new(false), AtomicUsize::new(0));
        let beat = || {
            let mut wire = Wire::open(server.address, &config).unwrap();
            let mut refusals = 0;
            while refusals < REFUSALS {
                let must_be_refused = is_revoked.load(Ordering::SeqCst);
                let answer = wire.post(&heartbeat).unwrap();
                if answer.status == 200 {
                    assert!(!must_be_refused, "a revoked certificate was let in");
                    successes.fetch_add(1, Ordering::SeqCst);
                } else {
                    answer.refused(401, "CERTIFICATE_REVOKED");
                    refusals += 1;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(beat);
            }
            eventually("every connection is busy", || {
                (successes.load(Ordering::SeqCst) > 3 * CONNECTIONS).then_some(())
            });
            assert_eq!(admin.delete(&format!("/api/certificates/{}", identity.serial_number)).status, 204);
            is_revoked.store(true, Ordering::SeqCst);
        });
    }
}
