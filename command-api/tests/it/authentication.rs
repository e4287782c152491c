//! Certificates first, then API keys: which code is answered for what, in which order, and what the audit log says.

use serde_json::json;
use signalbeam_authn::{ApiKeyFallback, AuthenticationPolicy, ErrorCode, Role};
use signalbeam_domain::SerialNumber;
use signalbeam_event_store::AuthenticationMethod;
use signalbeam_pki::{
    AuthoritySettings, BlockingPool, CaKeyType, CertificateAuthority, DeviceCertificateRequest, DevicePublicKey,
    MemoryKeyStore,
};
use std::sync::Arc;

use crate::world::call::Answer;
use crate::world::fleet::{DeviceCertificate, TestDevice, csr, with_another_secret};
use crate::world::{TENANT_A, World, tenant};

/// Another authority with the name of ours.
async fn foreign_authority(world: &World) -> CertificateAuthority {
    let store = Arc::new(MemoryKeyStore::new(BlockingPool::new(1)));
    let settings = AuthoritySettings { key_type: CaKeyType::EcdsaP256, ..AuthoritySettings::default() };
    let now = world.now().to_offset_date_time();
    CertificateAuthority::open_or_create(store, settings, now, SerialNumber::from_random([7; 20])).await.unwrap()
}

/// What an authority signs for a device, beside any record.
async fn signed(
    world: &World,
    authority: &CertificateAuthority,
    device: &TestDevice,
    serial: SerialNumber,
    starts_in_days: i64,
) -> Vec<u8> {
    let from = world.now().plus_days(starts_in_days);
    let request = DeviceCertificateRequest {
        serial,
        tenant_id: tenant(&device.tenant_id),
        device_id: device.device_id(),
        public_key: DevicePublicKey::from_csr_pem(&csr()).unwrap(),
        validity: authority.validity(from.to_offset_date_time(), 10),
    };
    authority.issue_device(&request).await.unwrap().der
}

async fn heartbeat(world: &World, device: &TestDevice, der: Vec<u8>) -> Answer {
    world.post(device.route("heartbeat")).chain(vec![der]).send().await
}

#[tokio::test]
async fn a_certificate_is_judged_by_time_then_chain_then_record_then_revocation_then_device() {
    let world = World::new().await;
    let foreign = foreign_authority(&world).await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let serial = certificate.serial_number();
    let other_serial = SerialNumber::from_random([9; 20]);

    let stolen_name = signed(&world, &foreign, &device, serial, 0).await;
    heartbeat(&world, &device, stolen_name.clone()).await.problem(ErrorCode::InvalidCertificateChain);
    let attempt = world.attempts().await.pop().unwrap();
    assert_eq!((attempt.device_id, attempt.certificate_serial_number), (None, None), "nothing it says is believed");

    let unrecorded = signed(&world, &world.authority, &device, other_serial, 0).await;
    heartbeat(&world, &device, unrecorded.clone()).await.problem(ErrorCode::CertificateNotFound);
    let same_serial = signed(&world, &world.authority, &device, serial, 0).await;
    heartbeat(&world, &device, same_serial).await.problem(ErrorCode::CertificateNotFound);

    let ahead = signed(&world, &world.authority, &device, other_serial, 5).await;
    heartbeat(&world, &device, ahead).await.problem(ErrorCode::CertificateNotYetValid);
    let foreign_ahead = signed(&world, &foreign, &device, serial, 5).await;
    heartbeat(&world, &device, foreign_ahead).await.problem(ErrorCode::CertificateNotYetValid);

    world.decide(&device, "suspend").await.expect(200);
    heartbeat(&world, &device, certificate.der.clone()).await.problem(ErrorCode::DeviceNotApproved);
    world.delete(certificate.route()).admin(Role::Admin).send().await.expect(204);
    heartbeat(&world, &device, certificate.der.clone()).await.problem(ErrorCode::CertificateRevoked);
    let attempt = world.attempts().await.pop().unwrap();
    assert_eq!(attempt.device_id, Some(device.device_id()));
    assert_eq!(attempt.certificate_serial_number, Some(serial));
    assert_eq!(attempt.tenant_id, Some(tenant(TENANT_A)));

    world.clock.advance_days(11);
    heartbeat(&world, &device, stolen_name).await.problem(ErrorCode::CertificateExpired);
    heartbeat(&world, &device, unrecorded).await.problem(ErrorCode::CertificateExpired);
    world.clock.advance_days(80);
    heartbeat(&world, &device, certificate.der.clone()).await.problem(ErrorCode::CertificateExpired);
}

#[tokio::test]
async fn a_certificate_holds_through_the_whole_of_its_last_second() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let issued = world.now();
    world.clock.set(issued.plus_seconds(90 * 86_400));
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    world.clock.set(issued.plus_seconds(90 * 86_400 + 1));
    world.heartbeat_by_certificate(&device, &certificate).await.problem(ErrorCode::CertificateExpired);
    world.clock.set(issued.plus_seconds(-300));
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    world.clock.set(issued.plus_seconds(-301));
    world.heartbeat_by_certificate(&device, &certificate).await.problem(ErrorCode::CertificateNotYetValid);
}

