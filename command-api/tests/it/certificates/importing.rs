//! Importing: an admin vouches for exactly these octets, and for nothing else that their authority issued.

use rcgen::date_time_ymd;
use serde_json::{Value, json};
use signalbeam_authn::{ErrorCode, Role};
use signalbeam_domain::{SerialNumber, StreamId};

use crate::world::call::Call;
use crate::world::fleet::{DeviceCertificate, TestDevice, csr};
use crate::world::foreign::{ForeignAuthority, ForeignCertificate};
use crate::world::{TENANT_A, TENANT_B, World};

fn import<'a>(world: &'a World, tenant_id: &str, certificates: &Value) -> Call<'a> {
    let body = json!({"tenantId": tenant_id, "certificates": certificates});
    world.post("/api/certificates/import").admin(Role::Admin).json(&body)
}

async fn import_one(world: &World, certificate: Value) -> Value {
    import(world, TENANT_A, &json!([certificate])).send().await.expect(200)["results"][0].clone()
}

/// A device that came over, with the certificate that it came with.
async fn imported(world: &World, foreign: &ForeignCertificate) -> (TestDevice, DeviceCertificate) {
    let result = import_one(world, json!({"certificate": foreign.pem()})).await;
    assert_eq!(result["outcome"], "imported", "{result}");
    let certificate = foreign.imported(result["serialNumber"].as_str().unwrap());
    (device(&result), certificate)
}

fn device(result: &Value) -> TestDevice {
    let id = result["deviceId"].as_str().unwrap().to_owned();
    TestDevice { id, tenant_id: TENANT_A.to_owned(), claim_secret: String::new(), api_key: String::new() }
}

#[tokio::test]
async fn an_imported_certificate_authenticates_and_no_other_of_its_authority() {
    let world = World::new().await;
    let authority = ForeignAuthority::new("Acme Device CA");
    let (foreign, twin) = (authority.certificate("press-7"), authority.certificate("press-7"));
    let unknown = foreign.imported(&"4a".repeat(20));
    let nobody = TestDevice { id: uuid::Uuid::now_v7().to_string(), ..device(&json!({"deviceId": ""})) };
    let before = world.heartbeat_by_certificate(&nobody, &unknown).await;
    before.problem(ErrorCode::InvalidCertificateChain);
    let (device, certificate) = imported(&world, &foreign).await;
    let heartbeat = world.heartbeat_by_certificate(&device, &certificate).await.expect(200);
    assert_eq!(heartbeat["certificate"]["serialNumber"], certificate.serial);
    let twin = twin.imported(&certificate.serial);
    let other = world.heartbeat_by_certificate(&device, &twin).await;
    other.problem(ErrorCode::InvalidCertificateChain);
    assert_eq!(world.types(&device.stream()).await, ["device.imported"]);
    assert_eq!(world.types(&device.certificates()).await, ["certificate.imported", "certificate.first_used"]);
    let claim = world.post(device.route("api-key/claim")).bearer(&crate::world::fleet::new_claim_secret());
    claim.send().await.problem(ErrorCode::InvalidClaimSecret);
    world.assert_projections_follow().await;
    assert_eq!(world.index.imported_issuers(8).unwrap().len(), 1);
    world.delete(certificate.route()).admin(Role::Admin).send().await.expect(204);
    world.heartbeat_by_certificate(&device, &certificate).await.problem(ErrorCode::CertificateRevoked);
    assert!(world.index.imported_issuers(8).unwrap().is_empty());
}

#[tokio::test]
async fn it_is_renewed_into_a_certificate_of_ours_in_its_window() {
    let world = World::new().await;
    let foreign = ForeignAuthority::new("Acme Device CA").certificate("press-7");
    let (device, old) = imported(&world, &foreign).await;
    let body = json!({"csrPem": csr()});
    let renew = || world.post(old.renew_route()).certificate(&old).json(&body);
    renew().send().await.problem(ErrorCode::CertificateNotRenewable);
    world.clock.advance_days(320);
    let new = DeviceCertificate::shown(renew().send().await.expect(201));
    let again = renew().send().await.expect(200);
    assert_eq!(again["serialNumber"], new.serial, "the answer was lost");
    world.heartbeat_by_certificate(&device, &new).await.expect(200);
    world.heartbeat_by_certificate(&device, &old).await.problem(ErrorCode::CertificateRevoked);
    let tail = ["certificate.intended", "certificate.superseded", "certificate.issued", "certificate.first_used"];
    assert!(world.types(&device.certificates()).await.ends_with(&tail));
    let again = import_one(&world, json!({"certificate": foreign.pem()})).await;
    assert_eq!((&again["outcome"], &again["code"]), (&json!("failed"), &json!("INVALID_STATE")), "it stays superseded");
}

