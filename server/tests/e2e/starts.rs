//! Starting and stopping: one server on a directory, one authority for ever, and an end that lets requests finish.

use std::time::{Duration, Instant};

use rustls::version::TLS13;

use crate::device::{Device, TENANT, by_certificate};
use crate::server::Site;
use crate::waiting::eventually;
use crate::wire::{Wire, config};

#[test]
fn of_two_first_starts_on_one_directory_one_serves_and_the_other_says_why_not() {
    let site = Site::new();
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| site.try_start());
        let other = site.try_start();
        (one.join().unwrap(), other)
    });
    let (server, refused) = match (one, other) {
        (Ok(server), Err(refused)) | (Err(refused), Ok(server)) => (server, refused),
        (one, other) => panic!("exactly one must serve: {:?} {:?}", one.err(), other.err()),
    };
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.said.contains("another server") && refused.said.contains("--data-dir"), "{refused:?}");
    let created =
        |site: &Site| site.export().iter().filter(|event| event["type"] == "certificate_authority.created").count();
    assert_eq!(created(&site), 1);
    let admin = server.admin();
    let device = Device::approved(&server, &admin);
    let identity = device.issue(&server, 90);
    let ca = site.ca_pem();

    let third = site.try_start().err().expect("a running directory is taken");
    assert_eq!(third.code, Some(1), "{third:?}");
    device.beat(&by_certificate(&server, &identity)).expect(200);

    server.stop();
    let server = site.start();
    assert_eq!(site.ca_pem(), ca);
    assert_eq!(created(&site), 1);
    device.beat(&by_certificate(&server, &identity)).expect(200);
}

#[test]
fn sigterm_lets_a_running_request_finish_and_ends_in_time() {
    let site = Site::new();
    let server = site.start();
    let token = site.admin_token(&[]);
    let config = config(&site.ca_pem(), None, &[&TLS13]);
    let mut wire = Wire::open(server.address, &config).unwrap();
    let body = serde_json::json!({"tenantId": TENANT}).to_string();
    let head = format!(
        "POST /api/registration-tokens HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    wire.send(head.as_bytes()).unwrap();
    let wait = wire.answer().unwrap();
    assert_eq!(wait.status, 100, "the handler has begun to read the body");

    let begun = Instant::now();
    server.terminate();
    let address = server.address;
    eventually("no new connections", || std::net::TcpStream::connect(address).is_err().then_some(()));
    wire.send(body.as_bytes()).unwrap();
    wire.answer().unwrap().expect(201);
    let status = server.wait();
    assert_eq!(status.code(), Some(0), "{status:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
    assert!(site.export().iter().any(|event| event["type"] == "registration_token.issued"));
}

#[test]
fn a_wrong_configuration_ends_with_code_2_and_names_the_key() {
    let site = Site::new().with("authentication.bcrypt_costs", "12");
    let failed = site.try_start().err().expect("an unknown key is an error");
    assert_eq!(failed.code, Some(2), "{failed:?}");
    assert!(failed.said.contains("bcrypt_cost"), "{failed:?}");
    assert_eq!(site.run(&["serve", "--no-such-option"]).status.code(), Some(2));
}

#[test]
fn a_first_start_that_is_killed_anywhere_leaves_a_directory_that_starts() {
    const KILLS: u32 = 10;
    let whole = {
        let begun = Instant::now();
        let site = Site::new();
        drop(site.start());
        begun.elapsed()
    };
    for kill in 0..KILLS {
        let site = Site::new();
        let mut child =
            site.command(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]).spawn().unwrap();
        std::thread::park_timeout(whole * kill / KILLS);
        child.kill().unwrap();
        child.wait().unwrap();

        let server = site.start();
        let admin = server.admin();
        let device = Device::approved(&server, &admin);
        let identity = device.issue(&server, 90);
        device.beat(&by_certificate(&server, &identity)).expect(200);
        let authorities = site.export().iter().filter(|event| event["type"] == "certificate_authority.created").count();
        assert_eq!(authorities, 1, "killed at {kill} of {KILLS}");
        for name in ["ca/ca-key.pem", "admin-jwt.key", "credential-mac.key"] {
            let mode = std::fs::metadata(site.data_dir().join(name)).unwrap().permissions();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600, "{name}");
        }
    }
}
