//! The adapters of the event log and the audit log against what their ports promise.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audit;
mod contract;
mod copies;
mod crash;
mod fixture;
mod flood;
mod segments;
mod sqlite;
mod witness;
