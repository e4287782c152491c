//! The programs against a scripted HTTPS server: every command, and every way in which a network or a server misbehaves.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::disallowed_methods, reason = "certificates are made for the program's own clock, which nobody sets")]

mod authority;
mod certificates;
mod cupboard;
mod device;
mod examples;
mod failing_disk;
mod fake_server;
mod killed;
mod long_life;
mod model;
mod registration;
mod running;
mod simulation;
mod simulator;
mod trust;
