//! The server from outside: its listener, its commands, its workspace.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod commands;
mod configuration;
mod dependencies;
mod hostile;
mod listener;
mod metrics;
mod openapi;
mod process;
mod server_certificate;
