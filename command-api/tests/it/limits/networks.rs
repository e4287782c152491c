//! From where devices register and authenticate.

use serde_json::json;
use signalbeam_authn::limits::tenants::TenantBounds;
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::device::DeviceNetworksRestricted;
use signalbeam_domain::{AllowedNetworks, Network};

use crate::failures::happens_elsewhere;

use super::{TENANT_A, TENANT_B, World, certificate_from, csr, from, new_claim_secret, one_tenant};

const INSIDE: &str = "192.0.2.7";
const MAPPED: &str = "::ffff:192.0.2.7";
const OUTSIDE: &str = "203.0.113.9";

#[tokio::test]
async fn a_device_that_is_bound_to_networks_comes_from_nowhere_else() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let route = format!("/api/devices/{}", device.id);
    let patch = |networks: serde_json::Value| {
        world.patch(&route).admin(Role::Admin).json(&json!({"allowedNetworks": networks})).send()
    };
    let beat = || world.post(device.route("heartbeat"));
    certificate_from(beat(), &certificate, OUTSIDE).send().await.expect(200);
    let bound = patch(json!(["192.0.2.0/24", "2001:db8::/32"])).await;
    assert!(bound.position().is_some());
    assert_eq!(bound.expect(200)["allowedNetworks"], json!(["192.0.2.0/24", "2001:db8::/32"]));

    let ((), attempts) = world
        .attempts_during(async {
            let by_key = from(beat().device(&device), OUTSIDE).send().await;
            by_key.problem(ErrorCode::AddressNotAllowed);
            let by_certificate = certificate_from(beat(), &certificate, OUTSIDE).send().await;
            by_certificate.problem(ErrorCode::AddressNotAllowed);
            let issue = world.post(device.issue_route()).device(&device).json(&json!({"csrPem": csr()}));
            from(issue, OUTSIDE).send().await.problem(ErrorCode::AddressNotAllowed);
            let renew = world.post(certificate.renew_route()).json(&json!({"csrPem": csr()}));
            certificate_from(renew, &certificate, OUTSIDE).send().await.problem(ErrorCode::AddressNotAllowed);
            let claim = world.post(device.route("api-key/claim")).bearer(&device.claim_secret);
            from(claim, OUTSIDE).send().await.problem(ErrorCode::AddressNotAllowed);
        })
        .await;
    assert_eq!(attempts.len(), 5, "{attempts:?}");
    assert!(attempts.iter().all(|(_, code)| code == "ADDRESS_NOT_ALLOWED"), "{attempts:?}");
    let last = world.attempts().await.pop().unwrap();
    assert_eq!(last.ip_address.to_string(), OUTSIDE);
    let types = world.types(&device.keys()).await;
    assert_eq!(types, ["api_key.issued", "api_key.first_used"], "what was refused was no use");

    for address in [INSIDE, MAPPED, "2001:db8::1"] {
        from(beat().device(&device), address).send().await.expect(200);
        certificate_from(beat(), &certificate, address).send().await.expect(200);
    }
    patch(json!([])).await.expect(200);
    from(beat().device(&device), OUTSIDE).send().await.expect(200);
    certificate_from(beat(), &certificate, OUTSIDE).send().await.expect(200);
}

#[tokio::test]
async fn a_superseded_certificate_repeats_its_renewal_from_nowhere_else_either() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.clock.advance_days(70);
    let request = csr();
    let renew = || world.post(certificate.renew_route()).json(&json!({"csrPem": request}));
    certificate_from(renew(), &certificate, INSIDE).send().await.expect(201);
    let patch = world.patch(format!("/api/devices/{}", device.id)).admin(Role::Admin);
    patch.json(&json!({"allowedNetworks": ["192.0.2.0/24"]})).send().await.expect(200);
    let outside = certificate_from(renew(), &certificate, OUTSIDE).send().await;
    outside.problem(ErrorCode::CertificateRevoked);
    certificate_from(renew(), &certificate, INSIDE).send().await.expect(200);
}

