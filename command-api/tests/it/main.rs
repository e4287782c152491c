//! Every route and rule, in one process and without sockets: requests go straight into the router, client certificates
//! come with the connection as the listener would hand them over.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin_tokens;
mod api_keys;
mod authentication;
mod authorities;
mod bulk;
mod certificates;
mod decisions;
mod documentation;
mod examples;
mod failures;
mod hostile;
mod idempotency;
mod key_races;
mod limits;
mod log_lock;
mod ocsp;
mod proxies;
mod races;
mod recorded_attempts;
mod registration;
mod registration_tokens;
mod repeating;
mod secrets;
mod tags;
mod tenants;
mod world;
