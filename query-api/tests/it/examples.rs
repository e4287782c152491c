//! The JSON examples of what is read: a fleet that answers exactly in their shape.

#[path = "../../../command-api/tests/it/examples/shape.rs"]
mod shape;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use signalbeam_domain::Timestamp;
use signalbeam_domain::admin_token::{AdminTokenEvent, AdminTokenRevoked, AllAdminTokensRevoked};
use signalbeam_domain::authority::{AuthorityActivated, AuthorityCreated, AuthorityEvent};
use signalbeam_domain::event::NoDetails;
use signalbeam_domain::registration_token::{RegistrationTokenEvent, TokenConsumed};
use signalbeam_domain::{
    AdminTokenId, DeviceName, Digest, Metadata, Reason, SerialNumber, StreamId, Tags, TokenIssuer,
};

use self::shape::{assert_same_shape, example, folder};
use crate::world::facts::Registered;
use crate::world::{As, World, correlation_id, day, tenant};

/// The examples of answers to admins.
const TO_ADMINS: [&str; 13] = [
    "get-certificate",
    "get-device-history",
    "get-device-usage",
    "get-device",
    "get-renewal-info",
    "get-usage",
    "list-admin-token-revocations",
    "list-authentication-logs",
    "list-certificate-authorities",
    "list-certificates",
    "list-devices",
    "list-events",
    "list-registration-tokens",
];
/// The examples of answers to a device that follows its registration.
const TO_DEVICES: [&str; 3] = ["pending", "approved", "rejected"];

/// A device that has everything, and what stands around it.
struct Fleet {
    world: World,
    device: Registered,
    serial_number: SerialNumber,
}

impl Fleet {
    async fn new() -> Self {
        let world = World::new().await;
        world.issue_token(tenant(1), day(30)).await;
        let (_, prefix) = world.issue_token(tenant(1), day(30)).await;
        world.register(tenant(2), "elsewhere").await;
        let device = world.register(tenant(1), "warehouse-01").await;
        let consumed = RegistrationTokenEvent::Consumed(TokenConsumed {
            device_id: device.id,
            tenant_id: tenant(1),
            device_name: DeviceName::parse("warehouse-01").unwrap(),
            metadata: Metadata::default(),
            tags: Tags::default(),
            claim_secret_sha256: Digest([7; 32]),
        });
        world.record(Some(tenant(1)), StreamId::registration_token(prefix), [consumed]).await;
        record_authority(&world).await;
        world.approve(&device).await;
        let key = world.give_key(&device).await;
        let own = format!("/api/devices/{}", device.id);
        for (number, key) in [(1, &key), (2, &key), (2, &As::ApiKey("sb_device_nonsense".to_owned()))] {
            world.set_time(day(number));
            world.get_with(&own, key, &[("user-agent", "signalbeam-agent/0.1.0")]).await;
        }
        world.tag(&device, &["site:north", "hall 3"]).await;
        world.restrict(&device, &["127.0.0.0/8", "2001:db8::/32"]).await;
        let first = world.certify(&device, 90, None).await;
        let serial_number = world.certify(&device, 90, Some(first)).await;
        world.withdraw_admin_tokens().await;
        Self { world, device, serial_number }
    }

    /// What an admin is answered. The events were recorded under a correlation id that callers may choose, but the server
    /// does not draw.
    async fn answer(&self, path: &str) -> Value {
        let mut answer = self.world.get(path, &self.world.admin()).await.ok();
        for item in answer.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
            if item["correlationId"] == correlation_id().as_str() {
                item["correlationId"] = json!(self.device.id);
            }
        }
        answer
    }
}

impl World {
    async fn withdraw_admin_tokens(&self) {
        let reason = Some(Reason::parse("laptop stolen").unwrap());
        let jti = AdminTokenId::parse("0198c5a1-1111-7000-8000-000000000001").unwrap();
        let stream = StreamId::admin_token(&jti);
        let issuer = TokenIssuer::built_in();
        let one = AdminTokenRevoked { jti, issuer, reason: reason.clone(), expires_at: Some(day(9)) };
        self.record(None, stream, [AdminTokenEvent::Revoked(one)]).await;
        let all = AllAdminTokensRevoked { issued_before: day(0), reason };
        self.record(None, StreamId::all_admin_tokens(), [AdminTokenEvent::AllRevoked(all)]).await;
    }
}

