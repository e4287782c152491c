//! Requests made by hand, and answers taken apart by hand: neither with the code that they test.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use axum::middleware::from_fn_with_state;
use rcgen::PublicKeyData as _;
use ring::digest;
use signalbeam_authn::Connection;
use signalbeam_authn::client_address::TrustedProxies;
use signalbeam_authn::http::context::provide_request_context;
use signalbeam_command_api::{OcspParts, OcspResponder, OcspSettings, ocsp_routes};
use signalbeam_domain::authority::{AuthorityEvent, ServiceCertificateIntended, ServicePurpose};
use signalbeam_domain::{Event, SerialNumber, StreamId};
use signalbeam_event_store::{MemoryAuditLog, OcspAnswerRecorder};
use signalbeam_pki::{Authorities, CertificateAuthority};
use signalbeam_projections::{Freshness, ReadModel};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::world::World;

/// A responder in a world.
pub(crate) struct Responder {
    pub(crate) router: Router,
    pub(crate) answers: Arc<OcspAnswerRecorder>,
    pub(crate) log: Arc<MemoryAuditLog>,
    /// The hashes of the authority's name and key.
    issuer: [Vec<u8>; 2],
}

impl Responder {
    /// For the world's authority, which the log comes to know by it.
    pub(crate) fn of(world: &World) -> Self {
        let log = Arc::new(MemoryAuditLog::new());
        let answers = Arc::new(OcspAnswerRecorder::new(log.clone()));
        let responder = OcspResponder::new(OcspParts {
            authorities: Authorities::of_one(world.authority.clone()).unwrap(),
            store: world.store.clone(),
            index: world.index.clone(),
            read_model: ReadModel::new(world.projector.tables().clone()),
            freshness: Freshness::new(world.projector.clone()),
            authenticator: world.authenticator.clone(),
            limits: world.limits.clone(),
            answers: answers.clone(),
            clock: world.clock.clone(),
            settings: OcspSettings::default(),
        });
        let (bare, _) = ocsp_routes(responder).split_for_parts();
        let proxies = Arc::new(TrustedProxies::default());
        let router = bare.layer(from_fn_with_state(proxies, provide_request_context));
        Self { router, answers, log, issuer: issuer(&world.authority) }
    }

    pub(crate) async fn post(&self, asked: &Asked) -> Answered {
        self.post_as("application/ocsp-request", asked.der.clone()).await
    }

    pub(crate) async fn post_as(&self, content_type: &str, body: Vec<u8>) -> Answered {
        let request = Request::post("/ocsp").header("content-type", content_type).body(Body::from(body));
        self.send(request.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str, tag: Option<&str>) -> Answered {
        let mut request = Request::get(path);
        if let Some(tag) = tag {
            request = request.header("if-none-match", tag);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn send(&self, mut request: Request<Body>) -> Answered {
        let peer: SocketAddr = "198.51.100.7:4711".parse().unwrap();
        request.extensions_mut().insert(Arc::new(Connection::plain(peer)));
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answered { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// The certificates that were recorded for signing answers.
    pub(crate) async fn signers(&self, world: &World) -> Vec<SerialNumber> {
        let events = world.events(&StreamId::certificate_authority(world.authority.id())).await;
        let intended = events.into_iter().filter_map(|event| match event {
            Event::AuthorityEvent(AuthorityEvent::ServiceCertificateIntended(ServiceCertificateIntended {
                purpose: ServicePurpose::OcspSigner,
                serial_number,
                ..
            })) => Some(serial_number),
            _ => None,
        });
        intended.collect()
    }
}

fn issuer(authority: &CertificateAuthority) -> [Vec<u8>; 2] {
    [authority.subject_der(), authority.public_key().der_bytes()]
        .map(|octets| digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, octets).as_ref().to_vec())
}

/// One DER element.
pub(crate) fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).unwrap();
    let mut der = vec![tag];
    match length {
        0..128 => der.push(u8::try_from(length).unwrap()),
        128..256 => der.extend([0x81, u8::try_from(length).unwrap()]),
        _ => {
            der.push(0x82);
            der.extend(length.to_be_bytes());
        }
    }
    der.extend(contents);
    der
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The certificates in it.
    ids: Vec<Vec<u8>>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) der: Vec<u8>,
}

impl Asked {
    pub(crate) fn about(responder: &Responder, serial: SerialNumber) -> Self {
        Self::about_octets(responder, serial.as_octets())
    }

