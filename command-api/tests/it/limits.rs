//! Limits and the bounds of tenants: who is refused, who is not, and that what is refused is not lost.

mod networks;
mod quotas;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::KeyPair;
use serde_json::json;
use signalbeam_authn::limits::LimitSettings;
use signalbeam_authn::limits::quota::Quota;
use signalbeam_authn::limits::tenants::{TenantBounds, TenantPolicy};
use signalbeam_authn::{Connection, ErrorCode, Role, draw};

use crate::world::call::{Answer, Call};
use crate::world::fleet::{DeviceCertificate, csr, csr_over, new_claim_secret, with_another_secret};
use crate::world::{TENANT_A, TENANT_B, World, tenant};

/// So few that a test meets the limit, and none comes back while it runs.
fn few(burst: u32) -> Quota {
    Quota::new(burst, 1, Duration::from_hours(1))
}

fn one_tenant(bounds: TenantBounds) -> TenantPolicy {
    TenantPolicy { default: TenantBounds::default(), overrides: [(tenant(TENANT_A), bounds)].into() }
}

fn from<'a>(call: Call<'a>, address: &str) -> Call<'a> {
    call.on(&Arc::new(Connection::plain(SocketAddr::new(address.parse().unwrap(), 1))))
}

fn certificate_from<'a>(call: Call<'a>, certificate: &DeviceCertificate, address: &str) -> Call<'a> {
    let chain = vec![certificate.der.clone().into()];
    call.on(&Arc::new(Connection::with_certificates(SocketAddr::new(address.parse().unwrap(), 1), chain)))
}

