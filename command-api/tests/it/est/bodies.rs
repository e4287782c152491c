//! Bodies of every wrong shape: a code, and nothing issued.

use signalbeam_authn::ErrorCode;

use super::*;
use crate::world::{TENANT_A, World};

#[tokio::test]
async fn a_body_that_is_no_request_is_refused_wherever_it_is_sent() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    world.heartbeat_by_key(&device).await.expect(200);
    let token = world.token(TENANT_A).await["token"].as_str().unwrap().to_owned();
    let good = request();
    let der = STANDARD.decode(&good).unwrap();
    let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{good}\n-----END CERTIFICATE REQUEST-----\n");
    let weak = "MIHYMIGDAgEAMB4xHDAaBgNVBAMME3dlYWs";
    let bodies = [
        (String::new(), ErrorCode::InvalidRequest),
        (" \r\n".to_owned(), ErrorCode::InvalidRequest),
        (pem, ErrorCode::InvalidRequest),
        (good.replace('=', "") + "*", ErrorCode::InvalidRequest),
        (weak.to_owned(), ErrorCode::InvalidRequest),
        ("{}".to_owned(), ErrorCode::InvalidRequest),
        ("AAAA".to_owned(), ErrorCode::InvalidCsr),
        (STANDARD.encode(&der[..der.len() - 1]), ErrorCode::InvalidCsr),
        (STANDARD.encode([der.as_slice(), &[0]].concat()), ErrorCode::InvalidCsr),
        (STANDARD.encode(world.authority.certificate_der()), ErrorCode::InvalidCsr),
        (STANDARD.encode(vec![0x30; 17 * 1024]), ErrorCode::InvalidCsr),
        ("A".repeat(100_000), ErrorCode::BodyTooLarge),
    ];
    let before = world.log().await.len();
    for (body, code) in &bodies {
        for route in [ENROL, REENROL, SERVER_KEY] {
            let answer = world.post(route).basic_device(&device).asking(body).send().await;
            answer.problem(*code);
        }
        world.post(ENROL).basic(TENANT_A, &token).asking(body).send().await.problem(*code);
    }
    for kind in ["application/json", "application/pkcs7-mime", "application/pkcs10x", "", "text/plain"] {
        let call = world.post(ENROL).basic_device(&device).header("content-type", kind).raw(good.clone());
        call.send().await.problem(ErrorCode::UnsupportedMediaType);
    }
    let untyped = world.post(ENROL).basic_device(&device).raw(good.clone()).send().await;
    untyped.problem(ErrorCode::UnsupportedMediaType);
    assert_eq!(world.log().await.len(), before, "nothing came of any of them");
    world.post(ENROL).basic(TENANT_A, &token).asking(&good).send().await.expect(202);
}

#[tokio::test]
async fn line_breaks_and_parameters_of_the_media_type_do_not_matter() {
    let world = World::new().await;
    let device = world.approved_device(TENANT_A).await;
    let request = request();
    let lines: Vec<_> = request.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    let call = world.post(ENROL).basic_device(&device).header("content-type", "Application/PKCS10; charset=us-ascii");
    let call = call.header("content-transfer-encoding", "binary").raw(lines.join("\r\n") + "\r\n");
    let folded = call.send().await.issued();
    let plain = world.post(ENROL).basic_device(&device).asking(&request).send().await.issued();
    assert_eq!(folded, plain);
}
