//! Tests of the whole crate through its public surface.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod authority;
mod chain;
mod crl;
mod csr;
mod device_key;
mod fixture;
mod key_store;
mod openssl;
mod server_certificate;
mod weak_keys;
