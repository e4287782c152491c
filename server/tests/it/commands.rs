//! The commands, as they are typed: what they print, and how they end.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::process::{Server, eventually, run, signalbeam, text};

fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let data_dir = parent.path().join("data");
    (parent, data_dir)
}

fn authority(data_dir: &Path) -> Vec<u8> {
    std::fs::read(data_dir.join("ca/ca-cert.pem")).unwrap()
}

#[test]
fn a_first_start_needs_nothing_and_says_what_comes_next() {
    let (_parent, data_dir) = folder();
    let server = Server::start(&data_dir);
    for said in ["SHA256:", "/docs", "signalbeam admin-token", "ca-cert.pem"] {
        assert!(server.banner.contains(said), "{said} is missing in {}", server.banner);
    }
    for (name, mode) in [("", 0o700), ("admin-jwt.key", 0o600), ("credential-mac.key", 0o600), ("ca/ca-key.pem", 0o600)]
    {
        let found = std::fs::metadata(data_dir.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name}");
    }
    let (status, body) = server.ops("/health/ready");
    assert_eq!(status, 200, "{body}");
    let ready: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(ready["status"], "ready");
    assert_eq!(ready["components"].as_object().unwrap().len(), 7);
    assert_eq!(server.ops("/health/live").0, 200);
    assert!(server.ops("/metrics").1.contains("signalbeam_certificates_issued_total 0"));
    assert_eq!(server.ops("/docs").0, 404, "the operations listener serves nothing else");
    for path in ["/docs", "/docs/scalar.js", "/openapi.json", "/api/certificates/ca"] {
        assert_eq!(server.http.get(format!("{}{path}", server.url)).call().unwrap().status().as_u16(), 200, "{path}");
    }
}

#[test]
fn an_admin_token_opens_the_api_and_nothing_else_is_printed() {
    let (_parent, data_dir) = folder();
    let early = run(signalbeam(&data_dir).arg("admin-token"));
    assert_eq!(early.status.code(), Some(1));
    assert!(text(&early.stderr).contains("signalbeam serve"), "{}", text(&early.stderr));

    let server = Server::start(&data_dir);
    let printed = run(signalbeam(&data_dir).args(["admin-token", "--subject", "tests", "--ttl", "5m"]));
    assert!(printed.status.success() && printed.stderr.is_empty());
    let token = text(&printed.stdout);
    assert_eq!((token.lines().count(), token.trim_end().split('.').count()), (1, 3), "{token}");
    let tenant = "00000000-0000-0000-0000-000000000001";
    let request = |token: &str| {
        let request = server.http.post(format!("{}/api/registration-tokens", server.url));
        request
            .header("authorization", format!("Bearer {token}"))
            .send(format!(r#"{{"tenantId":"{tenant}"}}"#))
            .unwrap()
    };
    let answer = request(token.trim_end());
    assert_eq!(answer.status().as_u16(), 201);
    assert!(answer.headers().contains_key("x-correlation-id"));
    let metrics = server.ops("/metrics").1;
    let series = "signalbeam_http_request_duration_seconds_count{route=\"/api/registration-tokens\",method=\"POST\",status=\"201\"} 1";
    assert!(metrics.contains(series), "{metrics}");
    assert!(metrics.contains("signalbeam_events_appended_total{category=\"registration_token\"} 1"), "{metrics}");

    let read_only = text(&run(signalbeam(&data_dir).args(["admin-token", "--role", "auditor"])).stdout);
    assert_eq!(request(read_only.trim_end()).status().as_u16(), 403);
    assert_eq!(request("nonsense").status().as_u16(), 401);
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let (_parent, data_dir) = folder();
    let server = Server::start(&data_dir);
    let second = run(signalbeam(&data_dir).arg("serve"));
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    assert!(said.contains(&format!("pid {}", server.pid())), "{said}");
    assert_eq!(server.ops("/health/live").0, 200);
}

#[test]
fn of_two_first_starts_at_once_one_serves_with_the_one_authority() {
    let (_parent, data_dir) = folder();
    let mut children: Vec<_> = (0..2)
        .map(|_| signalbeam(&data_dir).arg("serve").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        .collect();
    let mut loser = None;
    eventually("one of two is refused", || {
        loser = children.iter_mut().position(|child| child.try_wait().unwrap().is_some());
        loser.is_some()
    });
    let mut winner = children.remove(1 - loser.unwrap());
    let refused = children[0].wait().unwrap();
    assert_eq!(refused.code(), Some(1));
    eventually("the winner records its authority", || {
        let exported = run(signalbeam(&data_dir).args(["events", "export"]));
        text(&exported.stdout).contains("certificate_authority.activated")
    });
    let first = authority(&data_dir);
    winner.kill().unwrap();
    winner.wait().unwrap();
    let again = Server::start(&data_dir);
    assert!(!again.banner.contains("Next"), "not a first start any more: {}", again.banner);
    assert_eq!(authority(&data_dir), first);
    let exported = text(&run(signalbeam(&data_dir).args(["events", "export"])).stdout);
    assert_eq!(exported.matches("certificate_authority.created").count(), 1, "{exported}");
}

#[test]
fn it_ends_in_order_and_starts_again_as_the_same() {
    let (_parent, data_dir) = folder();
    let server = Server::start(&data_dir);
    let (status, said) = server.terminate();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("stopped") && !said.contains("WARN") && !said.contains("ERROR"), "{said}");
    let before = authority(&data_dir);
    Server::start(&data_dir);
    assert_eq!(authority(&data_dir), before);
}

#[test]
fn a_log_whose_authority_is_gone_or_another_is_not_served() {
    let (_parent, data_dir) = folder();
    Server::start(&data_dir).terminate();
    let kept = data_dir.join("ca-elsewhere");
    std::fs::rename(data_dir.join("ca"), &kept).unwrap();
    let missing = run(signalbeam(&data_dir).arg("serve"));
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("restore them from a backup"), "{}", text(&missing.stderr));
    assert!(!data_dir.join("ca/ca-key.pem").exists(), "no other authority was made");

    let (_other_parent, other) = folder();
    Server::start(&other).terminate();
    // Whatever the refused start has left there.
    if data_dir.join("ca").exists() {
        std::fs::remove_dir_all(data_dir.join("ca")).unwrap();
    }
    std::fs::rename(other.join("ca"), data_dir.join("ca")).unwrap();
    let different = run(signalbeam(&data_dir).arg("serve"));
    assert_eq!(different.status.code(), Some(1));
    assert!(text(&different.stderr).contains("holds another one"), "{}", text(&different.stderr));

    std::fs::remove_dir_all(data_dir.join("ca")).unwrap();
    std::fs::rename(kept, data_dir.join("ca")).unwrap();
    Server::start(&data_dir);
}

#[test]
fn a_secret_that_others_can_read_is_not_used() {
    let (_parent, data_dir) = folder();
    Server::start(&data_dir).terminate();
    let file = data_dir.join("credential-mac.key");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = run(signalbeam(&data_dir).arg("serve"));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("chmod 600"), "{}", text(&refused.stderr));
}

