//! How EST is written: base64 bodies without line breaks, envelopes of certificates, and refusals that challenge for basic
//! authentication.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use signalbeam_authn::http::extract::{media_type, read_to_end};
use signalbeam_authn::{ErrorCode, Problem};
use signalbeam_domain::Position;
use signalbeam_pki::enrolment::{BodyError, RequestFacts, decode_body, encode_body};
use signalbeam_pki::{DevicePublicKey, PrivateKeyPem, cms};
use zeroize::Zeroizing;

use crate::certificates::issuance::Issued;
use crate::certificates::refused_csr;
use crate::command::{internal, with_position};

/// The media type of a signing request (RFC 5967).
const PKCS10: &str = "application/pkcs10";
/// The media type of certificates in their envelope (RFC 7030, section 4.1.3).
pub(super) const CERTS_ONLY: &str = "application/pkcs7-mime; smime-type=certs-only";
/// RFC 8951, section 3.1, lets readers ignore it; older ones want to see it.
const CONTENT_TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");
/// Separates the parts of an answer with a key: base64 has no hyphen, so no part can contain it.
const BOUNDARY: &str = "signalbeam-est-part";

/// A refusal. One for lack of credentials asks for HTTP basic authentication (RFC 7030, section 3.2.3).
#[derive(Debug)]
pub(crate) struct Refusal(Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        if let Some(challenge) = response.headers_mut().get_mut(WWW_AUTHENTICATE) {
            *challenge = HeaderValue::from_static("Basic realm=\"signalbeam\", charset=\"UTF-8\"");
        }
        response
    }
}

/// A PKCS#10 request as it came: DER, and nothing of it judged yet.
#[derive(Debug)]
pub(crate) struct SigningRequest(Vec<u8>);

impl SigningRequest {
    /// The key, once the request has proved possession of it.
    pub(crate) fn public_key(&self) -> Result<DevicePublicKey, Problem> {
        DevicePublicKey::from_csr_der(&self.0).map_err(|error| refused_csr(&error))
    }

    /// What else it says.
    pub(crate) fn facts(&self) -> Result<RequestFacts, Problem> {
        RequestFacts::from_csr_der(&self.0).map_err(|error| refused_csr(&error))
    }
}

impl<S: Send + Sync> FromRequest<S> for SigningRequest {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if media_type(request.headers()).as_deref() != Some(PKCS10) {
            let detail = format!("send a PKCS#10 request in base64, as {PKCS10}");
            return Err(Problem::new(ErrorCode::UnsupportedMediaType, detail));
        }
        let body = read_to_end(request, state).await?;
        decode_body(&body).map(Self).map_err(|error| match error {
            BodyError::TooLarge => Problem::new(ErrorCode::BodyTooLarge, error.to_string()),
            BodyError::Empty | BodyError::Armoured | BodyError::Base64 => Problem::invalid("", error.to_string()),
        })
    }
}

/// What anybody may read, and keep for a while.
pub(super) fn public(content_type: &'static str, der: &[u8]) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CONTENT_TRANSFER_ENCODING, HeaderValue::from_static("base64")),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
    ];
    (headers, encode_body(der)).into_response()
}

/// The certificate that was asked for, alone in its envelope (RFC 7030, section 4.2.3).
pub(super) fn certificate(issued: &Issued) -> Result<Response, Problem> {
    let envelope = encoded_envelope(issued)?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(CERTS_ONLY)),
        (CONTENT_TRANSFER_ENCODING, HeaderValue::from_static("base64")),
    ];
    Ok(with_position((headers, envelope).into_response(), issued.position))
}

/// A key that was made here and its certificate, in two parts (RFC 7030, section 4.4.2). The key is wiped from memory when
/// the answer is gone.
pub(super) fn key_and_certificate(key: &PrivateKeyPem, issued: &Issued) -> Result<Response, Problem> {
    let (key, envelope) = (key.expose_base64(), encoded_envelope(issued)?);
    // Large enough from the start: a string that grows leaves copies behind that nobody wipes.
    let mut text = Zeroizing::new(String::with_capacity(key.len() + envelope.len() + 1024));
    for (content_type, body) in [("application/pkcs8", key.as_str()), (CERTS_ONLY, &envelope)] {
        text.extend(["--", BOUNDARY, "\r\nContent-Type: ", content_type]);
        text.extend(["\r\nContent-Transfer-Encoding: base64\r\n\r\n", body, "\r\n"]);
    }
    text.extend(["--", BOUNDARY, "--\r\n"]);
    let content_type = format!("multipart/mixed; boundary={BOUNDARY}");
    let body = Body::from(Bytes::from_owner(text));
    Ok(with_position(([(CONTENT_TYPE, content_type)], body).into_response(), issued.position))
}

fn encoded_envelope(issued: &Issued) -> Result<String, Problem> {
    let envelope = cms::certs_only_of_pem(&issued.certificate.certificate_pem);
    Ok(encode_body(&envelope.map_err(|error| internal(&error))?))
}

/// An admin has not decided yet: the same request again, after a while (RFC 7030, section 4.2.3).
pub(super) fn come_again(retry_after_seconds: u32, position: Position) -> Response {
    let headers = [(RETRY_AFTER, HeaderValue::from(retry_after_seconds))];
    let text = "the device waits for an admin's approval; send the same request again after a while\n";
    with_position((StatusCode::ACCEPTED, headers, text).into_response(), position)
}