#[tokio::test]
async fn what_is_no_device_certificate_authenticates_nobody() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let root = world.authority.certificate_der().to_vec();
    for der in [root.clone(), b"not DER".to_vec(), vec![], vec![0x30; 4_000]] {
        heartbeat(&world, &device, der).await.problem(ErrorCode::InvalidCertificateChain);
    }
    let foreign = foreign_authority(&world).await;
    let leaf = signed(&world, &foreign, &device, SerialNumber::from_random([1; 20]), 0).await;
    let chain = vec![leaf, foreign.certificate_der().to_vec(), root];
    let call = world.post(device.route("heartbeat")).chain(chain);
    call.send().await.problem(ErrorCode::InvalidCertificateChain);
}

#[tokio::test]
async fn a_certificate_takes_precedence_over_the_api_key() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let both = world.post(device.route("heartbeat")).certificate(&certificate).device(&device);
    let (answer, attempts) = world.attempts_during(both.send()).await;
    answer.expect(200);
    assert_eq!(attempts, [("Certificate".into(), "ok".into())]);
    let attempt = world.attempts().await.pop().unwrap();
    assert_eq!(attempt.certificate_serial_number, Some(certificate.serial_number()));
    assert_eq!(attempt.api_key_prefix, None);
    let with_bad_key = world.post(device.route("heartbeat")).certificate(&certificate).api_key("nonsense");
    with_bad_key.send().await.expect(200);
}

/// Presents a revoked, then an expired certificate, each with the API key; answers what became of both, as statuses.
async fn fallback(policy: ApiKeyFallback) -> (World, TestDevice, [u16; 2]) {
    let world = World::with(AuthenticationPolicy { api_key_fallback: policy, ..AuthenticationPolicy::default() }).await;
    let (device, revoked) = world.device_with_certificate(TENANT_A).await;
    let expiring = world.post(device.issue_route()).device(&device).json(&json!({"csrPem": csr(), "validityDays": 1}));
    let expired = DeviceCertificate::shown(expiring.send().await.expect(201));
    world.clock.advance_days(2);
    let mut statuses = [0; 2];
    for (at, (certificate, code)) in
        [(revoked, "CERTIFICATE_REVOKED"), (expired, "CERTIFICATE_EXPIRED")].iter().enumerate()
    {
        let call = world.post(device.route("heartbeat")).certificate(certificate).device(&device);
        let (answer, attempts) = world.attempts_during(call.send()).await;
        statuses[at] = answer.status.as_u16();
        let mut expected = vec![("Certificate".to_owned(), (*code).to_owned())];
        if answer.status == 200 {
            expected.push(("ApiKey".into(), "ok".into()));
        } else {
            assert_eq!(answer.body["code"], *code);
        }
        assert_eq!(attempts, expected, "{policy:?}");
    }
    (world, device, statuses)
}

#[tokio::test]
async fn the_policy_says_when_an_api_key_stands_in_and_both_attempts_are_recorded() {
    assert_eq!(fallback(ApiKeyFallback::Always).await.2, [200, 200]);
    assert_eq!(fallback(ApiKeyFallback::UnlessRevoked).await.2, [401, 200]);
    let (world, device, statuses) = fallback(ApiKeyFallback::Never).await;
    assert_eq!(statuses, [401, 401]);
    world.heartbeat_by_key(&device).await.expect(200);
}

#[tokio::test]
async fn a_refused_certificate_counts_where_the_key_alone_lets_in_too() {
    for (policy, status) in
        [(ApiKeyFallback::Always, 201), (ApiKeyFallback::UnlessRevoked, 401), (ApiKeyFallback::Never, 401)]
    {
        let world =
            World::with(AuthenticationPolicy { api_key_fallback: policy, ..AuthenticationPolicy::default() }).await;
        let (device, certificate) = world.device_with_certificate(TENANT_A).await;
        let issue = || world.post(device.issue_route()).certificate(&certificate).json(&json!({"csrPem": csr()}));
        // A good one is ignored: without the key nobody gets in by it, and with the key there is nothing to say of it.
        let (answer, attempts) = world.attempts_during(issue().send()).await;
        answer.problem(ErrorCode::AuthenticationRequired);
        assert_eq!(attempts, []);
        let (answer, attempts) = world.attempts_during(issue().device(&device).send()).await;
        let next = DeviceCertificate::shown(answer.expect(201));
        assert_eq!(attempts, [("ApiKey".to_owned(), "ok".to_owned())]);

        world.delete(next.route()).admin(Role::Admin).send().await.expect(204);
        let refused = ("Certificate".to_owned(), "CERTIFICATE_REVOKED".to_owned());
        // The first is superseded, the next revoked by an admin.
        for ended in [&certificate, &next] {
            let issue = || world.post(device.issue_route()).certificate(ended).json(&json!({"csrPem": csr()}));
            let (answer, attempts) = world.attempts_during(issue().send()).await;
            answer.problem(ErrorCode::CertificateRevoked);
            assert_eq!(attempts, std::slice::from_ref(&refused), "{policy:?}");
            let (answer, attempts) = world.attempts_during(issue().device(&device).send()).await;
            assert_eq!(answer.status.as_u16(), status, "{policy:?}");
            if status == 201 {
                assert_eq!(attempts, [refused.clone(), ("ApiKey".to_owned(), "ok".to_owned())]);
            } else {
                answer.problem(ErrorCode::CertificateRevoked);
                assert_eq!(attempts, std::slice::from_ref(&refused), "{policy:?}");
            }
        }
        // On a connection without the certificate the key is all there is, as an agent asks anew.
        let bare = world.post(device.issue_route()).device(&device).json(&json!({"csrPem": csr()}));
        bare.send().await.expect(201);
    }
}

