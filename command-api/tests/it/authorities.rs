//! One certificate authority takes over from another, and no device is shut out by it.

use std::sync::Arc;

use serde_json::{Value, json};
use signalbeam_authn::{Connection, ErrorCode, Role};
use signalbeam_command_api::authorities::{Hierarchy, Opened};
use signalbeam_domain::authority::{AuthorityEvent, ServiceCertificateIntended, ServicePurpose};
use signalbeam_domain::{DeviceId, Event, Position, StreamId, Timestamp};
use signalbeam_pki::{Authorities, AuthoritySet, CertificateAuthority, certificates_from_pem};

use crate::world::fleet::{DeviceCertificate, csr};
use crate::world::{PATIENCE, TENANT_A, World};

const ROUTE: &str = "/api/certificate-authorities";

async fn prepare(world: &World, body: &Value) -> Value {
    world.post(ROUTE).admin(Role::Admin).json(body).send().await.expect(201)
}

fn step<'a>(world: &'a World, id: &Value, action: &str) -> crate::world::call::Call<'a> {
    world.post(format!("{ROUTE}/{}/{action}", id.as_str().unwrap())).admin(Role::Admin)
}

fn id_of(authority: &CertificateAuthority) -> Value {
    json!(authority.id().to_string())
}

fn current(world: &World) -> Arc<AuthoritySet> {
    world.authorities.current()
}