/// What the first start of a server records.
async fn record_authority(world: &World) {
    let authority = &world.authority;
    let validity = authority.own_validity();
    let created = AuthorityCreated {
        authority_id: authority.id(),
        subject: authority.subject().to_owned(),
        serial_number: authority.serial_number(),
        fingerprint: authority.fingerprint(),
        key_type: authority.public_key().key_type().to_string(),
        not_before: Timestamp::from_offset_date_time(validity.not_before),
        not_after: Timestamp::from_offset_date_time(validity.not_after),
        certificate_pem: authority.certificate_pem(),
        issuer_id: None,
        key_slot: None,
        issuers_pem: None,
    };
    let activated = AuthorityEvent::from(AuthorityActivated(NoDetails {}));
    let stream = StreamId::certificate_authority(authority.id());
    world.record(None, stream, [AuthorityEvent::from(created), activated]).await;
}

#[test]
fn every_example_is_held_against_a_route() {
    let to_admins = TO_ADMINS.iter().map(|name| format!("{name}.response.json"));
    let to_devices = TO_DEVICES.iter().map(|name| format!("registration-status.{name}.response.json"));
    let held: BTreeSet<_> = to_admins.chain(to_devices).collect();
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let ours = names.filter(|name| ["get-", "list-", "registration-status."].iter().any(|p| name.starts_with(p)));
    assert_eq!(ours.collect::<BTreeSet<_>>(), held);
}

#[tokio::test]
async fn admins_are_answered_in_the_shape_of_the_examples() {
    let fleet = Fleet::new().await;
    let (id, serial) = (fleet.device.id, fleet.serial_number);
    // What is counted is a moment behind.
    let mut again = tokio::time::interval(Duration::from_millis(5));
    let counted = async {
        while fleet.answer("/api/usage").await["days"][0]["failures"] != 1 {
            again.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted).await.unwrap();
    let history = fleet.answer(&format!("/api/devices/{id}/history")).await;
    let before_approval = history["items"][1]["position"].as_u64().unwrap() - 1;
    for name in TO_ADMINS {
        let path = match name {
            "get-certificate" => format!("/api/certificates/{serial}"),
            "get-device" => format!("/api/devices/{id}"),
            "get-device-history" => format!("/api/devices/{id}/history?limit=2"),
            "get-device-usage" => format!("/api/devices/{id}/usage"),
            "get-renewal-info" => format!("/api/certificates/{serial}/renewal-info"),
            "get-usage" => "/api/usage".to_owned(),
            "list-admin-token-revocations" => "/api/admin-tokens/revocations".to_owned(),
            "list-authentication-logs" => "/api/authentication-logs?startDate=2026-01-03".to_owned(),
            "list-certificate-authorities" => "/api/certificate-authorities".to_owned(),
            "list-certificates" => format!("/api/certificates/device/{id}"),
            "list-devices" => "/api/devices?limit=1".to_owned(),
            "list-events" => format!("/api/events?after={before_approval}&limit=1"),
            "list-registration-tokens" => "/api/registration-tokens".to_owned(),
            other => panic!("{other} is held against nothing"),
        };
        let expected = example(&format!("{name}.response.json"));
        assert_same_shape(&fleet.answer(&path).await, &expected);
    }
    let of_tenant = format!("/api/certificates?tenantId={}", tenant(1));
    for (path, name) in [("/api/devices/by-status/Approved", "list-devices"), (of_tenant.as_str(), "list-certificates")]
    {
        let expected = &example(&format!("{name}.response.json"))["items"];
        assert_same_shape(&fleet.answer(path).await["items"], expected);
    }
}

#[tokio::test]
async fn a_device_follows_its_registration_in_the_shape_of_the_examples() {
    let fleet = Fleet::new().await;
    let world = &fleet.world;
    let pending = world.register(tenant(1), "warehouse-01").await;
    let rejected = world.register(tenant(1), "warehouse-01").await;
    world.reject(&rejected, "not one of ours").await;
    for (name, device) in TO_DEVICES.into_iter().zip([&pending, &fleet.device, &rejected]) {
        let path = format!("/api/devices/{}/registration-status", device.id);
        let answer = world.get(&path, &device.claim).await.ok();
        let expected = example(&format!("registration-status.{name}.response.json"));
        assert_same_shape(&answer, &expected);
        assert_eq!(answer["status"], expected["status"]);
    }
}
