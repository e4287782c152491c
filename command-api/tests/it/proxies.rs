//! Client certificates that a TLS-terminating proxy hands on: worth as much as those of a handshake, from trusted proxies
//! alone, and the proxy's own certificate is worth nothing.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use signalbeam_authn::client_address::TrustedProxies;
use signalbeam_authn::forwarded_certificate::ClientCertificateHeader::{self, ClientCert, XForwardedClientCert};
use signalbeam_authn::{ApiKeyFallback, AuthenticationPolicy, Connection, ErrorCode, Role};

use crate::world::call::{Answer, Call};
use crate::world::fleet::{DeviceCertificate, TestDevice};
use crate::world::{TENANT_A, TENANT_B, World};

const HEADERS: [ClientCertificateHeader; 2] = [XForwardedClientCert, ClientCert];
const PROXY: &str = "10.0.0.1:4711";
const STRANGER: &str = "198.51.100.7:4711";

fn proxies() -> TrustedProxies {
    TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()])
}

async fn world_with(header: ClientCertificateHeader, policy: AuthenticationPolicy) -> World {
    let mut world = World::with(policy).await;
    world.trust(proxies().with_client_certificate_header(header));
    world
}

async fn world(header: ClientCertificateHeader) -> World {
    world_with(header, AuthenticationPolicy::default()).await
}

fn connection(peer: &str, chain: &[&[u8]]) -> Arc<Connection> {
    let chain = chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    Arc::new(Connection::with_certificates(peer.parse().unwrap(), chain))
}

/// What a proxy writes about a client with this certificate.
fn written(header: ClientCertificateHeader, der: &[u8]) -> (&'static str, String) {
    let base64 = STANDARD.encode(der);
    match header {
        XForwardedClientCert => {
            let pem = format!("-----BEGIN CERTIFICATE-----%0A{base64}%0A-----END CERTIFICATE-----%0A");
            ("x-forwarded-client-cert", format!("Cert=\"{}\"", pem.replace('+', "%2B")))
        }
        ClientCert => ("client-cert", format!(":{base64}:")),
    }
}

fn forwards<'a>(call: Call<'a>, header: ClientCertificateHeader, certificate: &DeviceCertificate) -> Call<'a> {
    let (name, value) = written(header, &certificate.der);
    call.header(name, value)
}

fn beat<'a>(world: &'a World, device: &TestDevice, on: &Arc<Connection>) -> Call<'a> {
    world.post(device.route("heartbeat")).on(on)
}

#[tokio::test]
async fn each_request_through_a_proxy_is_its_own_clients() {
    for header in HEADERS {
        let world = world(header).await;
        let (one, ones) = world.device_with_certificate(TENANT_A).await;
        let (other, others) = world.device_with_certificate(TENANT_B).await;
        let shared = connection(PROXY, &[]);
        for _ in 0..3 {
            forwards(beat(&world, &one, &shared), header, &ones).send().await.expect(200);
            forwards(beat(&world, &other, &shared), header, &others).send().await.expect(200);
            forwards(beat(&world, &one, &shared), header, &others).send().await.problem(ErrorCode::NotFound);
            beat(&world, &one, &shared).send().await.problem(ErrorCode::AuthenticationRequired);
        }
        let attempts = world.attempts().await;
        let last = attempts.iter().rev().find(|attempt| attempt.success).unwrap();
        assert_eq!((last.method.as_str(), last.device_id), ("Certificate", Some(other.device_id())));
        assert_eq!(last.ip_address.to_string(), "10.0.0.1");
    }
}

#[tokio::test]
async fn everything_that_holds_for_a_handshakes_certificate_holds_for_a_forwarded_one() {
    for header in HEADERS {
        let world = world(header).await;
        let (device, certificate) = world.device_with_certificate(TENANT_A).await;
        let proxy = connection(PROXY, &[]);
        let send = || forwards(beat(&world, &device, &proxy), header, &certificate).send();
        send().await.expect(200);
        world.decide(&device, "suspend").await.expect(200);
        send().await.problem(ErrorCode::DeviceNotApproved);
        world.decide(&device, "reinstate").await.expect(200);
        send().await.expect(200);
        world.clock.advance_days(-2);
        send().await.problem(ErrorCode::CertificateNotYetValid);
        world.clock.advance_days(2 + 91);
        send().await.problem(ErrorCode::CertificateExpired);
        world.clock.advance_days(-91);
        send().await.expect(200);
        world.delete(certificate.route()).admin(Role::Admin).send().await.expect(204);
        send().await.problem(ErrorCode::CertificateRevoked);

        let key = KeyPair::generate().unwrap();
        let foreign = CertificateParams::default().self_signed(&key).unwrap();
        let (name, value) = written(header, foreign.der());
        beat(&world, &device, &proxy).header(name, value).send().await.problem(ErrorCode::InvalidCertificateChain);
    }
}

#[tokio::test]
async fn a_lost_renewal_is_repeated_through_a_proxy_too() {
    let world = world(XForwardedClientCert).await;
    let (_, certificate) = world.device_with_certificate(TENANT_A).await;
    world.clock.advance_days(70);
    let csr = crate::world::fleet::csr();
    let proxy = connection(PROXY, &[]);
    let renew = || {
        let call = world.post(certificate.renew_route()).on(&proxy).json(&json!({"csrPem": csr}));
        forwards(call, XForwardedClientCert, &certificate).send()
    };
    let first = renew().await.expect(201);
    assert_eq!(renew().await.expect(200)["serialNumber"], first["serialNumber"]);
}

