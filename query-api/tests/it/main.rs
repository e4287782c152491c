//! Tests of the whole crate through its routes: real events, real tables, real credentials.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod admin_tokens;
mod authentication_logs;
mod authentication_logs_export;
mod certificates;
mod devices;
mod documentation;
mod events;
mod examples;
mod freshness;
mod hostile;
mod paging;
mod refusals;
mod registration_tokens;
mod usage;
mod world;
