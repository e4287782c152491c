//! Fetching keys from hosts that mean no good.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

/// Answers every request with one text, and counts who connects.
struct Host {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Host {
    async fn answering(answer: impl Fn(SocketAddr) -> String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, connections) = (answer(address), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 4_096];
                let _read = socket.read(&mut request).await;
                let _written = socket.write_all(answer.as_bytes()).await;
            }
        });
        Self { address, connections, _tasks: tasks }
    }

    async fn with_body(body: impl Fn(SocketAddr) -> String) -> Self {
        Self::answering(|address| ok(&body(address))).await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\ncache-control: max-age=120\r\n\r\n{body}", body.len())
}

fn config(address: SocketAddr) -> Oidc {
    Oidc { issuer: Some(format!("http://{address}")), allow_insecure_loopback: true, ..Oidc::default() }
}

async fn fetched(config: &Oidc) -> Result<FetchedKeySet, String> {
    let keys = PublishedKeys::new(config, config.issuer.as_deref().unwrap()).unwrap();
    keys.fetch().await.map_err(|error| error.to_string())
}

/// Why the keys of a host cannot be had, where its URL is configured.
async fn refusal(host: &Host) -> String {
    let jwks_url = Some(format!("http://{}/keys", host.address));
    fetched(&Oidc { jwks_url, ..config(host.address) }).await.unwrap_err()
}

#[tokio::test]
async fn keys_are_found_by_discovery_with_how_long_they_may_be_kept() {
    let keys = Host::with_body(|_| r#"{"keys":[]}"#.to_owned()).await;
    let url = format!("http://{}/keys", keys.address);
    let issuer = Host::with_body(|own| format!(r#"{{"issuer":"http://{own}","jwks_uri":"{url}"}}"#)).await;
    let answer = fetched(&config(issuer.address)).await.unwrap();
    assert_eq!((answer.json.as_slice(), answer.max_age), (&br#"{"keys":[]}"#[..], Some(Duration::from_mins(2))));
    assert_eq!((issuer.connections(), keys.connections()), (1, 1));
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let inner = Host::with_body(|_| r#"{"keys":[]}"#.to_owned()).await;
    let location = format!("http://{}/", inner.address);
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let answer = format!("HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let host = Host::answering(|_| answer.clone()).await;
        assert!(refusal(&host).await.contains("redirects are not followed"), "{status}");
    }
    assert_eq!(inner.connections(), 0);
}

#[tokio::test]
async fn an_answer_is_bounded_and_whole() {
    let too_large = Host::with_body(|_| "x".repeat(300_000)).await;
    assert!(refusal(&too_large).await.contains("larger than"));
    let endless = Host::answering(|_| "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx".to_owned()).await;
    assert!(refusal(&endless).await.contains("broke off"));
    let failing = Host::answering(|_| "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    assert!(refusal(&failing).await.contains("500"));
    let gibberish = Host::answering(|_| "SSH-2.0-OpenSSH\r\n".to_owned()).await;
    assert!(refusal(&gibberish).await.contains("HTTP failed"));
}

#[tokio::test]
async fn what_discovery_says_is_judged_like_what_is_configured() {
    for (document, complaint) in [
        (r#"{"issuer":"http://elsewhere","jwks_uri":"https://127.0.0.1/"}"#, "another issuer"),
        ("<html>", "not readable"),
        (r#"{"issuer":"ISSUER"}"#, "not readable"),
        (r#"{"issuer":"ISSUER","jwks_uri":"file:///etc/passwd"}"#, "not acceptable"),
        (r#"{"issuer":"ISSUER","jwks_uri":"http://id.example.org/keys"}"#, "not acceptable"),
        (r#"{"issuer":"ISSUER","jwks_uri":"https://user@127.0.0.1/keys"}"#, "not acceptable"),
        (r#"{"issuer":"ISSUER","jwks_uri":"https://169.254.169.254/latest/meta-data"}"#, "no address"),
        (r#"{"issuer":"ISSUER","jwks_uri":"https://10.0.0.1/keys"}"#, "no address"),
        (r#"{"issuer":"ISSUER","jwks_uri":"https://[::ffff:192.168.0.1]/keys"}"#, "no address"),
        (r#"{"issuer":"ISSUER","jwks_uri":"https://[fd00::1]/keys"}"#, "no address"),
    ] {
        let host = Host::with_body(|own| document.replace("ISSUER", &format!("http://{own}"))).await;
        let error = fetched(&config(host.address)).await.unwrap_err();
        assert!(error.contains(complaint), "{document}: {error}");
    }
}

#[tokio::test]
async fn a_name_that_leads_inward_is_not_connected_to() {
    let host = Host::with_body(|_| r#"{"keys":[]}"#.to_owned()).await;
    for name in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
        let jwks_url = Some(format!("https://{name}:{}/keys", host.address.port()));
        let issuer = Some("https://id.example.org".to_owned());
        let error = fetched(&Oidc { issuer, jwks_url, ..Oidc::default() }).await.unwrap_err();
        assert!(error.contains("no address") || error.contains("cannot be reached"), "{name}: {error}");
    }
    assert_eq!(host.connections(), 0);
}

#[test]
fn a_file_of_authorities_that_cannot_be_used_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let complaint = |path: &std::path::Path| {
        let config = Oidc { ca_certificate_file: Some(path.to_owned()), ..Oidc::default() };
        PublishedKeys::new(&config, "https://id.example.org").err().unwrap().to_string()
    };
    assert!(complaint(&path).contains("cannot be read"));
    std::fs::write(&path, "no certificate").unwrap();
    assert!(complaint(&path).contains("no certificate that can be trusted"));
}

#[test]
fn keys_are_asked_for_over_https_or_at_this_machine_where_that_is_allowed() {
    for good in ["https://id.example.org/keys", "https://id.example.org:8443/", "https://127.0.0.1/keys"] {
        assert!(is_acceptable_url(good, false), "{good}");
    }
    for local in ["http://127.0.0.1:8080/keys", "http://localhost/keys", "http://[::1]/keys"] {
        assert!(is_acceptable_url(local, true) && !is_acceptable_url(local, false), "{local}");
    }
    for bad in [
        "",
        "/keys",
        "http://id.example.org/keys",
        "http://localhost.example.org/keys",
        "ftp://id.example.org/keys",
        "file:///etc/passwd",
        "https://user@id.example.org/keys",
        "https://id.example.org/keys#x",
        "https:///keys",
    ] {
        assert!(!is_acceptable_url(bad, true), "{bad}");
    }
}

#[test]
fn a_mapping_ends_with_a_role() {
    assert_eq!(read_mapping("Fleet Admins=admin"), Some(("Fleet Admins".to_owned(), Role::Admin)));
    assert_eq!(read_mapping("cn=fleet,dc=example = auditor"), Some(("cn=fleet,dc=example".to_owned(), Role::Auditor)));
    for bad in ["", "admin", "=admin", "x=root", "x="] {
        assert_eq!(read_mapping(bad), None, "{bad}");
    }
}
