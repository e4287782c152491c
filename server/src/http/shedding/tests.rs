//! One too many is sent away at once, and what is costly takes nobody else's room.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use signalbeam_authn::Connection;
use signalbeam_authn::limits::LimitSettings;
use signalbeam_authn::limits::quota::Quota;
use signalbeam_authn::limits::tenants::TenantPolicy;
use signalbeam_domain::CorrelationId;
use tokio::sync::{Semaphore, mpsc};
use tower::ServiceExt as _;

use super::*;

const HEARTBEAT: &str = "/api/devices/{id}/heartbeat";
const CLAIM: &str = "/api/devices/{id}/api-key/claim";

/// Routes whose handlers say that they run, and end when they are let go.
struct Held {
    router: Router,
    shedding: Arc<Shedding>,
    running: mpsc::Receiver<()>,
    go: Arc<Semaphore>,
}

fn held(ordinary: usize, costly: usize) -> Held {
    let (tell, running) = mpsc::channel(100);
    let go = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go);
    let handler = async move || {
        tell.send(()).await.unwrap();
        gate.acquire().await.unwrap().forget();
    };
    let shedding = Arc::new(Shedding::new(ordinary, costly, Arc::default()));
    let router = Router::new()
        .route(HEARTBEAT, post(handler.clone()))
        .route(CLAIM, post(handler))
        .layer(from_fn_with_state(Arc::clone(&shedding), shed));
    Held { router, shedding, running, go }
}

impl Held {
    fn send(&self, path: &str, body: Body) -> tokio::task::JoinHandle<Response> {
        let request = Request::post(path.replace("{id}", "1")).body(body).unwrap();
        let router = self.router.clone();
        tokio::spawn(async move { router.oneshot(request).await.unwrap() })
    }

    async fn retry_after(&self, path: &str) -> u64 {
        let response = self.send(path, Body::empty()).await.unwrap();
        assert_eq!(response.status(), 503);
        response.headers()["retry-after"].to_str().unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn one_too_many_is_sent_away_and_the_other_class_goes_on() {
    let mut held = held(2, 1);
    let claim = held.send(CLAIM, Body::empty());
    held.running.recv().await.unwrap();
    let waits = [held.retry_after(CLAIM).await, held.retry_after(CLAIM).await];
    assert_ne!(waits[0], waits[1], "they do not come back together");
    let beats = [held.send(HEARTBEAT, Body::empty()), held.send(HEARTBEAT, Body::empty())];
    held.running.recv().await.unwrap();
    held.running.recv().await.unwrap();
    held.retry_after(HEARTBEAT).await;
    held.shedding.set(3, 1);
    let another = held.send(HEARTBEAT, Body::empty());
    held.running.recv().await.unwrap();
    held.go.add_permits(4);
    for answering in beats.into_iter().chain([claim, another]) {
        assert_eq!(answering.await.unwrap().status(), 200);
    }
    held.go.add_permits(1);
    assert_eq!(held.send(CLAIM, Body::empty()).await.unwrap().status(), 200, "and there is room again");
}

#[tokio::test]
async fn who_sends_a_body_slowly_takes_no_room_up() {
    let mut held = held(1, 1);
    let never = futures_util::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
    let slow = held.send(CLAIM, Body::from_stream(never));
    let quick = held.send(CLAIM, Body::empty());
    held.running.recv().await.unwrap();
    held.go.add_permits(1);
    assert_eq!(quick.await.unwrap().status(), 200);
    slow.abort();
}

#[tokio::test]
async fn requests_without_a_credential_have_a_rate_where_one_is_set() {
    let public_requests = Some(Quota::per_minute(1, 1));
    let settings = LimitSettings { public_requests, ..LimitSettings::default() };
    let limits = Arc::new(Limits::new(Some(settings), TenantPolicy::default()));
    let shedding = Arc::new(Shedding::new(4, 4, limits));
    let router = Router::new()
        .route("/api/certificates/ca", post(async || ()))
        .route(HEARTBEAT, post(async || ()))
        .layer(from_fn_with_state(shedding, shed));
    let send = async |path: &str, address: &str| {
        let context = RequestContext {
            correlation_id: CorrelationId::parse("c").unwrap(),
            client_address: address.parse().unwrap(),
            user_agent: None,
            connection: Arc::new(Connection::plain("127.0.0.1:1".parse().unwrap())),
        };
        let mut request = Request::post(path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Arc::new(context));
        router.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    assert_eq!(send("/api/certificates/ca", "192.0.2.1").await, 200);
    assert_eq!(send("/api/certificates/ca", "192.0.2.1").await, 429);
    assert_eq!(send("/api/certificates/ca", "192.0.2.2").await, 200);
    assert_eq!(send("/api/devices/1/heartbeat", "192.0.2.1").await, 200, "what needs a credential has other limits");
}

#[tokio::test]
async fn who_goes_away_in_the_middle_leaves_room() {
    let mut held = held(1, 1);
    let gone = held.send(HEARTBEAT, Body::empty());
    held.running.recv().await.unwrap();
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    held.go.add_permits(1);
    assert_eq!(held.send(HEARTBEAT, Body::empty()).await.unwrap().status(), 200);
}