#[tokio::test]
async fn where_both_are_refused_the_api_key_s_code_is_answered() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.delete(certificate.route()).admin(Role::Admin).send().await.expect(204);
    let wrong = with_another_secret(&device.api_key);
    let call = world.post(device.route("heartbeat")).certificate(&certificate).api_key(&wrong);
    let (answer, attempts) = world.attempts_during(call.send()).await;
    answer.problem(ErrorCode::InvalidApiKey);
    let expected = [("Certificate", "CERTIFICATE_REVOKED"), ("ApiKey", "INVALID_API_KEY")];
    assert_eq!(attempts, expected.map(|(method, code)| (method.into(), code.into())));
    let both = world.attempts().await.split_off(world.attempts().await.len() - 2);
    assert_eq!(both[0].correlation_id, both[1].correlation_id);
}

#[tokio::test]
async fn without_mtls_a_certificate_is_not_even_looked_at() {
    let world = World::with(AuthenticationPolicy { mtls_enabled: false, ..AuthenticationPolicy::default() }).await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let (answer, attempts) = world.attempts_during(world.heartbeat_by_certificate(&device, &certificate)).await;
    answer.problem(ErrorCode::AuthenticationRequired);
    assert!(attempts.is_empty());
    let both = world.post(device.route("heartbeat")).certificate(&certificate).device(&device);
    let (answer, attempts) = world.attempts_during(both.send()).await;
    answer.expect(200);
    assert_eq!(attempts, [("ApiKey".into(), "ok".into())]);
}

#[tokio::test]
async fn the_first_use_of_a_certificate_is_on_record_before_it_is_answered() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.store.appends_fail.set(true);
    world.heartbeat_by_certificate(&device, &certificate).await.problem(ErrorCode::StoreUnavailable);
    world.store.appends_fail.set(false);
    assert_eq!(*world.types(&device.certificates()).await.last().unwrap(), "certificate.issued");
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    let types = world.types(&device.certificates()).await;
    assert_eq!(types.iter().filter(|t| **t == "certificate.first_used").count(), 1);
}

#[tokio::test]
async fn a_heartbeat_tells_the_device_what_it_should_know() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let bare = world.heartbeat_by_key(&device).await.expect(200);
    let expected = json!({
        "receivedAt": world.now().to_string(), "apiKeyExpiresAt": world.now().plus_days(90).to_string(),
    });
    assert_eq!(bare, expected);
    let certificate = world.certificate_of(&device).await;
    let events = world.log().await.len();
    let call = world.post(device.route("heartbeat")).device(&device);
    let answer = call.json(&json!({"agentVersion": "1.2.3", "status": "Running"})).send().await.expect(200);
    let expected = json!({
        "serialNumber": certificate.serial, "expiresAt": certificate.answer["expiresAt"], "renewalRequired": false,
    });
    assert_eq!(answer["certificate"], expected);
    assert_eq!(world.log().await.len(), events, "a heartbeat is no event");
    for (body, pointer) in [
        (json!({"agentVersion": "x".repeat(129)}), "/agentVersion"),
        (json!({"status": "x".repeat(129)}), "/status"),
        (json!({"temperature": 20}), "/temperature"),
    ] {
        assert_eq!(
            world.post(device.route("heartbeat")).device(&device).json(&body).send().await.pointers(),
            [pointer]
        );
    }
}

#[tokio::test]
async fn every_attempt_has_what_an_auditor_asks_for() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let call = world.post(device.route("heartbeat")).device(&device).header("user-agent", "agent/1");
    let answer = call.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").send().await;
    assert_eq!(answer.headers["x-correlation-id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    answer.expect(200);
    let attempt = world.attempts().await.pop().unwrap();
    assert_eq!(attempt.method, AuthenticationMethod::ApiKey);
    assert_eq!((attempt.device_id, attempt.tenant_id), (Some(device.device_id()), Some(tenant(TENANT_A))));
    assert_eq!(attempt.api_key_prefix.unwrap().as_str(), &device.api_key[10..18]);
    assert_eq!(attempt.user_agent.as_deref(), Some("agent/1"));
    assert_eq!(attempt.correlation_id.as_str(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(attempt.success && attempt.timestamp == world.now());
    for odd in [&b"a b"[..], b"", &[b'x'; 129], b"a\xffb"] {
        let answer = world.post(device.route("heartbeat")).device(&device).header("x-correlation-id", odd).send().await;
        assert_ne!(answer.headers["x-correlation-id"].as_bytes(), odd, "replaced");
    }
}
