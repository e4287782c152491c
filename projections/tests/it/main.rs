//! Tests over whole histories: a fleet of devices lives in a log in memory, and what is derived from it is looked at.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fleet;
mod index;
mod monitors;
mod projector;
mod read_model;
mod rebuild;
mod rows;
mod tampered;
mod usage;
