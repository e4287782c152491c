//! How lists are served.

use axum::http::StatusCode;
use signalbeam_command_api::pki_router;

use super::{get, publisher, round, send};
use crate::world::World;

const CRL: &str = "/api/certificates/crl";

#[tokio::test]
async fn a_list_comes_as_der_with_all_that_caches_need() {
    let world = World::new().await;
    round(&world, &publisher(&world.nodes[0])).await.unwrap();
    let answer = get(&world.nodes[0], CRL).await;
    let header = |name: &str| answer.headers[name].to_str().unwrap();
    assert_eq!(header("content-type"), "application/pkix-crl");
    assert_eq!(header("last-modified"), "Sat, 31 Jan 2026 12:00:00 GMT");
    assert_eq!(header("cache-control"), "public, max-age=300, no-transform, must-revalidate");
    assert_eq!(header("vary"), "accept");
    world.clock.advance_seconds(86_400 - 60);
    let later = get(&world.nodes[0], CRL).await;
    assert!(later.headers["cache-control"].to_str().unwrap().contains("max-age=60,"), "never beyond its own time");
    world.clock.advance_days(1);
    let ended = get(&world.nodes[0], CRL).await;
    assert!(ended.headers["cache-control"].to_str().unwrap().contains("max-age=0,"));
}

#[tokio::test]
async fn whoever_has_the_list_is_sent_nothing() {
    let world = World::new().await;
    let publisher = publisher(&world.nodes[0]);
    round(&world, &publisher).await.unwrap();
    let router = pki_router(world.nodes[0].clone());
    let tag = get(&world.nodes[0], CRL).await.headers["etag"].to_str().unwrap().to_owned();
    let again = send(&router, "GET", CRL, &[("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(again.headers["etag"], tag.as_str());
    let as_pem = [("if-none-match", tag.as_str()), ("accept", "application/x-pem-file")];
    assert_eq!(send(&router, "GET", CRL, &as_pem).await.status, StatusCode::OK, "the PEM is another thing");
    let delta = send(&router, "GET", "/api/certificates/crl/delta", &[("if-none-match", &tag)]).await;
    assert_eq!(delta.status, StatusCode::OK, "and so is the delta");
    let since = [("if-modified-since", "Sat, 31 Jan 2026 12:00:00 GMT")];
    assert_eq!(send(&router, "GET", CRL, &since).await.status, StatusCode::NOT_MODIFIED);
    world.clock.advance_days(1);
    round(&world, &publisher).await.unwrap();
    assert_eq!(send(&router, "GET", CRL, &[("if-none-match", &tag)]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn head_tells_the_length_and_sends_nothing() {
    let world = World::new().await;
    round(&world, &publisher(&world.nodes[0])).await.unwrap();
    let length = get(&world.nodes[0], CRL).await.body.len().to_string();
    let head = send(&pki_router(world.nodes[0].clone()), "HEAD", CRL, &[]).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.headers["content-length"], length.as_str());
}

#[tokio::test]
async fn pem_goes_to_those_who_ask_for_it() {
    let world = World::new().await;
    round(&world, &publisher(&world.nodes[0])).await.unwrap();
    let router = pki_router(world.nodes[0].clone());
    let pem = send(&router, "GET", CRL, &[("accept", "text/html, application/x-pem-file")]).await;
    assert_eq!(pem.headers["content-type"], "application/x-pem-file");
    let text = String::from_utf8(pem.body.to_vec()).unwrap();
    assert!(text.starts_with("-----BEGIN X509 CRL-----\n") && text.ends_with("-----END X509 CRL-----\n"), "{text}");
    let der = send(&router, "GET", CRL, &[("accept", "application/pkix-crl, application/x-pem-file")]).await;
    assert_eq!(der.headers["content-type"], "application/pkix-crl");
}

#[tokio::test]
async fn each_authority_has_its_own_address() {
    let world = World::new().await;
    round(&world, &publisher(&world.nodes[0])).await.unwrap();
    let id = world.authority.id();
    for suffix in ["", "/delta"] {
        let own = get(&world.nodes[0], &format!("{CRL}/{id}{suffix}")).await;
        assert_eq!(own.status, StatusCode::OK);
        assert_eq!(own.body, get(&world.nodes[0], &format!("{CRL}{suffix}")).await.body);
        let nobodys = format!("{CRL}/018f3c5e-7b1a-7cc2-9d3e-000000000401{suffix}");
        assert_eq!(get(&world.nodes[0], &nobodys).await.status, StatusCode::NOT_FOUND);
        assert_eq!(get(&world.nodes[0], &format!("{CRL}/x{suffix}")).await.status, StatusCode::BAD_REQUEST);
    }
}
