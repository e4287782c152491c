//! Profiles: who may choose one, what it decides, and what becomes of a device whose profile is gone.

use rcgen::KeyPair;
use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::{ProfileName, StreamId};
use signalbeam_pki::{DeviceKeyType, Profile, ProfileSet, ProfileSettings};

use crate::world::fleet::{DeviceCertificate, TestDevice, csr, csr_over};
use crate::world::{TENANT_A, World};

fn named(name: &str, change: impl FnOnce(&mut ProfileSettings)) -> Profile {
    let mut settings = ProfileSettings { name: ProfileName::parse(name).unwrap(), ..ProfileSettings::default() };
    change(&mut settings);
    Profile::new(&settings).unwrap()
}

/// A profile with P-384 alone, for ten days, renewable in the last three, for TLS servers too.
fn gateway() -> Profile {
    named("gateway", |settings| {
        settings.key_types = vec![DeviceKeyType::EcdsaP384];
        settings.server_key_type = DeviceKeyType::EcdsaP384;
        (settings.max_validity_days, settings.validity_days, settings.renewal_window_days) = (10, 10, 3);
        settings.extended_key_usages = vec!["client_auth".into(), "server_auth".into()];
        settings.subject = "CN=gateway {deviceId}, OU=Gateways, O=Example".into();
        settings.dns_names = vec!["{deviceId}.gateways.example.com".into()];
    })
}

async fn world() -> World {
    let world = World::new().await;
    world.profiles.replace(ProfileSet::new([gateway()]));
    world
}

fn p384() -> String {
    csr_over(&KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap())
}

/// A device that was approved with a profile.
async fn approved_with(world: &World, profile: &str) -> TestDevice {
    let device = world.pending_device(TENANT_A).await;
    let body = json!({"certificateProfile": profile});
    world.post(device.route("approve")).admin(Role::Operator).json(&body).send().await.expect(200);
    world.with_key(device).await
}

/// The profile on record of the last certificate.
async fn recorded_profile(world: &World, device: &TestDevice) -> Value {
    let stream: StreamId = device.certificates();
    let log = world.log().await;
    let issued =
        log.iter().rev().find(|r| r.envelope.stream == stream && r.envelope.event_type == "certificate.issued");
    serde_json::from_slice::<Value>(&issued.unwrap().envelope.data).unwrap()["profile"].clone()
}

#[tokio::test]
async fn a_device_gets_certificates_of_the_profile_that_it_was_approved_with() {
    let world = world().await;
    let device = approved_with(&world, "gateway").await;
    let issue = |body: Value| world.post(device.issue_route()).device(&device).json(&body);
    issue(json!({"csrPem": csr()})).send().await.problem(ErrorCode::WeakKey);
    assert_eq!(issue(json!({"csrPem": p384(), "validityDays": 11})).send().await.pointers(), ["/validityDays"]);
    assert!(world.types(&device.certificates()).await.is_empty(), "not even intended");
    let answer = issue(json!({"csrPem": p384(), "profile": "gateway"})).send().await.expect(201);
    assert_eq!(answer["expiresAt"], world.now().plus_days(10).to_string());
    let certificate = DeviceCertificate::shown(answer);
    let text = String::from_utf8_lossy(&certificate.der).into_owned();
    for part in [&format!("gateway {}", device.id), &format!("{}.gateways.example.com", device.id), "Gateways"] {
        assert!(text.contains(part), "{part}");
    }
    assert_eq!(recorded_profile(&world, &device).await, "gateway");
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    let without_request = issue(json!({})).send().await.expect(201);
    let made_here = KeyPair::from_pem(without_request["privateKeyPem"].as_str().unwrap()).unwrap();
    assert_eq!(made_here.algorithm(), &rcgen::PKCS_ECDSA_P384_SHA384, "a key of the profile's type");
}

#[tokio::test]
async fn only_an_admin_chooses_another_profile_and_everybody_only_one_that_there_is() {
    let world = world().await;
    let device = world.approved_device(TENANT_A).await;
    let as_device = |body: Value| world.post(device.issue_route()).device(&device).json(&body);
    let as_admin = |body: Value| world.post(device.issue_route()).admin(Role::Admin).json(&body);
    as_device(json!({"csrPem": p384(), "profile": "gateway"})).send().await.problem(ErrorCode::Forbidden);
    for unknown in ["ca", "", "Gateway", "gateway "] {
        for call in [as_device(json!({"profile": unknown})), as_admin(json!({"profile": unknown}))] {
            let answer = call.send().await;
            assert!(answer.body["errors"][0]["detail"].as_str().unwrap().contains("`device`, `gateway`"));
            assert_eq!(answer.pointers(), ["/profile"], "{unknown}");
        }
    }
    assert!(world.types(&device.certificates()).await.is_empty());
    as_admin(json!({"csrPem": p384(), "profile": "gateway"})).send().await.expect(201);
    assert_eq!(recorded_profile(&world, &device).await, "gateway");
    as_device(json!({"csrPem": csr(), "profile": "device"})).send().await.expect(201);
    assert_eq!(recorded_profile(&world, &device).await, "device");
}

