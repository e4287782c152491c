//! Issuing: over a signing request or with a key made here; for whom, for how long, and what is on record afterwards.

use rcgen::{CertificateParams, CustomExtension, DnType, IsCa, KeyPair, SanType};
use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::Event;
use signalbeam_domain::certificate::CertificateEvent;

use crate::world::fleet::{DeviceCertificate, csr, csr_over};
use crate::world::{TENANT_A, TENANT_B, World};

#[tokio::test]
async fn over_a_signing_request_no_private_key_is_shown() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let call = world.post(device.issue_route()).device(&device).json(&json!({"csrPem": csr()}));
    let answer = call.send().await;
    assert!(answer.position().is_some());
    let answer = answer.expect(201);
    let names: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["caCertificatePem", "certificatePem", "deviceId", "expiresAt", "fingerprint", "issuedAt", "serialNumber"];
    assert_eq!(names, expected);
    let certificate = DeviceCertificate::shown(answer.clone());
    assert_eq!(answer["fingerprint"], signalbeam_pki::fingerprint(&certificate.der).to_string());
    assert_eq!(answer["issuedAt"], world.now().to_string());
    assert_eq!(answer["expiresAt"], world.now().plus_days(90).to_string());
    assert_eq!(answer["caCertificatePem"], world.authority.certificate_pem());
    assert_eq!(answer["deviceId"], device.id);
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    let types = world.types(&device.certificates()).await;
    assert_eq!(types, ["certificate.intended", "certificate.issued", "certificate.first_used"]);
}

#[tokio::test]
async fn without_one_the_private_key_is_shown_once_and_kept_nowhere() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let answer = world.post(device.issue_route()).admin(Role::Admin).send().await.expect(201);
    let pem = answer["privateKeyPem"].as_str().unwrap();
    let key = KeyPair::from_pem(pem).unwrap();
    let certificate = DeviceCertificate::shown(answer.clone());
    let public = rcgen::PublicKeyData::der_bytes(&key).to_vec();
    assert!(certificate.der.windows(public.len()).any(|window| window == public), "the key is the certificate's");
    let line = pem.lines().nth(5).unwrap();
    assert!(world.log().await.iter().all(|r| !String::from_utf8_lossy(&r.envelope.data).contains(line)));
}

#[tokio::test]
async fn from_a_signing_request_nothing_but_the_key_is_taken() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "device-of-somebody-else");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.subject_alt_names = vec![SanType::URI("spiffe://evil/tenant/x/device/y".try_into().unwrap())];
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0xde, 0xad, 0xbe, 0xef])];
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    let call = world.post(device.issue_route()).device(&device).json(&json!({"csrPem": csr}));
    let certificate = DeviceCertificate::shown(call.send().await.expect(201));
    let text = String::from_utf8_lossy(&certificate.der).into_owned();
    assert!(!text.contains("evil") && !text.contains("somebody"));
    assert!(!certificate.der.windows(4).any(|w| w == [0xde, 0xad, 0xbe, 0xef]));
    assert!(text.contains(&format!("/tenant/{TENANT_A}/device/{}", device.id)));
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
}

#[tokio::test]
async fn a_request_that_must_not_be_certified_issues_nothing() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let p384 = csr_over(&KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap());
    let ed25519 = csr_over(&KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap());
    let good = csr();
    let lines: Vec<&str> = good.lines().collect();
    let replaced = lines[2].chars().rev().collect::<String>();
    let tampered = good.replace(lines[2], &replaced);
    for (csr, code) in [
        (p384, ErrorCode::WeakKey),
        (ed25519, ErrorCode::WeakKey),
        (tampered, ErrorCode::InvalidCsr),
        (good.repeat(2), ErrorCode::InvalidCsr),
        (good.replace(" REQUEST", ""), ErrorCode::InvalidCsr),
        (String::new(), ErrorCode::InvalidCsr),
        ("x".repeat(20_000), ErrorCode::InvalidCsr),
    ] {
        let call = world.post(device.issue_route()).device(&device).json(&json!({"csrPem": csr}));
        let answer = call.send().await;
        if code == ErrorCode::InvalidCsr && answer.body["code"] == "WEAK_KEY" {
            // Turned around, the octets may name another algorithm before they prove nothing.
            answer.problem(ErrorCode::WeakKey);
            continue;
        }
        answer.problem(code);
    }
    assert!(world.types(&device.certificates()).await.is_empty(), "not even intended");
}

