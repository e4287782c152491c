//! Tests of the whole crate through its public surface.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod authority;
mod chain;
mod crl;
mod csr;
mod device_key;
mod enrolment;
mod fixture;
mod key_store;
mod ocsp;
mod openssl;
mod server_certificate;
mod thousand;
mod weak_keys;
