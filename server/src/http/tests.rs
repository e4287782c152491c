//! What callers get where something goes wrong around the routes.

use std::convert::Infallible;

use axum::body::{Bytes, to_bytes};
use axum::http::header::HOST;
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::*;

fn app() -> Router {
    let routes = Router::new()
        .route("/echo", post(async |body: Bytes| body))
        .route("/number/{n}", get(async |axum::extract::Path(n): axum::extract::Path<u8>| n.to_string()))
        .route("/panic", get(async || -> String { panic!("s3cret") }))
        .route("/stuck", get(async || std::future::pending::<()>().await));
    let limits = RequestLimits {
        request_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(100),
        max_body_bytes: 8,
    };
    around(routes, TrustedProxies::default(), limits, Arc::new(Shedding::new(16, 16, Arc::default())))
}

async fn refused(request: axum::http::Request<Body>) -> (u16, Value) {
    let response = app().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    let named = response.headers()["x-correlation-id"].to_str().unwrap().to_owned();
    let body: Value = serde_json::from_slice(&to_bytes(response.into_body(), 10_000).await.unwrap()).unwrap();
    assert_eq!(body["correlationId"], named.as_str());
    assert_eq!(body["status"], status);
    (status, body)
}

fn request(method: &str, path: &str, body: impl Into<Body>) -> axum::http::Request<Body> {
    axum::http::Request::builder().method(method).uri(path).header(HOST, "x").body(body.into()).unwrap()
}

#[tokio::test]
async fn every_failure_is_a_problem_with_its_code() {
    for (method, path, status, code) in [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("GET", "/echo", 405, "METHOD_NOT_ALLOWED"),
        ("BREW", "/echo", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/number/many", 400, "INVALID_REQUEST"),
        ("GET", "/panic", 500, "INTERNAL_ERROR"),
        ("GET", "/stuck", 408, "REQUEST_TIMEOUT"),
    ] {
        let (answered, body) = refused(request(method, path, "")).await;
        assert_eq!((answered, body["code"].as_str().unwrap()), (status, code), "{method} {path}");
        assert!(!body.to_string().contains("s3cret"));
    }
}

#[tokio::test]
async fn a_request_that_names_no_host_or_two_is_refused() {
    let mut nowhere = request("POST", "/echo", "");
    nowhere.headers_mut().remove(HOST);
    let mut both = request("POST", "/echo", "");
    both.headers_mut().append(HOST, "y".parse().unwrap());
    for request in [nowhere, both] {
        let (status, body) = refused(request).await;
        assert_eq!((status, body["code"].as_str().unwrap()), (400, "INVALID_REQUEST"));
        assert_eq!(body["errors"][0]["pointer"], "/header/Host");
    }
}

#[tokio::test]
async fn a_body_is_bounded_whether_its_length_is_declared_or_not() {
    let declared = axum::http::Request::post("/echo")
        .header(HOST, "x")
        .header(CONTENT_LENGTH, "9")
        .body(Body::from("123456789"))
        .unwrap();
    assert_eq!(refused(declared).await.1["code"], "BODY_TOO_LARGE");
    let pieces = stream::iter(["12345", "6789"].map(Ok::<_, Infallible>));
    assert_eq!(refused(request("POST", "/echo", Body::from_stream(pieces))).await.1["code"], "BODY_TOO_LARGE");
    let fitting = app().oneshot(request("POST", "/echo", "12345678")).await.unwrap();
    assert_eq!(to_bytes(fitting.into_body(), 100).await.unwrap(), "12345678");
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let endless = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let (status, body) = refused(request("POST", "/echo", endless)).await;
    assert_eq!(status, 408);
    assert!(body["detail"].as_str().unwrap().starts_with("the body"), "{body}");
}

#[tokio::test]
async fn what_nobody_reads_of_a_body_is_taken_off_the_wire() {
    for (path, declared) in [("/echo", Some("200000")), ("/echo", None), ("/nowhere", None)] {
        let (read, all_read) = oneshot::channel();
        let mut read = Some(read);
        let pieces = stream::iter(1..=20).map(move |number| {
            if number == 20 {
                read.take().unwrap().send(()).unwrap();
            }
            Ok::<_, Infallible>("x".repeat(10_000))
        });
        let mut request = request("POST", path, Body::from_stream(pieces));
        if let Some(declared) = declared {
            request.headers_mut().insert(CONTENT_LENGTH, declared.parse().unwrap());
        }
        refused(request).await;
        let read = timeout(Duration::from_secs(20), all_read).await;
        assert!(matches!(read, Ok(Ok(()))), "{path} {declared:?}");
    }
}
