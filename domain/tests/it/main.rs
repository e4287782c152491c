//! The rules of the domain, one test for each: what had happened, what was asked, what came of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod any_order;
mod api_keys;
mod authority;
mod certificates;
mod device;
mod fixtures;
mod given;
mod recorded;
mod registration_token;