fn ca_certificates(certificate: &DeviceCertificate) -> Vec<Vec<u8>> {
    certificates_from_pem(certificate.answer["caCertificatePem"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_new_root_takes_over_step_by_step() {
    let world = World::new().await;
    let (device, old) = world.device_with_certificate(TENANT_A).await;
    let before = id_of(current(&world).signing());
    let open = Arc::new(Connection::with_certificates("192.0.2.1:1".parse().unwrap(), vec![old.der.clone().into()]));
    let heartbeat = || world.post(device.route("heartbeat")).on(&open).send();
    heartbeat().await.expect(200);

    let prepared = prepare(&world, &json!({})).await;
    assert_eq!(prepared["status"], "Prepared");
    assert_eq!(id_of(current(&world).signing()), before, "it signs nothing yet");
    let (_, told) = world.device_with_certificate(TENANT_A).await;
    assert_eq!(ca_certificates(&told).len(), 2, "devices learn of it");
    step(&world, &prepared["authorityId"], "activate").send().await.expect(200);
    assert_eq!(id_of(current(&world).signing()), prepared["authorityId"]);

    heartbeat().await.expect(200);
    let (_, new) = world.device_with_certificate(TENANT_A).await;
    let anchors = ca_certificates(&new);
    assert_eq!(anchors.len(), 2, "both are trusted");
    assert_eq!(anchors[0], current(&world).signing().root_der(), "the one that signs stands first");
    world.heartbeat_by_certificate(&device, &old).await.expect(200);

    let early = step(&world, &before, "retire").send().await;
    let refused = early.problem(ErrorCode::InvalidState);
    assert_eq!(refused["liveCertificates"], 2);
    world.post(device.issue_route()).device(&device).json(&json!({"csrPem": csr()})).send().await.expect(201);
    assert_eq!(step(&world, &before, "retire").send().await.problem(ErrorCode::InvalidState)["liveCertificates"], 1);
    step(&world, &before, "retire").json(&json!({"force": true})).send().await.expect(200);
    assert_eq!(current(&world).trusted().len(), 1);
    heartbeat().await.problem(ErrorCode::InvalidCertificateChain);
    world.heartbeat_by_certificate(&device, &told).await.problem(ErrorCode::InvalidCertificateChain);
    let after = ca_certificates(&world.certificate_of(&device).await);
    assert_eq!(after, [current(&world).signing().certificate_der()], "devices are told of it no more");
}

#[tokio::test]
async fn an_issuing_authority_under_the_root_takes_over_from_it() {
    let world = World::new().await;
    let root = current(&world).signing().clone();
    let prepared = prepare(&world, &json!({"hierarchy": "intermediate", "keyType": "ecdsa-p384"})).await;
    step(&world, &prepared["authorityId"], "activate").send().await.expect(200);
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    world.heartbeat_by_certificate(&device, &certificate).await.expect(200);

    let sent = certificates_from_pem(certificate.answer["certificatePem"].as_str().unwrap()).unwrap();
    let authorities = current(&world);
    assert_eq!(
        sent,
        [certificate.der.as_slice(), authorities.signing().certificate_der()],
        "the device sends it along"
    );
    assert_eq!(ca_certificates(&certificate), [root.certificate_der(), authorities.signing().certificate_der()]);
    assert_eq!(authorities.signing().public_key().key_type().as_str(), "ecdsa-p384");

    // The root goes on vouching for the one that signs.
    step(&world, &id_of(&root), "retire").send().await.problem(ErrorCode::InvalidState);
    let next = prepare(&world, &json!({})).await;
    step(&world, &next["authorityId"], "activate").send().await.expect(200);
    assert_eq!(current(&world).signing().root_der(), root.certificate_der(), "by default things stay as they are");
    world.post(device.issue_route()).device(&device).json(&json!({"csrPem": csr()})).send().await.expect(201);
    step(&world, &prepared["authorityId"], "retire").send().await.expect(200);
    let chain = vec![certificate.der.clone(), authorities.signing().certificate_der().to_vec()];
    let stale = world.post(device.route("heartbeat")).chain(chain).send().await;
    stale.problem(ErrorCode::InvalidCertificateChain);
}

#[tokio::test]
async fn a_new_root_with_an_issuing_authority_under_it_comes_in_one_step() {
    let world = World::new().await;
    let prepared = prepare(&world, &json!({"hierarchy": "intermediate", "newRoot": true})).await;
    let set = current(&world);
    assert_eq!(set.trusted().len(), 3);
    let root = set.trusted()[1].authority.clone();
    assert!(root.is_root());
    step(&world, &id_of(&root), "activate").send().await.problem(ErrorCode::InvalidState);
    step(&world, &prepared["authorityId"], "activate").send().await.expect(200);
    assert_eq!(current(&world).signing().root_der(), root.certificate_der());
}

#[tokio::test]
async fn steps_out_of_order_are_refused_and_change_nothing() {
    let world = World::new().await;
    let first = id_of(current(&world).signing());
    step(&world, &first, "retire").send().await.problem(ErrorCode::InvalidState);
    let prepared = prepare(&world, &json!({})).await;
    let twice = world.post(ROUTE).admin(Role::Admin).json(&json!({})).send().await;
    twice.problem(ErrorCode::InvalidState);
    step(&world, &prepared["authorityId"], "retire").send().await.expect(200);
    step(&world, &prepared["authorityId"], "activate").send().await.problem(ErrorCode::InvalidState);
    step(&world, &json!("018f3c5e-7b1a-7cc2-9d3e-0123456789ab"), "activate").send().await.problem(ErrorCode::NotFound);
    assert_eq!(id_of(current(&world).signing()), first);
    for (body, pointer) in [
        (json!({"keyType": "rsa-1024"}), "/keyType"),
        (json!({"hierarchy": "root", "newRoot": true}), "/newRoot"),
        (json!({"hierarchy": "bridge"}), "/hierarchy"),
        (json!({"keySlot": "../main"}), "/keySlot"),
        (json!({"keySlot": "main"}), "/keySlot"),
        (json!({"keySlot": "empty"}), "/keySlot"),
        (json!({"keySlot": "empty", "keyType": "rsa-2048"}), "/keySlot"),
        (json!({"issuersPem": "x"}), "/issuersPem"),
    ] {
        assert_eq!(world.post(ROUTE).admin(Role::Admin).json(&body).send().await.pointers(), [pointer], "{body}");
    }
}

#[tokio::test]
async fn only_an_admin_of_every_tenant_changes_authorities() {
    let world = World::new().await;
    let prepared = prepare(&world, &json!({})).await;
    let path = format!("{ROUTE}/{}/activate", prepared["authorityId"].as_str().unwrap());
    for path in [ROUTE, path.as_str()] {
        world.post(path).admin(Role::Operator).send().await.problem(ErrorCode::Forbidden);
        world.post(path).admin_of(Role::Admin, TENANT_A).send().await.problem(ErrorCode::Forbidden);
        world.post(path).send().await.problem(ErrorCode::AuthenticationRequired);
    }
}

#[tokio::test]
async fn an_authority_whose_key_cannot_sign_is_not_activated() {
    let world = World::new().await;
    let first = current(&world).signing().clone();
    let prepared = prepare(&world, &json!({"hierarchy": "intermediate"})).await;
    step(&world, &prepared["authorityId"], "activate").send().await.expect(200);
    // Back to a slot whose store has failed meanwhile: the first one's.
    world.keys.signing_fails.set(true);
    let again = prepare_fails(&world, &json!({"hierarchy": "intermediate"})).await;
    assert_eq!(again, ErrorCode::SigningUnavailable);
    world.keys.signing_fails.set(false);
    let other = prepare(&world, &json!({"hierarchy": "root"})).await;
    let stream = StreamId::certificate_authority(first.id());
    let ends = ["certificate_authority.rotated", "certificate_authority.service_certificate_intended"];
    assert!(world.types(&stream).await.ends_with(&ends), "what was to be signed is known, although it was not");
    step(&world, &other["authorityId"], "activate").send().await.expect(200);
}

async fn prepare_fails(world: &World, body: &Value) -> ErrorCode {
    let answer = world.post(ROUTE).admin(Role::Admin).json(body).send().await;
    let code = answer.body["code"].as_str().unwrap().to_owned();
    ErrorCode::ALL.iter().copied().find(|known| known.as_str() == code).unwrap()
}

#[tokio::test]
async fn a_node_that_cannot_read_what_another_one_did_tries_until_it_can() {
    let world = World::new().await;
    let here = Authorities::new(opened(&world).await.set);
    let prepared = prepare(&world, &json!({})).await;
    step(&world, &prepared["authorityId"], "activate").send().await.expect(200);

    world.store.reads_fail.set(true);
    let keeper = world.nodes[0].keeper_of_authorities.clone();
    let (store, followed) = (world.store.clone(), here.clone());
    let following = tokio::spawn(async move { keeper.follow(&*store, Position(0), &followed).await });
    let mut changes = here.changes();
    // Twice: all that there is to tell has been told by then.
    for _ in 0..2 {
        world.store.failed_reads.notified().await;
    }
    assert_ne!(id_of(here.current().signing()), prepared["authorityId"]);
    world.store.reads_fail.set(false);
    let caught_up = changes.wait_for(|set| id_of(set.signing()) == prepared["authorityId"]);
    tokio::time::timeout(PATIENCE, caught_up).await.unwrap().unwrap();
    following.abort();
}

/// The authorities as another node opens them.
async fn opened(world: &World) -> Opened {
    world.nodes[0].keeper_of_authorities.open(&*world.store, &*world.clock, Hierarchy::Root).await.unwrap()
}

#[tokio::test]
async fn what_a_root_is_about_to_sign_is_recorded_before_it_does() {
    let world = World::new().await;
    let root = current(&world).signing().clone();
    let stream = StreamId::certificate_authority(root.id());
    let wanted = json!({"hierarchy": "intermediate"});
    world.keys.close();
    let (prepared, intended) = tokio::join!(prepare(&world, &wanted), async {
        world.keys.arrival().await;
        let intended = intended_by(&world, &root).await;
        world.keys.open();
        intended
    });
    let set = current(&world);
    let made = &set.trusted()[1].authority;
    assert_eq!(id_of(made), prepared["authorityId"]);
    let [intended] = intended.try_into().unwrap();
    assert_eq!((intended.serial_number, intended.purpose), (made.serial_number(), ServicePurpose::IntermediateCa));
    assert_eq!(intended.subject, made.subject());
    assert_eq!(intended.not_after, Timestamp::from_offset_date_time(made.own_validity().not_after));
    assert_eq!(world.types(&stream).await.last(), Some(&"certificate_authority.service_certificate_intended"));
}

#[tokio::test]
async fn an_interrupted_preparation_is_taken_up_again_and_signs_nothing_twice() {
    let world = World::new().await;
    let wanted = json!({"hierarchy": "intermediate", "newRoot": true});
    // The root and what it is about to sign are recorded; what it signed is not.
    *world.store.appends_left.lock().unwrap() = Some(2);
    assert_eq!(prepare_fails(&world, &wanted).await, ErrorCode::StoreUnavailable);
    *world.store.appends_left.lock().unwrap() = None;

    assert_eq!(prepare_fails(&world, &json!({})).await, ErrorCode::InvalidState);
    let other = json!({"hierarchy": "intermediate", "newRoot": true, "keyType": "rsa-2048"});
    assert_eq!(prepare_fails(&world, &other).await, ErrorCode::InvalidState);
    prepare(&world, &wanted).await;
    let set = current(&world);
    let [_, root, made] = set.trusted() else { panic!("a root and one under it") };
    let intended = intended_by(&world, &root.authority).await;
    let serial_numbers: Vec<_> = intended.iter().map(|intended| intended.serial_number).collect();
    assert_eq!(serial_numbers, [made.authority.serial_number()]);
}

#[tokio::test]
async fn what_an_interrupted_preparation_left_is_not_taken_for_something_else() {
    let world = World::new().await;
    world.keys.signing_fails.set(true);
    let other = json!({"hierarchy": "intermediate", "keyType": "ecdsa-p384"});
    assert_eq!(prepare_fails(&world, &other).await, ErrorCode::SigningUnavailable);
    world.keys.signing_fails.set(false);
    let prepared = prepare(&world, &json!({"hierarchy": "intermediate", "keyType": "ecdsa-p256"})).await;
    let made = |id: &Value| current(&world).trusted().iter().find(|one| id_of(&one.authority) == *id).cloned().unwrap();
    assert_eq!(made(&prepared["authorityId"]).authority.public_key().key_type().as_str(), "ecdsa-p256");
    step(&world, &prepared["authorityId"], "retire").send().await.expect(200);

    // Signed by a root that is given up then.
    *world.store.appends_left.lock().unwrap() = Some(2);
    let under_new = json!({"hierarchy": "intermediate", "newRoot": true});
    assert_eq!(prepare_fails(&world, &under_new).await, ErrorCode::StoreUnavailable);
    *world.store.appends_left.lock().unwrap() = None;
    let root = id_of(&current(&world).trusted()[1].authority);
    step(&world, &root, "retire").send().await.expect(200);
    let prepared = prepare(&world, &json!({"hierarchy": "intermediate"})).await;
    let present = current(&world).signing().certificate_der().to_vec();
    assert_eq!(made(&prepared["authorityId"]).authority.root_der(), present);
}

#[tokio::test]
async fn no_certificate_of_an_authority_is_recorded_after_another_one_took_its_place() {
    let world = World::new().await;
    let before = id_of(current(&world).signing());
    let device = world.approved_device(TENANT_A).await;
    let prepared = prepare(&world, &json!({})).await;
    world.keys.close();
    let issuing = world.post(device.issue_route()).device(&device).json(&json!({"csrPem": csr()})).send();
    let (issued, ()) = tokio::join!(issuing, async {
        world.keys.arrival().await;
        step(&world, &prepared["authorityId"], "activate").send().await.expect(200);
        world.keys.open();
    });
    let sent = certificates_from_pem(issued.expect(201)["certificatePem"].as_str().unwrap()).unwrap();
    let verified = current(&world).signing().clone();
    let alone = Authorities::of_one(verified).unwrap().current();
    alone.verifier().verify(&sent[0]).unwrap();
    let stream = StreamId::certificates(DeviceId::parse(&device.id).unwrap());
    let types = ["certificate.intended", "certificate.abandoned", "certificate.intended", "certificate.issued"];
    assert_eq!(world.types(&stream).await, types);
    step(&world, &before, "retire").send().await.expect(200);
}

#[tokio::test]
async fn an_authority_that_has_expired_is_not_activated() {
    let world = World::new().await;
    let prepared = prepare(&world, &json!({"hierarchy": "intermediate"})).await;
    world.clock.advance_days(6 * 365);
    let refused = step(&world, &prepared["authorityId"], "activate").send().await;
    refused.problem(ErrorCode::InvalidState);
}

async fn intended_by(world: &World, issuer: &CertificateAuthority) -> Vec<ServiceCertificateIntended> {
    let events = world.events(&StreamId::certificate_authority(issuer.id())).await;
    let intended = events.into_iter().filter_map(|event| match event {
        Event::AuthorityEvent(AuthorityEvent::ServiceCertificateIntended(intended)) => Some(intended),
        _ => None,
    });
    intended.collect()
}
