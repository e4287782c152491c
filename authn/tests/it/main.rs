//! Tests of the whole crate through its public surface.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod error_codes;
mod printing;
mod proxies;
mod rotated_mac_key;
mod tls;
