//! By a device's id and API key.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType};
use signalbeam_authn::{AuthenticationPolicy, ErrorCode};

use super::*;
use crate::world::fleet::with_another_secret;
use crate::world::{TENANT_A, TENANT_B, World};

#[tokio::test]
async fn a_device_gets_a_certificate_that_authenticates_and_supersedes_the_one_before() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let (first, attempts) = world.attempts_during(world.enrolled(&device, &request())).await;
    assert_eq!(attempts, [("ApiKey".to_owned(), "ok".to_owned())]);
    world.heartbeat_by_certificate(&device, &first).await.expect(200);
    let second = world.enrolled(&device, &request()).await;
    world.heartbeat_by_certificate(&device, &first).await.problem(ErrorCode::CertificateRevoked);
    world.heartbeat_by_certificate(&device, &second).await.expect(200);
}

#[tokio::test]
async fn a_lost_answer_is_given_again_until_the_certificate_is_used() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let request = request();
    let first = world.enrolled(&device, &request).await;
    let events = world.log().await.len();
    let again = world.post(ENROL).basic_device(&device).asking(&request).send().await;
    assert_eq!(again.issued(), first.der);
    assert_eq!(world.log().await.len(), events);
    world.heartbeat_by_certificate(&device, &first).await.expect(200);
    let after_use = world.enrolled(&device, &request).await;
    assert_ne!(after_use.der, first.der);
    world.delete(after_use.route()).admin(signalbeam_authn::Role::Admin).send().await.expect(204);
    let after_revocation = world.enrolled(&device, &request).await;
    assert_ne!(after_revocation.der, after_use.der, "a revoked certificate is given to nobody");
}

#[tokio::test]
async fn who_is_not_the_keys_device_learns_nothing_and_gets_nothing() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let sibling = world.approved_device(TENANT_A).await;
    let stranger = world.approved_device(TENANT_B).await;
    let unknown = "018f3c5e-7b1a-7cc2-9d3e-0123456789ab";
    let guess = with_another_secret(&device.api_key);
    let before = world.log().await.len();
    let mut details = vec![];
    for (user, password) in [
        (device.id.as_str(), guess.as_str()),
        (device.id.as_str(), "sb_device_"),
        (device.id.as_str(), ""),
        (unknown, guess.as_str()),
        (unknown, device.api_key.as_str()),
        (sibling.id.as_str(), device.api_key.as_str()),
        (stranger.id.as_str(), device.api_key.as_str()),
        (device.tenant_id.as_str(), device.api_key.as_str()),
        ("device", device.api_key.as_str()),
        ("", device.api_key.as_str()),
    ] {
        for route in [ENROL, REENROL, SERVER_KEY] {
            let call = world.post(route).basic(user, password).asking(&request());
            let (answer, attempts) = world.attempts_during(call.send()).await;
            assert_eq!(attempts, [("ApiKey".to_owned(), "INVALID_API_KEY".to_owned())], "{route} {user}");
            details.push(answer.challenged(ErrorCode::InvalidApiKey)["detail"].clone());
        }
    }
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");
    assert_eq!(world.log().await.len(), before, "not even a first use");
}

#[tokio::test]
async fn without_basic_credentials_nobody_is_heard() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    for route in [ENROL, SERVER_KEY] {
        let bare = || world.post(route).asking(&request());
        bare().send().await.challenged(ErrorCode::AuthenticationRequired);
        bare().header("authorization", "Basic !!!").send().await.challenged(ErrorCode::AuthenticationRequired);
        bare().bearer(&device.api_key).send().await.challenged(ErrorCode::AuthenticationRequired);
        bare().device(&device).send().await.challenged(ErrorCode::AuthenticationRequired);
        bare().certificate(&certificate).send().await.challenged(ErrorCode::AuthenticationRequired);
    }
}

#[tokio::test]
async fn a_certificate_beside_the_key_lets_nobody_in_and_a_refused_one_counts_by_the_policy() {
    let never = AuthenticationPolicy {
        api_key_fallback: signalbeam_authn::ApiKeyFallback::Never,
        ..AuthenticationPolicy::default()
    };
    for (policy, lets_in) in [(AuthenticationPolicy::default(), true), (never, false)] {
        let world = World::with(policy).await;
        let (device, certificate) = world.device_with_certificate(TENANT_A).await;
        let (other, _) = world.device_with_certificate(TENANT_A).await;
        let beside = |device: &TestDevice| world.post(ENROL).certificate(&certificate).basic_device(device);
        let (answer, attempts) = world.attempts_during(beside(&other).asking(&request()).send()).await;
        world.shown(&other, answer.issued()).await;
        assert_eq!(attempts, [("ApiKey".to_owned(), "ok".to_owned())]);

        world.delete(certificate.route()).admin(signalbeam_authn::Role::Admin).send().await.expect(204);
        let (answer, attempts) = world.attempts_during(beside(&device).asking(&request()).send()).await;
        let refused = ("Certificate".to_owned(), "CERTIFICATE_REVOKED".to_owned());
        if lets_in {
            answer.issued();
            assert_eq!(attempts, [refused, ("ApiKey".to_owned(), "ok".to_owned())]);
        } else {
            answer.challenged(ErrorCode::CertificateRevoked);
            assert_eq!(attempts, [refused]);
        }
    }
}

#[tokio::test]
async fn a_device_out_of_service_gets_none() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    world.decide(&device, "suspend").await.expect(200);
    let (answer, attempts) =
        world.attempts_during(world.post(ENROL).basic_device(&device).asking(&request()).send()).await;
    answer.problem(ErrorCode::DeviceNotApproved);
    assert_eq!(attempts, [("ApiKey".to_owned(), "DEVICE_NOT_APPROVED".to_owned())]);
}

#[tokio::test]
async fn nothing_but_the_key_is_taken_from_a_request() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "evil\u{0}example");
    params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let wishes = STANDARD.encode(params.serialize_request(&key).unwrap().der());
    let certificate = world.enrolled(&device, &wishes).await;
    let has = |text: &[u8]| certificate.der.windows(text.len()).any(|window| window == text);
    assert!(has(format!("device-{}", device.id).as_bytes()));
    assert!(!has(b"evil") && !has(b"localhost"));
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
}
