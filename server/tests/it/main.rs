//! The server from outside: its listener, its commands, its workspace.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod dependencies;
mod listener;
mod metrics;