/// A 429 with everything that belongs to it.
#[track_caller]
fn limited(answer: Answer, limit: &str) -> String {
    let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    assert!(header("retry-after").parse::<u64>().unwrap() >= 1, "{answer:?}");
    assert!(header("ratelimit-policy").contains(&format!("\"{limit}\";q=")), "{answer:?}");
    assert!(header("ratelimit").contains(&format!("\"{limit}\";r=0;t=")), "{answer:?}");
    answer.problem(ErrorCode::RateLimited)["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn strangers_are_limited_and_a_good_device_at_their_address_is_not() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let failed_attempts = few(3);
    world
        .limits
        .reconfigure(Some(LimitSettings { failed_attempts, ..LimitSettings::default() }), TenantPolicy::default());
    let beat = |key: &str| world.post(device.route("heartbeat")).api_key(key);
    let (unknown, known) = (draw::api_key().unwrap().expose(), with_another_secret(&device.api_key));
    for remaining in [2, 1, 0] {
        let answer = beat(&unknown).send().await;
        let header = answer.headers["ratelimit"].to_str().unwrap();
        assert!(header.contains(&format!("\"failed_attempts\";r={remaining};t=")), "{header}");
        answer.problem(ErrorCode::InvalidApiKey);
    }
    let (details, attempts) = world
        .attempts_during(async {
            let mut details = vec![limited(beat(&unknown).send().await, "failed_attempts")];
            details.push(limited(beat(&known).send().await, "failed_attempts"));
            details.push(limited(beat("nonsense").send().await, "failed_attempts"));
            let admin = world.post("/api/registration-tokens").bearer("nonsense").send().await;
            details.push(limited(admin, "failed_attempts"));
            let claim = world.post(device.route("api-key/claim")).bearer(&new_claim_secret()).send().await;
            details.push(limited(claim, "failed_attempts"));
            details
        })
        .await;
    assert!(details.iter().all(|detail| *detail == details[0]), "nothing is said of the credential: {details:?}");
    assert_eq!(attempts.len(), 5, "each failure is recorded: {attempts:?}");
    assert_eq!(attempts[0], ("ApiKey".to_owned(), "INVALID_API_KEY".to_owned()));

    world.heartbeat_by_key(&device).await.expect(200);
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    let with_bad_certificate = world.post(device.route("heartbeat")).chain(vec![vec![0x30, 0]]).device(&device);
    with_bad_certificate.send().await.expect(200);
    let elsewhere = from(beat(&unknown), "198.51.100.8").send().await;
    elsewhere.problem(ErrorCode::InvalidApiKey);
    world.decide(&device, "suspend").await.expect(200);
    world.heartbeat_by_key(&device).await.problem(ErrorCode::DeviceNotApproved);
}

#[tokio::test]
async fn a_guessed_registration_token_counts_as_a_failure() {
    let world = World::new().await;
    let token = world.token(TENANT_A).await;
    let failed_attempts_per_credential = few(2);
    let settings = LimitSettings { failed_attempts_per_credential, ..LimitSettings::default() };
    world.limits.reconfigure(Some(settings), TenantPolicy::default());
    let mut guess = token.clone();
    guess["token"] = with_another_secret(token["token"].as_str().unwrap()).into();
    for _ in 0..2 {
        world.register_with(&guess, &new_claim_secret()).await.problem(ErrorCode::InvalidRegistrationToken);
    }
    limited(world.register_with(&guess, &new_claim_secret()).await, "failed_attempts_per_credential");
    world.register_with(&token, &new_claim_secret()).await.expect(201);
}

#[tokio::test]
async fn registrations_beyond_the_limit_wait_and_their_tokens_stay_good() {
    let world = World::new().await;
    let tokens = [world.token(TENANT_A).await, world.token(TENANT_A).await];
    world.limits.reconfigure(
        Some(LimitSettings { registrations: few(1), ..LimitSettings::default() }),
        TenantPolicy::default(),
    );
    let secret = new_claim_secret();
    let first = world.register_with(&tokens[0], &secret).await;
    assert_eq!(first.headers["ratelimit-policy"], "\"registrations\";q=1;w=3600");
    let first = first.expect(201);
    limited(world.register_with(&tokens[1], &new_claim_secret()).await, "registrations");
    assert_eq!(world.register_with(&tokens[0], &secret).await.expect(201), first, "a lost answer is given again");
    let taken = world.register_with(&tokens[0], &new_claim_secret()).await;
    taken.problem(ErrorCode::RegistrationTokenUsed);
    world.limits.reconfigure(Some(LimitSettings::default()), TenantPolicy::default());
    world.register_with(&tokens[1], &new_claim_secret()).await.expect(201);
}

#[tokio::test]
async fn a_registration_that_could_not_be_recorded_does_not_count() {
    let world = World::new().await;
    let token = world.token(TENANT_A).await;
    world.limits.reconfigure(
        Some(LimitSettings { registrations: few(1), ..LimitSettings::default() }),
        TenantPolicy::default(),
    );
    world.log_lock.engage();
    for _ in 0..3 {
        world.register_with(&token, &new_claim_secret()).await.problem(ErrorCode::LogRolledBack);
    }
    world.log_lock.release();
    world.register_with(&token, &new_claim_secret()).await.expect(201);
}

#[tokio::test]
async fn a_thousand_devices_of_a_factory_register_from_one_address() {
    let world = World::new().await;
    for _ in 0..1_000 {
        let answer = world.limits.registration("198.51.100.7".parse().unwrap());
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_device_that_asks_for_ever_new_credentials_is_slowed_down_and_an_admin_is_not() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let other = world.approved_device(TENANT_A).await;
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    world.clock.advance_days(70);
    let settings = LimitSettings { issuances_per_device: few(1), ..LimitSettings::default() };
    world.limits.reconfigure(Some(settings), TenantPolicy::default());
    let key = KeyPair::generate().unwrap();
    let renew =
        || world.post(certificate.renew_route()).certificate(&certificate).json(&json!({"csrPem": csr_over(&key)}));
    let renewed = renew().send().await.expect(201);
    let issue = || world.post(device.issue_route()).device(&device).json(&json!({"csrPem": csr()}));
    limited(issue().send().await, "issuances");
    let rotate = world.post(device.route("rotate-api-key")).device(&device);
    limited(rotate.send().await, "issuances");
    let again = renew().send().await.expect(200);
    assert_eq!(again["serialNumber"], renewed["serialNumber"], "the repetition of a lost answer is never refused");
    world.post(other.issue_route()).device(&other).json(&json!({"csrPem": csr()})).send().await.expect(201);
    let by_admin = world.post(device.issue_route()).admin(Role::Admin).json(&json!({"csrPem": csr()}));
    by_admin.send().await.expect(201);
}

#[tokio::test]
async fn claims_are_limited_by_client() {
    let world = World::new().await;
    let (first, second) = (world.pending_device(TENANT_A).await, world.pending_device(TENANT_A).await);
    world.decide(&first, "approve").await.expect(200);
    world.decide(&second, "approve").await.expect(200);
    world
        .limits
        .reconfigure(Some(LimitSettings { claims: few(1), ..LimitSettings::default() }), TenantPolicy::default());
    world.claim(&first).await.expect(200);
    limited(world.claim(&second).await, "claims");
    let elsewhere = from(world.post(second.route("api-key/claim")).bearer(&second.claim_secret), "198.51.100.8");
    elsewhere.send().await.expect(200);
}

#[tokio::test]
async fn a_tenant_that_asks_too_often_is_slowed_down_and_no_other() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let neighbour = world.approved_device(TENANT_B).await;
    let bounds = TenantBounds { requests_per_second: Some(1), ..TenantBounds::default() };
    world.limits.reconfigure(Some(LimitSettings::default()), one_tenant(bounds));
    let mut refused = 0;
    for _ in 0..200 {
        let answer = world.heartbeat_by_key(&device).await;
        world.heartbeat_by_key(&neighbour).await.expect(200);
        if answer.status == 429 {
            limited(answer, "tenant_requests");
            refused += 1;
        } else {
            answer.expect(200);
        }
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3, "one a second is less than a test sends");
    let limits_of = |answer: &Answer| answer.headers.contains_key("ratelimit");
    let confined =
        world.post("/api/registration-tokens").admin_of(Role::Admin, TENANT_A).json(&json!({"tenantId": TENANT_A}));
    assert!(limits_of(&confined.send().await), "an admin who is confined to the tenant shares its limit");
    let free = world.post("/api/registration-tokens").admin(Role::Admin).json(&json!({"tenantId": TENANT_A}));
    let free = free.send().await;
    assert!(!limits_of(&free), "an admin of all tenants does not");
    free.expect(201);
}