#[tokio::test]
async fn it_expires_like_any_other() {
    let world = World::new().await;
    let foreign = ForeignAuthority::new("Acme Device CA").certificate("press-7");
    let (device, certificate) = imported(&world, &foreign).await;
    world.clock.advance_days(335);
    world.heartbeat_by_certificate(&device, &certificate).await.problem(ErrorCode::CertificateExpired);
}

#[tokio::test]
async fn each_certificate_is_taken_in_or_refused_by_itself() {
    let world = World::new().await;
    let authority = ForeignAuthority::new("Acme Device CA");
    let good = authority.certificate("press-1");
    let expired = authority.certificate_with("press-2", |params| params.not_after = date_time_ymd(2025, 12, 31));
    let ca = authority.certificate_with("press-3", |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    let (ours, own) = world.device_with_certificate(TENANT_A).await;
    let own = own.answer["certificatePem"].clone();
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let certificates = json!([
        {"certificate": good.pem(), "deviceName": "Press 1", "tags": ["site:east"], "metadata": {"floor": 2}},
        {"certificate": expired.pem()},
        {"certificate": ca.pem()},
        {"certificate": own},
        {"certificate": format!("{}{key}", authority.certificate("press-4").pem())},
        {"certificate": authority.certificate("press-5").pem(), "deviceId": uuid::Uuid::now_v7()},
        {"certificate": authority.certificate("press-6").pem(), "deviceId": ours.id},
        {"certificate": "nonsense"},
    ]);
    let answer = import(&world, TENANT_A, &certificates).send().await.expect(200);
    assert_eq!((&answer["imported"], &answer["unchanged"], &answer["failed"]), (&json!(1), &json!(0), &json!(7)));
    let results = answer["results"].as_array().unwrap();
    let codes: Vec<_> = results.iter().map(|result| result["code"].as_str().unwrap_or_default()).collect();
    let invalid = "INVALID_CERTIFICATE";
    assert_eq!(codes, ["", invalid, invalid, invalid, invalid, "NOT_FOUND", "INVALID_STATE", invalid]);
    let told = results[4]["detail"].as_str().unwrap();
    assert!(told.contains("make a new key") && !told.contains("BEGIN"), "{told}");
    let log = serde_json::to_string(&world.log().await.iter().map(|r| r.event().unwrap()).collect::<Vec<_>>()).unwrap();
    assert!(!log.contains("PRIVATE KEY"));
    let again = import(&world, TENANT_A, &certificates).send().await.expect(200);
    assert_eq!((&again["imported"], &again["unchanged"]), (&json!(0), &json!(1)));
    assert_eq!(again["results"][0]["deviceId"], results[0]["deviceId"]);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let world = World::new().await;
    let foreign = ForeignAuthority::new("Acme Device CA").certificate("press-7");
    let before = world.log().await.len();
    let body = json!({"tenantId": TENANT_A, "certificates": [{"certificate": foreign.pem()}], "dryRun": true});
    let call = || world.post("/api/certificates/import").admin(Role::Admin).json(&body).idempotency_key("the-name");
    let answer = call().send().await.expect(200);
    assert_eq!((&answer["dryRun"], &answer["imported"]), (&json!(true), &json!(1)));
    assert!(answer["results"][0].get("deviceId").is_none());
    assert_eq!(world.log().await.len(), before);
}

#[tokio::test]
async fn a_certificate_is_one_device_s_whoever_imports_it_at_the_same_moment() {
    let world = World::new().await;
    let authority = ForeignAuthority::new("Acme Device CA");
    let foreign = authority.certificate("press-7");
    let one = json!([{"certificate": foreign.pem()}]);
    let (a, b, c) = tokio::join!(
        import(&world, TENANT_A, &one).send(),
        import(&world, TENANT_A, &one).send(),
        import(&world, TENANT_B, &one).send()
    );
    let results = [a, b, c].map(|answer| answer.expect(200)["results"][0].clone());
    let taken: Vec<_> = results.iter().filter(|result| result["outcome"] != "failed").collect();
    assert!(!taken.is_empty() && taken.iter().all(|result| result["deviceId"] == taken[0]["deviceId"]), "{results:?}");
    let log = world.log().await;
    assert_eq!(log.iter().filter(|r| r.envelope.event_type == "certificate.imported").count(), 1);
    assert_eq!(log.iter().filter(|r| r.envelope.event_type == "device.imported").count(), 1);
    for tenant_id in [TENANT_A, TENANT_B] {
        let other = world.approved_device(tenant_id).await;
        let elsewhere = import(&world, tenant_id, &json!([{"certificate": foreign.pem(), "deviceId": other.id}]));
        assert_eq!(elsewhere.send().await.expect(200)["results"][0]["code"], "INVALID_CERTIFICATE");
    }
}

#[tokio::test]
async fn it_goes_to_a_device_that_is_known_and_approved() {
    let world = World::new().await;
    let authority = ForeignAuthority::new("Acme Device CA");
    let device = world.approved_device(TENANT_A).await;
    let (first, second) = (authority.certificate("press-7"), authority.certificate("press-7"));
    let result = import_one(&world, json!({"certificate": first.pem(), "deviceId": device.id})).await;
    assert_eq!((&result["outcome"], &result["deviceId"]), (&json!("imported"), &json!(device.id)));
    let first = first.imported(result["serialNumber"].as_str().unwrap());
    world.heartbeat_by_certificate(&device, &first).await.expect(200);
    let result = import_one(&world, json!({"certificate": second.pem(), "deviceId": device.id})).await;
    assert_eq!(result["outcome"], "imported", "its own authority renewed it meanwhile");
    let second = second.imported(result["serialNumber"].as_str().unwrap());
    world.heartbeat_by_certificate(&device, &first).await.problem(ErrorCode::CertificateRevoked);
    world.heartbeat_by_certificate(&device, &second).await.expect(200);
    world.decide(&device, "suspend").await.expect(200);
    world.heartbeat_by_certificate(&device, &second).await.problem(ErrorCode::DeviceNotApproved);
    let late = json!({"certificate": authority.certificate("press-8").pem(), "deviceId": device.id});
    assert_eq!(import_one(&world, late).await["code"], "DEVICE_NOT_APPROVED");
}

#[tokio::test]
async fn what_is_asked_for_is_bounded_and_an_admin_s_of_the_tenant_alone() {
    let world = World::new().await;
    let pem = ForeignAuthority::new("Acme Device CA").certificate("press-7").pem();
    let pointers = async |certificates: Value| import(&world, TENANT_A, &certificates).send().await.pointers();
    assert_eq!(pointers(json!([])).await, ["/certificates"]);
    assert_eq!(pointers(json!(vec![json!({"certificate": ""}); 1_001])).await, ["/certificates"]);
    let named = json!([{"certificate": pem, "deviceId": uuid::Uuid::now_v7(), "deviceName": "x"}]);
    assert_eq!(pointers(named).await, ["/certificates/0/deviceId"]);
    assert_eq!(pointers(json!([{"certificate": pem, "deviceName": "a\nb"}])).await, ["/certificates/0/deviceName"]);
    let body = json!({"tenantId": TENANT_A, "certificates": [{"certificate": pem}]});
    let call = || world.post("/api/certificates/import").json(&body);
    for role in [Role::Operator, Role::Auditor] {
        call().admin(role).send().await.problem(ErrorCode::Forbidden);
    }
    call().admin_of(Role::Admin, TENANT_B).send().await.problem(ErrorCode::Forbidden);
    world.log_lock.engage();
    let locked = call().admin(Role::Admin).send().await.expect(200);
    assert_eq!(locked["results"][0]["code"], "LOG_ROLLED_BACK");
}

#[tokio::test]
async fn its_name_is_made_from_its_fingerprint() {
    let world = World::new().await;
    let foreign = ForeignAuthority::new("Acme Device CA").certificate("press-7");
    let (device, certificate) = imported(&world, &foreign).await;
    let fingerprint = signalbeam_pki::fingerprint(&foreign.der());
    assert_eq!(certificate.serial_number(), SerialNumber::of_imported(&fingerprint));
    let events = world.events(&StreamId::certificates(device.device_id())).await;
    let event = serde_json::to_value(&events[0]).unwrap();
    assert_eq!((&event["foreignSerialNumber"], &event["issuer"]), (&json!("04d2"), &json!("CN=Acme Device CA")));
}
