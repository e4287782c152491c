//! Load shedding: so many requests are answered at a time, and one too many is told at once to come back, instead of
//! waiting in a queue that grows. What is costly has a bound of its own, so that heartbeats do not starve behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use signalbeam_authn::limits::Limits;
use signalbeam_authn::{ErrorCode, Problem, RequestContext};

use crate::metrics::REQUESTS_SHED;

/// The longest that anybody is told to stay away, in seconds.
const LONGEST_WAIT_SECONDS: usize = 5;

/// What requests cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Answered in some milliseconds.
    Ordinary,
    /// Hashes a secret, or makes keys or certificates.
    Costly,
}

impl Class {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Costly => "costly",
        }
    }
}

/// The classes as metrics name them.
pub const CLASSES: &[&str] = &[Class::Ordinary.as_str(), Class::Costly.as_str()];

/// What a route means for this.
#[derive(Debug, Clone, Copy)]
struct Route {
    class: Class,
    /// Whether it needs no credential.
    is_public: bool,
}

impl Route {
    fn of(method: &Method, path: Option<&str>) -> Self {
        let is_post = *method == Method::POST;
        let class = match path {
            Some("/api/registration-tokens" | "/api/devices/{id}/rotate-api-key") if is_post => Class::Costly,
            Some(
                "/api/certificates/{deviceId}/issue"
                | "/api/certificates/{serialNumber}/renew"
                | "/api/devices/{id}/api-key/claim"
                | "/.well-known/est/simpleenroll"
                | "/.well-known/est/simplereenroll"
                | "/.well-known/est/serverkeygen",
            ) => Class::Costly,
            _ => Class::Ordinary,
        };
        let is_public = path.is_none_or(|path| {
            let is_documentation = path == "/openapi.json" || path.starts_with("/docs");
            let is_ocsp = path == "/ocsp" || path.starts_with("/ocsp/");
            let is_for_anybody = ["/api/certificates/ca", "/.well-known/est/cacerts", "/.well-known/est/csrattrs"];
            let is_list = path.starts_with("/api/certificates/crl");
            is_documentation || is_ocsp || is_list || is_for_anybody.contains(&path) || path.ends_with("/renewal-info")
        });
        Self { class, is_public }
    }
}

/// How many requests of a class are being answered.
#[derive(Debug, Default)]
struct Bound {
    most: AtomicUsize,
    running: AtomicUsize,
}

/// One request that is being answered.
#[derive(Debug)]
struct Running<'a>(&'a Bound);

impl Bound {
    fn enter(&self) -> Option<Running<'_>> {
        let running = Running(self);
        let before = self.running.fetch_add(1, Ordering::AcqRel);
        // Dropping it takes the count back.
        (before < self.most.load(Ordering::Acquire)).then_some(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The bounds of this process.
#[derive(Debug)]
pub struct Shedding {
    ordinary: Bound,
    costly: Bound,
    shed: AtomicUsize,
    limits: Arc<Limits>,
}

impl Shedding {
    /// At most so many ordinary and so many costly requests at a time; public ones within their rate.
    pub fn new(ordinary: usize, costly: usize, limits: Arc<Limits>) -> Self {
        let shedding = Self { ordinary: Bound::default(), costly: Bound::default(), shed: AtomicUsize::new(0), limits };
        shedding.set(ordinary, costly);
        shedding
    }

    /// Puts other bounds in force. What is being answered is answered.
    pub fn set(&self, ordinary: usize, costly: usize) {
        self.ordinary.most.store(ordinary, Ordering::Release);
        self.costly.most.store(costly, Ordering::Release);
    }

    fn bound(&self, class: Class) -> &Bound {
        match class {
            Class::Ordinary => &self.ordinary,
            Class::Costly => &self.costly,
        }
    }

    fn overloaded(&self, class: Class) -> Problem {
        metrics::counter!(REQUESTS_SHED, "class" => class.as_str()).increment(1);
        // One after the other, so that those who were sent away together do not come back together.
        let turn = self.shed.fetch_add(1, Ordering::Relaxed) % LONGEST_WAIT_SECONDS;
        let seconds = u64::try_from(turn).unwrap_or_default() + 1;
        Problem::new(ErrorCode::Overloaded, "the server is busy; nothing was done").retry_after(seconds)
    }
}

/// Answers a request, or sends it away. Stands around the routes as a middleware.
pub async fn shed(State(shedding): State<Arc<Shedding>>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = Route::of(request.method(), matched.map(MatchedPath::as_str));
    if route.is_public
        && let Some(context) = request.extensions().get::<Arc<RequestContext>>()
        && let Err(problem) = shedding.limits.public_request(context.client_address)
    {
        return problem.into_response();
    }
    let (parts, body) = request.into_parts();
    // Read to its end before the request counts as being answered, so that nobody takes up room by sending slowly. The body
    // is bounded by now: in size, in time, and in what is answered where it exceeds either.
    let request = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => Request::from_parts(parts, Body::from(bytes)),
        Err(_) => return Problem::new(ErrorCode::InvalidRequest, "the body could not be read").into_response(),
    };
    let Some(_running) = shedding.bound(route.class).enter() else {
        return shedding.overloaded(route.class).into_response();
    };
    next.run(request).await
}

#[cfg(test)]
mod tests;
