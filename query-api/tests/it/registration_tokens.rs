//! Registration tokens: where each stands, and nothing that verifies them.

use signalbeam_domain::registration_token::{RegistrationTokenEvent, TokenConsumed, TokenRevoked};
use signalbeam_domain::{DeviceId, DeviceName, Digest, Metadata, Reason, StreamId, Tags};
use uuid::Uuid;

use crate::world::{World, day, tenant};

#[tokio::test]
async fn each_token_tells_where_it_stands_and_nothing_that_verifies_it() {
    let world = World::new().await;
    let (active, _) = world.issue_token(tenant(1), day(30)).await;
    let (expired, _) = world.issue_token(tenant(1), day(1)).await;
    let (revoked, revoked_prefix) = world.issue_token(tenant(1), day(30)).await;
    let (used, used_prefix) = world.issue_token(tenant(2), day(30)).await;
    let reason = Some(Reason::parse("sent to the wrong site").unwrap());
    let event = RegistrationTokenEvent::Revoked(TokenRevoked { reason });
    world.record(Some(tenant(1)), StreamId::registration_token(revoked_prefix), [event]).await;
    let device_id = DeviceId::from_uuid(Uuid::now_v7());
    let consumed = TokenConsumed {
        device_id,
        tenant_id: tenant(2),
        device_name: DeviceName::parse("gateway").unwrap(),
        metadata: Metadata::default(),
        tags: Tags::default(),
        claim_secret_sha256: Digest([0xbb; 32]),
    };
    let event = RegistrationTokenEvent::Consumed(consumed);
    world.record(Some(tenant(2)), StreamId::registration_token(used_prefix), [event]).await;
    world.set_time(day(2));
    for (status, id) in [("active", active), ("expired", expired), ("revoked", revoked), ("used", used)] {
        let answer = world.get(&format!("/api/registration-tokens?status={status}"), &world.admin()).await;
        let items = answer.items();
        assert_eq!(items.len(), 1, "{status}");
        assert_eq!(items[0]["id"], id.to_string(), "{status}");
        assert_eq!(items[0]["status"], status);
        assert_eq!(items[0]["description"], "for the north hall");
        let text = items[0].to_string();
        assert!(!text.contains("$2b$") && !text.contains("aaaa") && !text.contains("bbbb"), "{text}");
        if status == "used" {
            assert_eq!(items[0]["usedByDeviceId"], device_id.to_string());
            assert_eq!(items[0]["tokenPrefix"], used_prefix.as_str());
        }
        if status == "revoked" {
            assert_eq!(items[0]["revocationReason"], "sent to the wrong site");
        }
    }
    let of_tenant = format!("/api/registration-tokens?tenantId={}", tenant(1));
    assert_eq!(world.get(&of_tenant, &world.admin()).await.items().len(), 3);
}
