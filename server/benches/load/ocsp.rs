//! OCSP answers a second that were signed before, as relying parties fetch them: by POST and GET, over plain HTTP and HTTPS.

use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::client::{Target, Wire};
use crate::phases::{Load, kept_alive};
use crate::report::Report;
use crate::world::World;

const CONNECTIONS: usize = 64;
/// An answer that says that something went wrong is shorter than any that is signed.
const SIGNED_AT_LEAST: usize = 256;

pub(crate) async fn measure(duration: Duration) {
    let world = World::start(&[("SIGNALBEAM__RATE_LIMIT__ENABLED", "false")]).await;
    let asked = questions(&world);
    println!("\nOCSP, {CONNECTIONS} connections, {} certificates (target >= 30000 a second)", asked.len());
    let mut report = Report::default();
    for (scheme, target) in [("plain HTTP", world.server.plain_http()), ("HTTPS", world.server.https())] {
        for (method, request) in [("POST", post as fn(&[u8]) -> Vec<u8>), ("GET", get)] {
            let requests: Vec<_> = asked.iter().map(|der| request(der)).collect();
            sign_all(&target, &requests).await;
            let load =
                |number: usize| Load { request: requests[number % requests.len()].clone(), target: target.clone() };
            let cpu = world.server.cpu_seconds();
            let figure = kept_alive(CONNECTIONS, duration, load).await;
            report.line(&format!("OCSP by {method} over {scheme}, signed before"), &figure);
            #[expect(clippy::cast_precision_loss, reason = "figures for people")]
            let each = (world.server.cpu_seconds() - cpu) * 1e6 / figure.answered as f64;
            println!("    the server took {each:.0} us of CPU for each");
        }
    }
    world.server.stop();
}

/// Asks everything once, so that the answers are signed.
async fn sign_all(target: &Target, requests: &[Vec<u8>]) {
    let mut wire = Wire::connect(target).await.unwrap();
    for request in requests {
        let answer = wire.exchange(request).await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.body().len() > SIGNED_AT_LEAST, "no signed answer: {:?}", answer.body());
    }
}

/// A request about each device's certificate, without a nonce, made by OpenSSL.
fn questions(world: &World) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let question = |serial_number: &str| {
        let output = Command::new("openssl")
            .args(["ocsp", "-no_nonce", "-reqout", "request.der", "-issuer"])
            .arg(world.server.data("ca/ca-cert.pem"))
            .args(["-serial", &format!("0x{serial_number}")])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(folder.path().join("request.der")).unwrap()
    };
    world.devices.iter().map(|device| question(&device.serial_number)).collect()
}

fn post(der: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /ocsp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/ocsp-request\r\nContent-Length: {}\r\n\r\n",
        der.len()
    );
    [head.as_bytes(), der].concat()
}

fn get(der: &[u8]) -> Vec<u8> {
    let path = STANDARD.encode(der).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("GET /ocsp/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}
