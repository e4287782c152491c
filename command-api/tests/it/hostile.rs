//! Whatever is sent: a refusal with a code, never a failure of ours; and what follows the log still follows it.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use signalbeam_authn::client_address::{AddressHeader, TrustedProxies};
use signalbeam_authn::forwarded_certificate::ClientCertificateHeader;
use signalbeam_authn::limits::tenants::TenantPolicy;
use signalbeam_authn::{Connection, Role};

use crate::world::call::Call;
use crate::world::fleet::{DeviceCertificate, TestDevice, csr};
use crate::world::{TENANT_A, World};

const CASES: u32 = 300;
const FIELDS: [&str; 14] = [
    "tenantId",
    "token",
    "deviceName",
    "metadata",
    "claimSecret",
    "validityDays",
    "description",
    "reason",
    "apiKeyExpirationDays",
    "expirationDays",
    "csrPem",
    "profile",
    "agentVersion",
    "status",
];
const HEADERS: [&str; 14] = [
    "authorization",
    "x-api-key",
    "idempotency-key",
    "content-type",
    "x-correlation-id",
    "traceparent",
    "user-agent",
    "x-forwarded-for",
    "x-real-ip",
    "forwarded",
    "x-forwarded-client-cert",
    "client-cert",
    "host",
    "accept",
];

/// Who calls, by number.
const CALLERS: usize = 8;

struct Fleet {
    world: World,
    device: TestDevice,
    pending: TestDevice,
    certificate: DeviceCertificate,
    token: String,
}

impl Fleet {
    async fn new() -> Self {
        let mut world = World::new().await;
        // A refusal of too many would hide what is looked for.
        world.limits.reconfigure(None, TenantPolicy::default());
        world.trust(
            TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()])
                .with_address_header(AddressHeader::Forwarded)
                .with_client_certificate_header(ClientCertificateHeader::XForwardedClientCert),
        );
        let (device, certificate) = world.device_with_certificate(TENANT_A).await;
        let pending = world.pending_device(TENANT_A).await;
        let token = world.token(TENANT_A).await["token"].as_str().unwrap().to_owned();
        Self { world, device, pending, certificate, token }
    }

    fn route(&self, number: usize, id: &str) -> Call<'_> {
        let world = &self.world;
        let device = if number.is_multiple_of(2) { &self.device.id } else { &self.pending.id };
        let id = if id.is_empty() { device.as_str() } else { id };
        let serial = if id == device { self.certificate.serial.as_str() } else { id };
        match number {
            0 => world.post("/api/registration-tokens"),
            1 => world.delete(format!("/api/registration-tokens/{id}")),
            2 | 3 => world.post("/api/devices"),
            4 | 5 => world.patch(format!("/api/devices/{id}")),
            6 => world.post(format!("/api/certificates/{serial}/renew")),
            7 => world.delete(format!("/api/certificates/{serial}")),
            8 => world.post(format!("/api/certificates/{id}/issue")),
            20..=22 => {
                let operations = ["simpleenroll", "simplereenroll", "serverkeygen"];
                let call = world.post(format!("/.well-known/est/{}", operations[number - 20]));
                call.header("content-type", "application/pkcs10")
            }
            _ => {
                let actions = [
                    "approve",
                    "reject",
                    "suspend",
                    "reinstate",
                    "heartbeat",
                    "rotate-api-key",
                    "revoke-api-key",
                    "api-key/claim",
                ];
                world.post(format!("/api/devices/{id}/{}", actions[number % actions.len()]))
            }
        }
    }

    fn by<'a>(&self, call: Call<'a>, caller: usize) -> Call<'a> {
        match caller {
            0 => call,
            1 => call.admin(Role::Admin),
            2 => call.device(&self.device),
            3 => call.certificate(&self.certificate),
            // A proxy, whose headers are read.
            4 => call.on(&Arc::new(Connection::plain("10.0.0.1:4711".parse().unwrap()))),
            5 => call.basic(&self.device.id, &self.device.api_key),
            6 => call.basic(TENANT_A, &self.token),
            _ => call.bearer(&self.pending.claim_secret),
        }
    }
}

fn value(depth: u32) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[ -~]{0,300}".prop_map(Value::from),
        Just(json!(TENANT_A)),
        Just(json!("\u{0}\u{feff}\u{202e}'; DROP TABLE devices; --")),
        (0..400_i64).prop_map(Value::from),
    ];
    leaf.prop_recursive(depth, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..8).prop_map(|map| json!(map)),
        ]
    })
    .boxed()
}

