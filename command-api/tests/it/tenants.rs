//! Another tenant's things do not exist; and no device reaches another one's.

use serde_json::json;
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::StreamId;

use crate::world::call::{Answer, Call};
use crate::world::fleet::csr;
use crate::world::{TENANT_A, TENANT_B, World};

async fn by_stranger(call: Call<'_>) -> Answer {
    call.admin_of(Role::Admin, TENANT_B).send().await
}

#[tokio::test]
async fn another_tenant_s_things_do_not_exist_for_an_admin() {
    let world = World::new().await;
    let token = world.token(TENANT_A).await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let pending = world.pending_device(TENANT_A).await;
    let before = world.log().await.len();
    for call in [
        world.delete(format!("/api/registration-tokens/{}", token["id"].as_str().unwrap())),
        world.post(pending.route("approve")),
        world.post(pending.route("reject")),
        world.post(device.route("suspend")),
        world.post(device.route("reinstate")),
        world.post(device.route("decommission")),
        world.patch(format!("/api/devices/{}", device.id)).json(&json!({"deviceName": "mine"})),
        world.post(device.route("rotate-api-key")),
        world.post(device.route("revoke-api-key")),
        world.post(device.issue_route()).json(&json!({"csrPem": csr()})),
        world.delete(certificate.route()),
    ] {
        by_stranger(call).await.problem(ErrorCode::NotFound);
    }
    let in_the_body = world.post("/api/registration-tokens").json(&json!({"tenantId": TENANT_A}));
    by_stranger(in_the_body).await.problem(ErrorCode::Forbidden);
    assert_eq!(world.log().await.len(), before);
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
}

#[tokio::test]
async fn headers_that_claim_an_identity_claim_nothing() {
    let world = World::new().await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    for (name, value) in [
        ("x-forwarded-client-cert", certificate.answer["fingerprint"].as_str().unwrap()),
        ("client-cert", ":AAAA:"),
        ("x-ssl-client-verify", "SUCCESS"),
        ("x-ssl-client-serial", certificate.serial.as_str()),
        ("x-user-id", "admin"),
        ("x-tenant-id", TENANT_A),
        ("x-device-id", device.id.as_str()),
    ] {
        let call = world.post(device.route("heartbeat")).header(name, value);
        call.send().await.problem(ErrorCode::AuthenticationRequired);
        let decide = world.post(device.route("suspend")).header(name, value);
        decide.send().await.problem(ErrorCode::AuthenticationRequired);
    }
}

#[tokio::test]
async fn a_device_at_another_device_s_routes_finds_nothing() {
    let world = World::new().await;
    let (a, certificate) = world.device_with_certificate(TENANT_A).await;
    let neighbour = world.device_with_certificate(TENANT_A).await;
    let stranger = world.device_with_certificate(TENANT_B).await;
    world.clock.advance_days(60);
    for (b, b_certificate) in [neighbour, stranger] {
        for call in [
            world.post(b.route("heartbeat")),
            world.post(b.route("rotate-api-key")),
            world.post(b_certificate.renew_route()).json(&json!({"csrPem": csr()})),
        ] {
            call.clone().device(&a).send().await.problem(ErrorCode::NotFound);
            call.certificate(&certificate).send().await.problem(ErrorCode::NotFound);
        }
        world.post(b.issue_route()).device(&a).send().await.problem(ErrorCode::NotFound);
        let claim = world.post(b.route("api-key/claim")).bearer(&a.claim_secret);
        claim.send().await.problem(ErrorCode::InvalidClaimSecret);
        assert_eq!(world.types(&b.keys()).await, ["api_key.issued", "api_key.first_used"], "only its own");
        assert_eq!(world.types(&StreamId::certificates(b.device_id())).await.len(), 2);
    }
}
