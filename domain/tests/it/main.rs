//! The rules of the domain, one test for each: what had happened, what was asked, what came of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin_token;
mod any_order;
mod api_keys;
mod audit_segment;
mod authority;
mod certificates;
mod crls;
mod device;
mod envelope;
mod event_log;
mod fixtures;
mod given;
mod golden;
mod parsers;
mod recorded;
mod registration_token;
mod secrets;