#[tokio::test]
async fn the_validity_is_bounded_and_the_profile_known() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let csr = csr();
    let issue = |extra: Value| {
        let mut body = json!({"csrPem": csr});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        world.post(device.issue_route()).device(&device).json(&body)
    };
    for days in [0, -1, 398, i64::MAX] {
        assert_eq!(issue(json!({"validityDays": days})).send().await.pointers(), ["/validityDays"]);
    }
    assert_eq!(issue(json!({"profile": "ca"})).send().await.pointers(), ["/profile"]);
    assert_eq!(issue(json!({"subject": "x"})).send().await.pointers(), ["/subject"]);
    for days in [1, 397] {
        let answer = issue(json!({"validityDays": days, "profile": "device"})).send().await.expect(201);
        assert_eq!(answer["expiresAt"], world.now().plus_days(days).to_string());
    }
    world.clock.advance_days(3_600);
    let device = world.approved_device(TENANT_A).await;
    let answer = world.post(device.issue_route()).device(&device).json(&json!({"csrPem": csr, "validityDays": 397}));
    let end = answer.send().await.expect(201)["expiresAt"].as_str().unwrap().to_owned();
    assert_eq!(end, "2036-01-31T12:00:00.000000Z", "never past the authority's own end");
}

#[tokio::test]
async fn only_an_approved_device_its_own_key_and_an_admin_get_one() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let other = world.approved_device(TENANT_A).await;
    let foreign = world.approved_device(TENANT_B).await;
    let issue = || world.post(device.issue_route()).json(&json!({"csrPem": csr()}));
    issue().send().await.problem(ErrorCode::AuthenticationRequired);
    issue().certificate(&certificate).send().await.problem(ErrorCode::AuthenticationRequired);
    issue().admin(Role::Auditor).send().await.problem(ErrorCode::Forbidden);
    issue().admin(Role::Operator).send().await.problem(ErrorCode::Forbidden);
    issue().device(&other).send().await.problem(ErrorCode::NotFound);
    issue().device(&foreign).send().await.problem(ErrorCode::NotFound);
    issue().admin_of(Role::Admin, TENANT_B).send().await.problem(ErrorCode::NotFound);
    issue().admin_of(Role::Admin, TENANT_A).send().await.expect(201);
    let by_key_beside_a_revoked_certificate = issue().device(&device).certificate(&certificate).send().await;
    by_key_beside_a_revoked_certificate.expect(201);

    for actions in [&[][..], &["reject"], &["approve", "suspend"], &["decommission"]] {
        let device = world.pending_device(TENANT_A).await;
        for action in actions {
            world.decide(&device, action).await.expect(200);
        }
        let call = world.post(device.issue_route()).admin(Role::Admin).json(&json!({"csrPem": csr()}));
        call.send().await.problem(ErrorCode::DeviceNotApproved);
        assert!(world.types(&device.certificates()).await.is_empty());
    }
    let unknown = world.post(format!("/api/certificates/{TENANT_A}/issue")).admin(Role::Admin);
    unknown.send().await.problem(ErrorCode::NotFound);
}

#[tokio::test]
async fn a_new_certificate_supersedes_the_one_before_in_the_same_append() {
    let world = World::new().await;
    let (device, old) = world.device_with_certificate(TENANT_A).await;
    let new = world.certificate_of(&device).await;
    world.heartbeat_by_certificate(&device, &old).await.problem(ErrorCode::CertificateRevoked);
    world.heartbeat_by_certificate(&device, &new).await.expect(200);
    let log = world.log().await;
    let at = log.iter().position(|r| r.envelope.event_type == "certificate.superseded").unwrap();
    let after = &log[at + 1].envelope;
    assert_eq!((after.event_type.as_str(), after.recorded_at), ("certificate.issued", log[at].envelope.recorded_at));
    let superseded = world.events(&device.certificates()).await.into_iter().find_map(|event| match event {
        Event::CertificateEvent(CertificateEvent::Superseded(superseded)) => Some(superseded),
        _ => None,
    });
    let superseded = superseded.unwrap();
    assert_eq!(superseded.serial_number, old.serial_number());
    assert_eq!(superseded.superseded_by, new.serial_number());
}