#[tokio::test]
async fn a_claim_is_held_to_networks_that_this_node_has_not_heard_of_yet() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    world.assert_projections_follow().await;
    world.store.is_frozen.send_replace(true);
    let networks = AllowedNetworks::try_from(vec![Network::parse("192.0.2.0/24").unwrap()]).unwrap();
    happens_elsewhere(&world, &device, DeviceNetworksRestricted { networks }).await;
    let claim = || world.post(device.route("api-key/claim")).bearer(&device.claim_secret);
    from(claim(), OUTSIDE).send().await.problem(ErrorCode::AddressNotAllowed);
    world.store.is_frozen.send_replace(false);
    world.assert_projections_follow().await;
    from(claim(), OUTSIDE).send().await.problem(ErrorCode::AddressNotAllowed);
    from(claim(), INSIDE).send().await.expect(200);
}

#[tokio::test]
async fn networks_are_read_strictly() {
    let world = World::new().await;
    let device = world.pending_device(TENANT_A).await;
    let patch = |body: serde_json::Value| {
        world.patch(format!("/api/devices/{}", device.id)).admin(Role::Admin).json(&body).send()
    };
    let too_many: Vec<_> = (0..33).map(|n| format!("10.{n}.0.0/16")).collect();
    assert_eq!(patch(json!({"allowedNetworks": too_many})).await.pointers(), ["/allowedNetworks"]);
    for bad in ["10.0.0.1/8", "10.0.0.0/33", "everywhere", ""] {
        let pointers = patch(json!({"allowedNetworks": ["10.0.0.0/8", bad]})).await.pointers();
        assert!(pointers[0].starts_with("/allowedNetworks"), "{bad}: {pointers:?}");
    }
    patch(json!({"allowedNetworks": []})).await.expect(200);
    let both = patch(json!({"deviceName": "gate", "allowedNetworks": ["192.0.2.7"]})).await.expect(200);
    assert_eq!((&both["deviceName"], &both["allowedNetworks"]), (&json!("gate"), &json!(["192.0.2.7/32"])));
    let types = world.types(&device.stream()).await;
    assert_eq!(types, ["device.registered", "device.renamed", "device.networks_restricted"]);
    let operator = world.patch(format!("/api/devices/{}", device.id)).admin(Role::Operator);
    operator.json(&json!({"allowedNetworks": []})).send().await.problem(ErrorCode::Forbidden);
}

#[tokio::test]
async fn a_tenants_networks_hold_for_registration_claim_and_all_of_its_devices() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let neighbour = world.approved_device(TENANT_B).await;
    let token = world.token(TENANT_A).await;
    let networks = vec![Network::parse("192.0.2.0/24").unwrap()];
    let bounds = TenantBounds { allowed_networks: networks, ..TenantBounds::default() };
    world.limits.reconfigure(None, one_tenant(bounds));
    let secret = new_claim_secret();
    let register = |token: &serde_json::Value| {
        let body = json!({
            "tenantId": TENANT_A, "token": token["token"], "deviceName": "sensor", "claimSecret": secret,
        });
        world.post("/api/devices").json(&body)
    };
    let ((), attempts) = world
        .attempts_during(async {
            from(register(&token), OUTSIDE).send().await.problem(ErrorCode::AddressNotAllowed);
            let claim = world.post(device.route("api-key/claim")).bearer(&device.claim_secret);
            from(claim, OUTSIDE).send().await.problem(ErrorCode::AddressNotAllowed);
            let beat = world.post(device.route("heartbeat")).device(&device);
            from(beat, OUTSIDE).send().await.problem(ErrorCode::AddressNotAllowed);
        })
        .await;
    let methods: Vec<_> = attempts.iter().map(|(method, _)| method.as_str()).collect();
    assert_eq!(methods, ["RegistrationToken", "ClaimSecret", "ApiKey"]);
    assert!(attempts.iter().all(|(_, code)| code == "ADDRESS_NOT_ALLOWED"), "{attempts:?}");
    from(register(&token), INSIDE).send().await.expect(201);
    from(register(&token), OUTSIDE).send().await.problem(ErrorCode::AddressNotAllowed);
    from(world.post(device.route("heartbeat")).device(&device), INSIDE).send().await.expect(200);
    from(world.post(neighbour.route("heartbeat")).device(&neighbour), OUTSIDE).send().await.expect(200);
    let stranger = json!({"token": format!("sbt_00000000_{}", "A".repeat(43))});
    from(register(&stranger), OUTSIDE).send().await.problem(ErrorCode::InvalidRegistrationToken);
}