#[tokio::test]
async fn from_anybody_else_the_header_does_not_exist() {
    for header in HEADERS {
        let world = world(header).await;
        let (device, certificate) = world.device_with_certificate(TENANT_A).await;
        let stranger = connection(STRANGER, &[]);
        let forged = || forwards(beat(&world, &device, &stranger), header, &certificate);
        let (answer, attempts) = world.attempts_during(forged().send()).await;
        answer.problem(ErrorCode::AuthenticationRequired);
        assert_eq!(attempts, [], "not even an attempt");
        forged().api_key(&device.api_key).send().await.expect(200);
        let (name, _) = written(header, &certificate.der);
        let nonsense = || beat(&world, &device, &stranger).header(name, "nonsense");
        nonsense().send().await.problem(ErrorCode::AuthenticationRequired);
        let direct = connection(STRANGER, &[&certificate.der]);
        beat(&world, &device, &direct).header(name, "nonsense").send().await.expect(200);
    }
}

#[tokio::test]
async fn a_proxys_own_certificate_is_no_devices() {
    for header in HEADERS {
        let mut world = world(header).await;
        let (device, certificate) = world.device_with_certificate(TENANT_A).await;
        let (other, others) = world.device_with_certificate(TENANT_A).await;
        let proxy = connection(PROXY, &[&certificate.der]);
        beat(&world, &device, &proxy).send().await.problem(ErrorCode::AuthenticationRequired);
        forwards(beat(&world, &other, &proxy), header, &others).send().await.expect(200);
        forwards(beat(&world, &device, &proxy), header, &others).send().await.problem(ErrorCode::NotFound);

        // Without the mode the header is nothing, and the handshake is what counts.
        world.trust(proxies());
        beat(&world, &device, &proxy).send().await.expect(200);
        forwards(beat(&world, &other, &proxy), header, &others).send().await.problem(ErrorCode::NotFound);
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_read_is_a_certificate_that_is_refused() {
    for header in HEADERS {
        for fallback in [ApiKeyFallback::Always, ApiKeyFallback::Never] {
            let policy = AuthenticationPolicy { api_key_fallback: fallback, ..AuthenticationPolicy::default() };
            let world = world_with(header, policy).await;
            let device = world.approved_device(TENANT_A).await;
            let (name, _) = written(header, b"");
            let proxy = connection(PROXY, &[]);
            for bad in [&b"nonsense"[..], b"Hash=00", b"\xff", b":AAAA:", b"Cert=\"%2D\""] {
                let call = || beat(&world, &device, &proxy).header(name, bad);
                let (answer, attempts) = world.attempts_during(call().send()).await;
                answer.problem(ErrorCode::InvalidCertificateChain);
                assert_eq!(attempts, [("Certificate".to_owned(), "INVALID_CERTIFICATE_CHAIN".to_owned())]);
                let with_key = call().device(&device).send().await;
                match fallback {
                    ApiKeyFallback::Never => drop(with_key.problem(ErrorCode::InvalidCertificateChain)),
                    _ => drop(with_key.expect(200)),
                }
            }
            // What proxies write who have a template and no certificate.
            beat(&world, &device, &proxy).header(name, "").device(&device).send().await.expect(200);
        }
    }
}

#[tokio::test]
async fn without_mtls_nothing_is_taken_from_headers() {
    let policy = AuthenticationPolicy { mtls_enabled: false, ..AuthenticationPolicy::default() };
    let world = world_with(ClientCert, policy).await;
    let (device, certificate) = world.device_with_certificate(TENANT_A).await;
    let call = || forwards(beat(&world, &device, &connection(PROXY, &[])), ClientCert, &certificate);
    call().send().await.problem(ErrorCode::AuthenticationRequired);
    call().device(&device).send().await.expect(200);
}

#[tokio::test]
async fn no_header_says_who_somebody_is_not_even_a_trusted_proxys() {
    const CLAIMS: [(&str, &str); 14] = [
        ("x-ssl-client-verify", "SUCCESS"),
        ("x-ssl-client-s-dn", "CN=device"),
        ("x-ssl-client-serial", "01"),
        ("x-ssl-cert", "cert"),
        ("ssl-client-cert", "cert"),
        ("x-client-cert", "cert"),
        ("x-forwarded-tls-client-cert", "cert"),
        ("x-user-id", "admin"),
        ("x-tenant-id", TENANT_A),
        ("x-device-id", "device"),
        ("x-role", "admin"),
        ("x-forwarded-user", "admin"),
        ("x-remote-user", "admin"),
        ("x-original-url", "/api/certificates/ca"),
    ];
    async fn claiming(call: Call<'_>) -> Answer {
        CLAIMS.iter().fold(call, |call, (name, value)| call.header(name, value)).send().await
    }
    let world = world(XForwardedClientCert).await;
    let device = world.approved_device(TENANT_A).await;
    for peer in [PROXY, STRANGER] {
        let on = connection(peer, &[]);
        claiming(beat(&world, &device, &on)).await.problem(ErrorCode::AuthenticationRequired);
        let token = || world.post("/api/registration-tokens").on(&on).json(&json!({"tenantId": TENANT_A}));
        claiming(token()).await.problem(ErrorCode::AuthenticationRequired);
        claiming(token().admin_of(Role::Admin, TENANT_B)).await.problem(ErrorCode::Forbidden);
        claiming(token().admin(Role::Auditor)).await.problem(ErrorCode::Forbidden);
        let other = world.approved_device(TENANT_B).await;
        claiming(beat(&world, &device, &on).device(&other)).await.problem(ErrorCode::NotFound);
    }
}