#[tokio::test]
async fn what_is_intended_is_on_record_before_it_is_signed() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    world.keys.close();
    let body = json!({"csrPem": csr()});
    let issuing = world.post(device.issue_route()).device(&device).json(&body).send();
    let looking = async {
        world.keys.arrival().await;
        let types = world.types(&device.certificates()).await;
        world.keys.open();
        types
    };
    let (answer, types) = tokio::join!(issuing, looking);
    assert_eq!(types, ["certificate.intended"]);
    let serial = answer.expect(201)["serialNumber"].clone();
    let events = world.events(&device.certificates()).await;
    let Event::CertificateEvent(CertificateEvent::Intended(intended)) = &events[0] else { panic!("{events:?}") };
    assert_eq!(serial, intended.serial_number.to_string());
}

#[tokio::test]
async fn a_suspension_between_the_check_and_the_signature_wins() {
    let world = World::new().await;
    for action in ["suspend", "decommission"] {
        let device = world.approved_device(TENANT_A).await;
        let before = world.certificate_of(&device).await;
        world.keys.close();
        let body = json!({"csrPem": csr()});
        let issuing = world.post(device.issue_route()).device(&device).json(&body).send();
        let deciding = async {
            world.keys.arrival().await;
            world.decide(&device, action).await.expect(200);
            world.keys.open();
        };
        let (answer, ()) = tokio::join!(issuing, deciding);
        answer.problem(ErrorCode::DeviceNotApproved);
        let types = world.types(&device.certificates()).await;
        assert_eq!(types.iter().filter(|t| **t == "certificate.issued").count(), 1, "only the one before: {types:?}");
        assert_eq!(*types.last().unwrap(), "certificate.abandoned");
        if action == "suspend" {
            world.decide(&device, "reinstate").await.expect(200);
            world.heartbeat_by_certificate(&device, &before).await.expect(200);
            world.certificate_of(&device).await;
        }
    }
}

#[tokio::test]
async fn a_device_that_is_renamed_meanwhile_still_gets_its_certificate() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    world.keys.close();
    let body = json!({"csrPem": csr()});
    let issuing = world.post(device.issue_route()).device(&device).json(&body).send();
    let renaming = async {
        world.keys.arrival().await;
        let body = json!({"deviceName": "renamed"});
        world.patch(format!("/api/devices/{}", device.id)).admin(Role::Admin).json(&body).send().await.expect(200);
        world.keys.open();
    };
    let (answer, ()) = tokio::join!(issuing, renaming);
    answer.expect(201);
}

#[tokio::test]
async fn an_authority_that_cannot_sign_leaves_nothing_but_a_record() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.keys.signing_fails.set(true);
    let issue = || world.post(device.issue_route()).device(&device).json(&json!({"csrPem": csr()}));
    let answer = issue().send().await;
    assert!(answer.headers.contains_key("retry-after"));
    answer.problem(ErrorCode::SigningUnavailable);
    let types = world.types(&device.certificates()).await;
    assert_eq!(types[types.len() - 2..], ["certificate.intended", "certificate.abandoned"]);
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    world.keys.signing_fails.set(false);
    issue().send().await.expect(201);
}

#[tokio::test]
async fn an_intent_that_a_crash_left_open_is_resolved() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    world.keys.close();
    let body = json!({"csrPem": csr()});
    let issuing = world.post(device.issue_route()).device(&device).json(&body).send();
    tokio::select! {
        biased;
        _ = issuing => panic!("the signature should wait"),
        () = world.keys.arrival() => {}
    }
    let events = world.events(&device.certificates()).await;
    let Event::CertificateEvent(CertificateEvent::Intended(intended)) = &events[0] else { panic!("{events:?}") };
    let open = [(intended.device_id, intended.tenant_id, intended.serial_number)];
    let resolve = || signalbeam_command_api::abandon_open_intents(&*world.store, open, world.now());
    assert_eq!(resolve().await.unwrap(), 1);
    assert_eq!(resolve().await.unwrap(), 0, "once");
    assert_eq!(world.types(&device.certificates()).await, ["certificate.intended", "certificate.abandoned"]);
    world.keys.open();
    world.certificate_of(&device).await;
}
