//! Whoever wrote reads what it wrote, and waits for what it names.

use std::time::{Duration, Instant};

use serde_json::Value;
use signalbeam_domain::Position;

use crate::world::{As, World, tenant};

#[tokio::test]
async fn an_admin_reads_its_own_writes() {
    let world = World::new().await;
    let admin = world.admin();
    for number in 1..=50 {
        let device = world.register(tenant(1), "gateway").await;
        let listed = world.get("/api/devices?limit=500", &admin).await.items();
        assert_eq!(listed.len(), number);
        let serial = world.certify(&device, 90, None).await;
        world.get(&format!("/api/certificates/{serial}"), &admin).await.ok();
    }
}

#[tokio::test]
async fn a_named_position_is_waited_for() {
    let world = World::new().await;
    let admin = world.admin();
    let waiting = world.get("/api/devices?minPosition=1", &admin);
    let (answer, _) = tokio::join!(waiting, world.register(tenant(1), "gateway"));
    assert_eq!(answer.items().len(), 1);
}

#[tokio::test]
async fn a_position_that_does_not_come_is_told_in_time() {
    let world = World::new().await;
    let device = world.register(tenant(1), "gateway").await;
    let serial = world.certify(&device, 90, None).await;
    let document = world.get("/openapi.json", &As::Nobody).await.ok();
    let mut paths = vec![];
    for (path, item) in document["paths"].as_object().unwrap() {
        let is_told = |parameter: &Value| parameter["name"] == "minPosition" && parameter["in"] == "query";
        assert!(item["get"]["parameters"].as_array().unwrap().iter().any(is_told), "{path} takes no minPosition");
        let id = device.id.to_string();
        let path = path.replace("{id}", &id).replace("{deviceId}", &id).replace("{status}", "Pending");
        let path = path.replace("{serialNumber}", &serial.to_string());
        let path = path.replace("{authorityId}", &world.authority.id().to_string());
        assert!(!path.contains('{'), "nobody has said here what stands in {path}");
        paths.push(path);
    }
    assert!(paths.len() >= 13, "{paths:?}");
    let admin = world.admin();
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    let world = std::sync::Arc::new(world);
    for path in paths {
        let (world, admin) = (world.clone(), admin.clone());
        tasks.spawn(async move {
            let answer = world.get(&format!("{path}?minPosition=18446744073709551615"), &admin).await;
            assert_eq!(answer.refusal(), (503, "PROJECTION_BEHIND".to_owned()), "{path}");
            assert_eq!(answer.headers["retry-after"], "1");
        });
    }
    while let Some(finished) = tasks.join_next().await {
        finished.unwrap();
    }
    assert!(started.elapsed() >= Duration::from_secs(2));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn strangers_who_name_positions_that_never_come_keep_nobody_else_waiting() {
    let world = std::sync::Arc::new(World::new().await);
    world.register(tenant(1), "gateway").await;
    let started = Instant::now();
    let mut strangers = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let world = world.clone();
        strangers.spawn(async move {
            let answer = world.get("/api/certificates/ca?minPosition=999999999", &As::Nobody).await;
            (answer.refusal(), started.elapsed())
        });
    }
    let answers = strangers.join_all().await;
    assert!(answers.iter().all(|(refusal, _)| *refusal == (503, "PROJECTION_BEHIND".to_owned())));
    let waited = answers.iter().filter(|(_, took)| *took >= Duration::from_secs(2)).count();
    assert_eq!(waited, 32, "no more wait at a time");
    assert_eq!(world.get("/api/certificates/ca?minPosition=1", &As::Nobody).await.status, 200);
}

#[tokio::test]
async fn old_tables_are_answered_from_rather_than_waited_for_without_end() {
    let world = World::new().await;
    world.register(tenant(1), "gateway").await;
    world.get("/api/devices?minPosition=1", &world.admin()).await.ok();
    world.freshness.note_appended(Position(1_000));
    let started = Instant::now();
    assert_eq!(world.get("/api/devices", &world.admin()).await.items().len(), 1);
    let elapsed = started.elapsed();
    assert!(elapsed >= Duration::from_millis(500) && elapsed < Duration::from_secs(5), "{elapsed:?}");
}
