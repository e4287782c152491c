//! Revocation lists: published from the log, one content for each number, served to anybody who asks.

mod answers;
mod publishing;
mod races;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use signalbeam_authn::Role;
use signalbeam_command_api::{CommandApi, CrlError, CrlPolicy, CrlPublisher, pki_router};
use signalbeam_domain::authority::{AuthorityEvent, CrlPublished};
use signalbeam_domain::{Actor, CorrelationId, Event, StreamId};
use signalbeam_event_store::{Batch, CommandMetadata, EventStore as _, ExpectedVersion, StreamWrite, new_events};
use tower::ServiceExt as _;
use uuid::Uuid;
use x509_parser::prelude::{CertificateRevocationList, FromDer, ParsedExtension};

use crate::world::fleet::DeviceCertificate;
use crate::world::{PATIENCE, World};

/// What a list says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct List {
    number: u64,
    base: Option<u64>,
    this_update: i64,
    next_update: i64,
    /// Serial numbers with their reason codes, in the list's order.
    entries: Vec<(String, Option<u8>)>,
}

impl List {
    fn read(der: &[u8]) -> Self {
        let (rest, list) = CertificateRevocationList::from_der(der).unwrap();
        assert!(rest.is_empty());
        let base = list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            // An INTEGER, which the parser leaves to its reader.
            _ if extension.oid.to_id_string() == "2.5.29.27" => {
                Some(extension.value[2..].iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
            }
            _ => None,
        });
        let number = list.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::CRLNumber(number) => number.to_u64_digits().first().copied(),
            _ => None,
        });
        let entry = |revoked: &x509_parser::revocation_list::RevokedCertificate<'_>| {
            let serial: String =
                revoked.raw_serial().iter().fold(String::new(), |text, octet| text + &format!("{octet:02x}"));
            (serial, revoked.reason_code().map(|(_, reason)| reason.0))
        };
        Self {
            number: number.unwrap(),
            base,
            this_update: list.last_update().timestamp(),
            next_update: list.next_update().unwrap().timestamp(),
            entries: list.iter_revoked_certificates().map(entry).collect(),
        }
    }
}

/// Appends to the authority's stream.
async fn append(world: &World, events: Vec<AuthorityEvent>) {
    let metadata = CommandMetadata {
        actor: Actor::system("tests"),
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        causation_id: None,
        idempotency: None,
    };
    let write = StreamWrite {
        stream: StreamId::certificate_authority(world.authority.id()),
        expected: ExpectedVersion::Any,
        events: new_events(None, events),
    };
    world.store.append(Batch { metadata, writes: vec![write] }).await.unwrap();
}

fn publisher(api: &CommandApi) -> CrlPublisher {
    CrlPublisher::new(api.clone(), CrlPolicy::default())
}

/// What was published so far, as the log has it.
async fn published(world: &World) -> Vec<CrlPublished> {
    let events = world.events(&StreamId::certificate_authority(world.authority.id())).await;
    let published = events.into_iter().filter_map(|event| match event {
        Event::AuthorityEvent(AuthorityEvent::CrlPublished(published)) => Some(published),
        _ => None,
    });
    published.collect()
}

/// Looks once, after the tables have come to the head.
async fn round(world: &World, publisher: &CrlPublisher) -> Result<(), CrlError> {
    world.assert_projections_follow().await;
    publisher.round().await.map(drop)
}

struct Fetched {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

async fn send(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Fetched {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    Fetched { status: parts.status, headers: parts.headers, body: to_bytes(body, usize::MAX).await.unwrap() }
}

async fn get(api: &CommandApi, path: &str) -> Fetched {
    send(&pki_router(api.clone()), "GET", path, &[]).await
}

/// The complete list and the delta that a node serves.
async fn served(api: &CommandApi) -> (List, List) {
    let complete = get(api, "/api/certificates/crl").await;
    let delta = get(api, "/api/certificates/crl/delta").await;
    assert_eq!((complete.status, delta.status), (StatusCode::OK, StatusCode::OK));
    (List::read(&complete.body), List::read(&delta.body))
}

async fn revoke(world: &World, certificate: &DeviceCertificate) {
    world.delete(certificate.route()).admin(Role::Admin).send().await.expect(204);
    world.projector.wait_for(world.nodes[0].freshness.last_appended(), PATIENCE).await.unwrap();
}