fn body() -> BoxedStrategy<Vec<u8>> {
    let fields = prop::collection::btree_map(prop::sample::select(&FIELDS[..]), value(4), 0..6);
    prop_oneof![
        6 => fields.prop_map(|fields| serde_json::to_vec(&fields).unwrap()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => value(4).prop_map(|value| serde_json::to_vec(&value).unwrap()),
        1 => Just(br#"{"tenantId":"#.repeat(3_000)),
        1 => prop::collection::vec(any::<u8>(), 0..300).prop_map(|octets| STANDARD.encode(octets).into_bytes()),
        1 => Just(vec![]),
    ]
    .boxed()
}

fn header() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let octet = prop_oneof![32..127_u8, 128..=255_u8, Just(b'\t')];
    (prop::sample::select(&HEADERS[..]), prop::collection::vec(octet, 0..80))
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(String::new()), 1 => "[0-9a-zA-Z:.~%-]{1,60}".prop_map(|id| id.replace('%', "%25"))]
}

#[test]
fn whatever_is_sent_is_answered_without_a_failure_of_ours() {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap());
    let fleet = runtime.block_on(Fleet::new());
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let request = (0..23_usize, id(), 0..CALLERS, prop::collection::vec(header(), 0..3), body());
    let checked = runner.run(&request, |(route, id, caller, headers, body)| {
        let mut call = fleet.by(fleet.route(route, &id), caller).raw(body);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let answer = runtime.block_on(call.send());
        prop_assert!(answer.status.as_u16() < 500, "{answer:?}");
        prop_assert!(answer.headers.contains_key("x-correlation-id"));
        if answer.status.is_client_error() && !answer.body.is_null() {
            prop_assert!(answer.body["code"].is_string(), "{answer:?}");
        }
        Ok(())
    });
    checked.unwrap();
    runtime.block_on(fleet.world.assert_projections_follow());
}

/// Integers beyond 64 bits with a sign are kept as floating-point numbers.
fn as_kept(value: Value) -> Value {
    match value {
        Value::Number(number) if number.as_i64().is_none() => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(as_kept).collect(),
        Value::Object(members) => members.into_iter().map(|(name, member)| (name, as_kept(member))).collect(),
        other => other,
    }
}

#[test]
fn metadata_of_any_kind_is_kept_or_refused_and_stops_no_projection() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let fleet = runtime.block_on(Fleet::new());
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let metadata = prop::collection::btree_map(any::<String>(), value(2), 0..5);
    let checked = runner.run(&metadata, |metadata| {
        let call = fleet.world.patch(format!("/api/devices/{}", fleet.device.id)).admin(Role::Admin);
        let answer = runtime.block_on(call.json(&json!({"metadata": metadata})).send());
        match answer.status.as_u16() {
            200 => prop_assert_eq!(&answer.body["metadata"], &as_kept(json!(metadata))),
            400 => prop_assert_eq!(&answer.body["code"], "INVALID_REQUEST"),
            status => prop_assert!(false, "{status}"),
        }
        Ok(())
    });
    checked.unwrap();
    runtime.block_on(fleet.world.assert_projections_follow());
    assert!(runtime.block_on(fleet.world.log()).len() > 50, "most was kept");
}

#[tokio::test]
async fn one_thing_wrong_with_an_otherwise_good_request_is_told_and_changes_nothing() {
    let fleet = Fleet::new().await;
    let before = fleet.world.log().await.len();
    let good = json!({"tenantId": TENANT_A, "token": fleet.token, "deviceName": "sensor"});
    let good = serde_json::to_string(&good).unwrap();
    for bad in [
        good[..good.len() - 1].to_owned(),
        format!("{good}{good}"),
        good.replace("deviceName", "devicename"),
        good.replacen('{', r#"{"deviceName":"a","#, 1),
        good.replace("\"sensor\"", "\"\\ud800\""),
        good.replace("\"sensor\"", "\"sens\u{0}or\""),
        good.replace("\"sensor\"", "1e999"),
        format!("[{good}]"),
        format!("\u{feff}{good}"),
        "null".into(),
        "\"\"".into(),
    ] {
        let answer = fleet.world.post("/api/devices").raw(bad.clone()).send().await;
        answer.problem(signalbeam_authn::ErrorCode::InvalidRequest);
    }
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let answer = fleet.world.post("/api/devices").raw(utf16).send().await;
    answer.problem(signalbeam_authn::ErrorCode::InvalidRequest);
    assert_eq!(fleet.world.log().await.len(), before);
    fleet.world.post("/api/devices").raw(good).send().await.expect(201);
    let weird = fleet.world.post(fleet.certificate.renew_route()).json(&json!({"csrPem": csr(), "validityDays": null}));
    weird.certificate(&fleet.certificate).send().await.problem(signalbeam_authn::ErrorCode::CertificateNotRenewable);
}
