//! No secret that was shown once is ever found again: not in the files, the log lines, the metrics or the export.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use crate::device::{Device, TENANT, by_certificate, identity};
use crate::server::{Server, Site};
use crate::walk::{beat, certified};

#[test]
fn no_secret_is_found_in_output_files_metrics_or_export() {
    let site = Site::new().with("log.level", "debug").with("audit.durability", "strict");
    let server = site.start();
    let admin = server.admin();
    let agent = certified(&server, &admin, &server.url());
    beat(&agent);
    site.note_secret(&std::fs::read_to_string(agent.certs().join("client-key.pem")).unwrap());
    let device = Device::approved(&server, &admin);
    let issue = format!("/api/certificates/{}/issue", device.id);
    let issued = device.by_key(&server).header("idempotency-key", "once").post(&issue, &json!({})).expect(201);
    let key_pem = issued["privateKeyPem"].as_str().unwrap();
    site.note_secret(key_pem);
    device.beat(&by_certificate(&server, &identity(&issued, key_pem))).expect(200);
    let rotated = device.by_key(&server).post(&device.path("rotate-api-key"), &json!({})).expect(200);
    site.note_secret(rotated["apiKey"].as_str().unwrap());
    misplace_secrets(&server, &device);
    let answered = admin.get("/api/events?limit=500").text() + &admin.get("/api/authentication-logs?limit=500").text();
    let metrics = server.metrics();
    let exported = String::from_utf8(site.run(&["events", "export"]).stdout).unwrap();
    assert!(exported.lines().count() > 10);
    search("the API's lists", answered.as_bytes(), &site);
    search("the metrics", metrics.as_bytes(), &site);
    search("the export", exported.as_bytes(), &site);
    let log_of_device = site.data_dir().join("events.db-wal");
    let was_looked_at = |path: &std::path::Path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(device.id.len()).any(|window| window == device.id.as_bytes())
    };
    assert!(was_looked_at(&log_of_device) || was_looked_at(&site.data_dir().join("events.db")), "nothing to search in");
    search_files(&site);
    server.stop();
    assert!(site.said().contains("certificate issued"), "nothing to search in");
    search_files(&site);
    search("the output", site.said().as_bytes(), &site);
}

/// Sends secrets to places where they do not belong, which are then quoted in errors if anything is.
fn misplace_secrets(server: &Server<'_>, device: &Device) {
    let admin = server.admin();
    let anonymous = server.anonymous();
    let answers = [
        admin.post("/api/registration-tokens", &json!({"tenantId": device.token})),
        admin.post("/api/registration-tokens", &json!({"tenantId": TENANT, "validityDays": device.token})),
        anonymous.post("/api/devices", &json!({"tenantId": TENANT, "token": [device.token], "deviceName": "x"})),
        anonymous.post("/api/devices", &json!({device.claim_secret.as_str(): 1})),
        anonymous.bearer(&device.api_key).get("/api/devices"),
        anonymous.api_key(&device.claim_secret).get("/api/devices"),
        anonymous.header("x-api-key", &format!("{} ", device.api_key)).get("/api/devices?limit=x"),
        anonymous.get(&format!("/api/devices/{}", device.api_key)),
        anonymous.get(&format!("/{}", device.claim_secret)),
        admin.get(&format!("/api/devices?cursor={}", device.token)),
    ];
    for answer in &answers {
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
}

fn search_files(site: &Site) {
    for name in ["events.db", "audit.db", "projections.db"] {
        for suffix in ["", "-wal", "-shm"] {
            let path = site.data_dir().join(format!("{name}{suffix}"));
            match std::fs::read(&path) {
                Ok(bytes) => search(&path.display().to_string(), &bytes, site),
                Err(error) => assert!(!suffix.is_empty(), "{name}: {error}"),
            }
        }
    }
}

fn search(place: &str, bytes: &[u8], site: &Site) {
    let secrets = site.secrets();
    assert!(secrets.len() >= 9, "too few secrets were noted");
    for secret in secrets {
        for form in forms(&secret) {
            let found = bytes.windows(form.len()).position(|window| window == form);
            assert_eq!(found, None, "{place} holds {} as {form:?}", &secret[..secret.len().min(12)]);
        }
    }
}

/// The ways in which a secret might be written down.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    if secret.starts_with("-----BEGIN") {
        let body: Vec<&str> = secret.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(body.concat()).unwrap();
        // A line from the middle, in PEM and as octets: the beginning is the same for every key.
        let middle = der.len() / 2;
        return vec![body[body.len() / 2].as_bytes().to_vec(), der[middle..middle + 24].to_vec()];
    }
    if let Some((_, signature)) = secret.rsplit_once('.') {
        return vec![signature.as_bytes().to_vec()];
    }
    let part = &secret[secret.len() - 43..];
    let octets = URL_SAFE_NO_PAD.decode(part).unwrap();
    let hex = |upper: bool| {
        let digits = octets.iter().map(|octet| if upper { format!("{octet:02X}") } else { format!("{octet:02x}") });
        digits.collect::<String>().into_bytes()
    };
    vec![part.as_bytes().to_vec(), STANDARD.encode(&octets).into_bytes(), hex(true), hex(false), octets.clone()]
}