    pub(crate) fn about_octets(responder: &Responder, serial: &[u8]) -> Self {
        Self::of(vec![cert_id(&responder.issuer, serial)], None)
    }

    /// About a certificate of somebody else with this number.
    pub(crate) fn foreign(serial: SerialNumber) -> Self {
        Self::of(vec![cert_id(&[vec![1; 20], vec![2; 20]], serial.as_octets())], None)
    }

    /// About all their certificates.
    pub(crate) fn together(several: &[Self]) -> Self {
        Self::of(several.iter().flat_map(|asked| asked.ids.clone()).collect(), None)
    }

    pub(crate) fn with_nonce(&self) -> Self {
        Self::of(self.ids.clone(), Some(Uuid::now_v7().as_bytes().to_vec()))
    }

    fn of(ids: Vec<Vec<u8>>, nonce: Option<Vec<u8>>) -> Self {
        let list: Vec<u8> = ids.iter().flat_map(|id| tlv(0x30, id)).collect();
        let extensions = nonce.as_ref().map_or_else(Vec::new, |nonce| tlv(0xa2, &tlv(0x30, &nonce_extension(nonce))));
        let der = tlv(0x30, &tlv(0x30, &[tlv(0x30, &list), extensions].concat()));
        Self { ids, nonce, der }
    }
}

fn nonce_extension(nonce: &[u8]) -> Vec<u8> {
    let oid = tlv(6, &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2]);
    tlv(0x30, &[oid, tlv(4, &tlv(4, nonce))].concat())
}

fn cert_id([name, key]: &[Vec<u8>; 2], serial: &[u8]) -> Vec<u8> {
    let algorithm = tlv(0x30, &[tlv(6, &[0x2b, 0x0e, 3, 2, 0x1a]), tlv(5, &[])].concat());
    tlv(0x30, &[algorithm, tlv(4, name), tlv(4, key), tlv(2, serial)].concat())
}

/// What is said of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Good,
    Revoked { reason: Option<u8> },
    Unknown,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answered {
    /// What it says of each certificate that was asked about; the nonce must be the request's.
    #[track_caller]
    pub(crate) fn says(&self, asked: &Asked) -> Vec<Said> {
        assert_eq!((self.status, self.failure()), (200, None), "{:?}", self.body);
        assert_eq!(self.headers["content-type"], "application/ocsp-response");
        asked.ids.iter().map(|id| self.said_of(id)).collect()
    }

    fn said_of(&self, id: &[u8]) -> Said {
        let at = self.body.windows(id.len()).position(|octets| octets == id).expect("the certificate is in the answer");
        match &self.body[at + id.len()..] {
            [0x80, 0, ..] => Said::Good,
            [0x82, 0, ..] => Said::Unknown,
            // The moment has 15 characters; a reason is five octets more.
            [0xa1, 17, 0x18, 15, ..] => Said::Revoked { reason: None },
            [0xa1, 22, rest @ ..] => Said::Revoked { reason: Some(rest[21]) },
            other => panic!("{:x?}", &other[..30]),
        }
    }

    /// The number of the failure, where it is one.
    pub(crate) fn failure(&self) -> Option<u8> {
        match self.body[..] {
            [0x30, 3, 0x0a, 1, number] => Some(number),
            _ => None,
        }
    }

    pub(crate) fn has_nonce(&self, nonce: &[u8]) -> bool {
        let extension = nonce_extension(nonce);
        self.body.windows(extension.len()).any(|octets| octets == extension)
    }

    pub(crate) fn position(&self) -> u64 {
        self.headers["x-event-position"].to_str().unwrap().parse().unwrap()
    }
}