#[tokio::test]
async fn an_approval_takes_only_a_profile_that_there_is() {
    let world = world().await;
    let device = world.pending_device(TENANT_A).await;
    let body = json!({"certificateProfile": "toaster"});
    let answer = world.post(device.route("approve")).admin(Role::Admin).json(&body).send().await;
    assert_eq!(answer.pointers(), ["/certificateProfile"]);
    let bulk = |action: &str, profile: &str| {
        let body = json!({"action": action, "deviceIds": [device.id], "certificateProfile": profile});
        world.post("/api/devices/bulk").admin(Role::Admin).json(&body)
    };
    assert_eq!(bulk("approve", "toaster").send().await.pointers(), ["/certificateProfile"]);
    assert_eq!(bulk("reject", "gateway").send().await.pointers(), ["/certificateProfile"]);
    assert_eq!(world.types(&device.stream()).await, ["device.registered"]);
    bulk("approve", "gateway").send().await.expect(200);
    let device = world.with_key(device).await;
    let call = world.post(device.issue_route()).device(&device).json(&json!({"csrPem": p384()}));
    call.send().await.expect(201);
    assert_eq!(recorded_profile(&world, &device).await, "gateway");
}

#[tokio::test]
async fn a_renewal_has_the_window_of_the_old_certificate_and_the_profile_that_the_device_has_now() {
    let world = world().await;
    let device = approved_with(&world, "gateway").await;
    let call = world.post(device.issue_route()).device(&device).json(&json!({"csrPem": p384()}));
    let old = DeviceCertificate::shown(call.send().await.expect(201));
    let renew = |csr: &str| world.post(old.renew_route()).device(&device).json(&json!({"csrPem": csr}));
    let too_early = renew(&p384()).send().await;
    assert_eq!(too_early.body["renewableFrom"], world.now().plus_days(7).to_string());
    too_early.problem(ErrorCode::CertificateNotRenewable);
    let patch = |profile: &str| {
        world
            .patch(format!("/api/devices/{}", device.id))
            .admin(Role::Admin)
            .json(&json!({"certificateProfile": profile}))
    };
    assert_eq!(patch("toaster").send().await.pointers(), ["/certificateProfile"]);
    assert_eq!(patch("device").send().await.expect(200)["certificateProfile"], "device");
    world.clock.advance_days(7);
    let answer = renew(&csr()).send().await.expect(201);
    assert_eq!(answer["expiresAt"], world.now().plus_days(90).to_string());
    assert_eq!(recorded_profile(&world, &device).await, "device");
}

#[tokio::test]
async fn a_device_whose_profile_is_gone_keeps_what_it_has_and_gets_nothing_until_it_is_back() {
    let world = world().await;
    let device = approved_with(&world, "gateway").await;
    let issue = || world.post(device.issue_route()).device(&device).json(&json!({"csrPem": p384()}));
    let certificate = DeviceCertificate::shown(issue().send().await.expect(201));
    world.clock.advance_days(8);
    world.profiles.replace(ProfileSet::default());
    issue().send().await.problem(ErrorCode::ProfileUnavailable);
    let renew = || world.post(certificate.renew_route()).device(&device).json(&json!({"csrPem": p384()}));
    renew().send().await.problem(ErrorCode::ProfileUnavailable);
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    world.profiles.replace(ProfileSet::new([gateway()]));
    renew().send().await.expect(201);
}

#[tokio::test]
async fn what_is_configured_while_a_certificate_is_being_signed_is_for_the_next() {
    let world = world().await;
    let device = approved_with(&world, "gateway").await;
    world.keys.close();
    let call = world.post(device.issue_route()).device(&device).json(&json!({"csrPem": p384()}));
    let (answer, ()) = tokio::join!(call.send(), async {
        world.keys.arrival().await;
        world.profiles.replace(ProfileSet::default());
        world.keys.open();
    });
    let certificate = DeviceCertificate::shown(answer.expect(201));
    let text = String::from_utf8_lossy(&certificate.der).into_owned();
    assert!(text.contains(&format!("{}.gateways.example.com", device.id)));
    assert_eq!(recorded_profile(&world, &device).await, "gateway");
}