#[test]
fn serving_other_machines_as_localhost_is_pointed_out() {
    let (_parent, data_dir) = folder();
    let mut command = signalbeam(&data_dir);
    command.arg("serve").env("SIGNALBEAM__LISTENER__ADDRESS", "0.0.0.0:0");
    let (_, said) = Server::start_with(&mut command, &data_dir).terminate();
    assert_eq!(said.matches("set tls.server_names").count(), 1, "{said}");
    let (_, said) = Server::start(&data_dir).terminate();
    assert!(!said.contains("tls.server_names"), "{said}");
}

#[test]
fn lost_secrets_are_made_anew_with_a_word_and_by_no_start_that_fails() {
    let (_parent, data_dir) = folder();
    Server::start(&data_dir).terminate();
    let lost = ["credential-mac.key", "admin-jwt.key"].map(|name| data_dir.join(name));
    for path in &lost {
        std::fs::remove_file(path).unwrap();
    }
    let authority = data_dir.join("ca/ca-key.pem");
    let key = std::fs::read(&authority).unwrap();
    std::fs::remove_file(&authority).unwrap();
    assert_eq!(run(signalbeam(&data_dir).arg("serve")).status.code(), Some(1));
    assert!(lost.iter().all(|path| !path.exists()), "nothing is made where the authority is missing");
    std::fs::write(&authority, key).unwrap();
    std::fs::set_permissions(&authority, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (_, said) = Server::start(&data_dir).terminate();
    assert!(said.contains("WARN") && said.contains("admin tokens made before are refused"), "{said}");
    assert!(said.contains("ERROR") && said.contains("judged by bcrypt"), "{said}");
    assert!(lost.iter().all(|path| path.exists()));
}

#[test]
fn what_another_user_owns_is_not_taken_for_missing() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (parent, data_dir) = folder();
    Server::start(&data_dir).terminate();
    let program = parent.path().join("signalbeam");
    std::fs::copy(env!("CARGO_BIN_EXE_signalbeam"), &program).unwrap();
    std::fs::set_permissions(parent.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for args in [
        &["doctor"][..],
        &["doctor", "--deep", "--output", "json"],
        &["backup", "--output", "/nowhere/x"],
        &["events", "export"],
        &["audit", "verify"],
        &["projections", "status"],
        &["restore", "acknowledge"],
    ] {
        let said = |data_dir: &Path, user| {
            let mut command = std::process::Command::new(&program);
            command.args(args).args(["--data-dir", data_dir.to_str().unwrap()]).current_dir("/").uid(user);
            let output = run(&mut command);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
            text(&output.stdout) + &text(&output.stderr)
        };
        let denied = said(&data_dir, 65_534);
        assert!(denied.contains("permission denied") && denied.contains("the owner, uid 0"), "{args:?}: {denied}");
        assert!(!denied.contains("restore a") && !denied.contains("from a backup"), "{args:?}: {denied}");
        let empty = parent.path().join("empty");
        std::fs::create_dir_all(&empty).unwrap();
        let none = said(&empty, 0);
        assert!(none.contains("no data directory of a server: there is no events.db in it"), "{args:?}: {none}");
    }
}

#[test]
fn wrong_usage_and_configuration_end_with_2() {
    let (parent, data_dir) = folder();
    let code = |args: &[&str]| run(signalbeam(&data_dir).args(args)).status.code();
    assert_eq!(code(&[]), Some(2));
    assert_eq!(code(&["dance"]), Some(2));
    assert_eq!(code(&["admin-token", "--ttl", "forever"]), Some(2));
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["config", "check"]), Some(0));
    std::fs::write(parent.path().join("signalbeam.toml"), "[mtls]\nenable = true\n").unwrap();
    for args in [&["serve"][..], &["config", "check"], &["config", "print"]] {
        let refused = run(signalbeam(&data_dir).args(args));
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        assert!(text(&refused.stderr).contains("did you mean `mtls.enabled`"), "{}", text(&refused.stderr));
    }
    assert!(!data_dir.exists(), "nothing is made before the configuration is right");
}

