//! What an extractor holds of a secret does not print.

use axum::body::Body;
use axum::extract::{FromRequest as _, FromRequestParts as _};
use axum::http::Request;
use serde::Deserialize;
use signalbeam_authn::draw;
use signalbeam_authn::extractors::PresentedClaim;
use signalbeam_authn::http::extract::JsonBody;

/// A request whose own type keeps its secret to itself.
#[derive(Debug, Deserialize)]
struct Kept {
    #[serde(rename = "token")]
    _token: (),
}

#[tokio::test]
async fn a_presented_claim_secret_does_not_print() {
    let secret = draw::claim_secret().unwrap().expose();
    let request = Request::get("/").header("authorization", format!("Bearer {secret}")).body(()).unwrap();
    let claim = PresentedClaim::from_request_parts(&mut request.into_parts().0, &()).await.unwrap();
    assert_eq!(claim.0.as_ref().map(|text| text.as_str()), Some(secret.as_str()));
    assert_eq!(format!("{claim:?}"), "PresentedClaim([redacted])");
}

#[tokio::test]
async fn a_body_s_bytes_do_not_print() {
    let request = Request::post("/").body(Body::from(r#"{"token": null, "other": "sbt_secret"}"#)).unwrap();
    let body = JsonBody::<Kept>::from_request(request, &()).await.unwrap();
    assert!(body.bytes.windows(10).any(|window| window == b"sbt_secret"));
    let printed = format!("{body:?}");
    assert!(printed.contains("Kept") && !printed.contains("sbt_secret"), "{printed}");
}
