//! Tags and metadata: given at registration, replaced as a whole, bounded.

use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};

use crate::world::fleet::{TestDevice, new_claim_secret};
use crate::world::{TENANT_A, World};

async fn register(world: &World, more: Value) -> crate::world::call::Answer {
    let token = world.token(TENANT_A).await;
    let mut body = json!({
        "tenantId": TENANT_A, "token": token["token"], "deviceName": "sensor", "claimSecret": new_claim_secret(),
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.post("/api/devices").json(&body).send().await
}

/// What the device's stream says of the last event.
async fn last_data(world: &World, device: &TestDevice) -> Value {
    let recorded = signalbeam_event_store::EventReader::read_stream(&*world.store, &device.stream()).await.unwrap();
    serde_json::from_slice(&recorded.last().unwrap().envelope.data).unwrap()
}

#[tokio::test]
async fn tags_come_with_the_registration_and_are_replaced_as_a_whole() {
    let world = World::new().await;
    let registered = register(&world, json!({"tags": ["site:north", "Halle 3"]})).await.expect(201);
    let id = registered["deviceId"].as_str().unwrap().to_owned();
    let device = TestDevice { id, tenant_id: TENANT_A.into(), claim_secret: String::new(), api_key: String::new() };
    assert_eq!(last_data(&world, &device).await["tags"], json!(["Halle 3", "site:north"]), "sorted");
    let change = |body: Value| world.patch(format!("/api/devices/{}", device.id)).admin(Role::Admin).json(&body).send();
    let shown = change(json!({"deviceName": "north"})).await.expect(200);
    assert_eq!(shown["tags"], json!(["Halle 3", "site:north"]), "what is left out stays");
    assert_eq!(last_data(&world, &device).await, json!({"deviceName": "north"}));
    let events = world.log().await.len();
    assert_eq!(change(json!({"tags": ["site:north", "Halle 3"]})).await.expect(200)["tags"], shown["tags"]);
    assert_eq!(world.log().await.len(), events, "the same set in another order is no change");
    assert_eq!(change(json!({"tags": ["b"]})).await.expect(200)["tags"], json!(["b"]));
    assert_eq!(last_data(&world, &device).await, json!({"tags": ["b"]}));
    assert_eq!(change(json!({"tags": []})).await.expect(200)["tags"], json!([]));
    assert_eq!(change(json!({"tags": null})).await.expect(200)["tags"], json!([]));
}

#[tokio::test]
async fn tags_and_metadata_are_bounded_wherever_they_come_in() {
    let world = World::new().await;
    let device = world.pending_device(TENANT_A).await;
    let tags = |n: usize| (0..n).map(|i| format!("t{i}")).collect::<Vec<_>>();
    let members = |n: usize| (0..n).map(|i| (format!("k{i}"), json!(i))).collect::<serde_json::Map<_, _>>();
    for (body, pointer) in [
        (json!({"tags": tags(33)}), "/tags"),
        (json!({"tags": ["a", "b", "a"]}), "/tags"),
        (json!({"tags": ["a", ""]}), "/tags/1"),
        (json!({"tags": ["x".repeat(65)]}), "/tags/0"),
        (json!({"tags": ["a\nb"]}), "/tags/0"),
        (json!({"tags": [7]}), "/tags/0"),
        (json!({"tags": "a"}), "/tags"),
        (json!({"metadata": []}), "/metadata"),
        (json!({"metadata": "x"}), "/metadata"),
        (json!({"metadata": members(65)}), "/metadata"),
        (json!({"metadata": {"k": members(65)}}), "/metadata"),
        (json!({"metadata": {"a": {"b": {"c": {"d": {"e": 1}}}}}}), "/metadata"),
        (json!({"metadata": {"k": "x".repeat(8_192)}}), "/metadata"),
        (json!({"metadata": {"k": vec![0; 128]}}), "/metadata"),
    ] {
        let patched = world.patch(format!("/api/devices/{}", device.id)).admin(Role::Admin).json(&body).send().await;
        assert_eq!(patched.pointers(), [pointer], "{body}");
        assert_eq!(register(&world, body.clone()).await.pointers(), [pointer], "{body}");
    }
    assert_eq!(world.types(&device.stream()).await, ["device.registered"]);
    let most = json!({"tags": tags(32), "metadata": members(64)});
    register(&world, most.clone()).await.expect(201);
    let patch = world.patch(format!("/api/devices/{}", device.id)).json(&most);
    patch.clone().admin(Role::Operator).send().await.problem(ErrorCode::Forbidden);
    patch.admin(Role::Admin).send().await.expect(200);
    world.assert_projections_follow().await;
}