#[test]
fn a_taken_address_is_named() {
    let (_parent, data_dir) = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = run(signalbeam(&data_dir).args(["serve", "--listen", &address]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains(&address), "{}", text(&refused.stderr));
}

#[test]
fn the_log_is_exported_line_by_line_and_shown_by_id() {
    let (parent, data_dir) = folder();
    let _server = Server::start(&data_dir);
    let file = parent.path().join("events.ndjson");
    let export = run(signalbeam(&data_dir).args(["events", "export", "--output"]).arg(&file));
    assert!(export.status.success() && export.stdout.is_empty());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let lines = std::fs::read_to_string(&file).unwrap();
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["type"], "certificate_authority.created");
    assert_eq!(events[0]["hash"].as_str().unwrap().len(), 64);
    let shown = run(signalbeam(&data_dir).args(["events", "show", events[0]["id"].as_str().unwrap()]));
    assert_eq!(serde_json::from_slice::<Value>(&shown.stdout).unwrap(), events[0]);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(run(signalbeam(&data_dir).args(["events", "export", "--output"]).arg(&file)).status.success());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "one that exists is closed");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), lines);
    let nowhere = run(signalbeam(&data_dir).args(["events", "export", "--output", "/nowhere/events"]));
    assert!(text(&nowhere.stderr).contains("cannot write /nowhere/events"), "{}", text(&nowhere.stderr));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let unread = signalbeam(&data_dir).args(["events", "export"]).stdout(writer).output().unwrap();
    assert_eq!((unread.status.code(), text(&unread.stderr)), (Some(141), String::new()));
    let unknown = run(signalbeam(&data_dir).args(["events", "show", "018f3c5e-7b1a-7cc2-9d3e-0123456789ab"]));
    assert_eq!(unknown.status.code(), Some(1));
}

#[test]
fn projections_are_counted_and_rebuilt_beside_a_running_server() {
    let (_parent, data_dir) = folder();
    let server = Server::start(&data_dir);
    let rebuilt = run(signalbeam(&data_dir).args(["projections", "rebuild", "directory"]));
    assert!(rebuilt.status.success(), "{}", text(&rebuilt.stderr));
    // The authority was created and activated, signed the listener's certificate, and published its first lists.
    assert!(text(&rebuilt.stdout).starts_with("directory: rebuilt from 4 events"), "{}", text(&rebuilt.stdout));
    for entry in std::fs::read_dir(&data_dir).unwrap().map(|entry| entry.unwrap()) {
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", entry.path().display());
    }
    let status = run(signalbeam(&data_dir).args(["projections", "status"]));
    assert!(text(&status.stdout).contains("0 events behind"), "{}", text(&status.stdout));
    let unknown = run(signalbeam(&data_dir).args(["projections", "rebuild", "nonsense"]));
    assert_eq!(unknown.status.code(), Some(1));
    assert_eq!(server.ops("/health/ready").0, 200);
}

#[test]
fn a_hangup_reloads_what_can_change_and_names_what_cannot() {
    let (parent, data_dir) = folder();
    let file = parent.path().join("signalbeam.toml");
    std::fs::write(&file, "").unwrap();
    let server = Server::start(&data_dir);
    let too_large = || {
        let body = "x".repeat(5_000);
        server.http.post(format!("{}/api/devices", server.url)).send(body).unwrap().status().as_u16()
    };
    assert_eq!(too_large(), 400);
    std::fs::write(
        &file,
        "[listener]\nmax_body_bytes = 2048\n[mtls]\nenabled = false\n[rate_limit]\nenabled = false\n",
    )
    .unwrap();
    server.signal("-HUP");
    eventually("the smaller body limit", || too_large() == 413);
    std::fs::write(&file, "[listener]\nmax_body_bites = 1\n").unwrap();
    server.signal("-HUP");
    let (status, said) = server.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(said.contains("listener.max_body_bytes") && said.contains("rate_limit.enabled"), "{said}");
    assert!(said.contains("mtls.enabled") && said.contains("take a restart"), "{said}");
}
