//! End to end: the real binaries `signalbeam` and `signalbeam-agent`, over real TLS, on real files, killed for real.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "certificates are made for the clock of the programs, which nobody sets")]

mod agent;
mod client;
mod device;
mod keys;
mod proxy;
mod server;
mod waiting;
mod wire;

mod admin_tokens;
mod authentication_log;
mod certificates;
mod codes;
mod full_disk;
mod hostile_input;
mod kill;
mod lost_replies;
mod operations;
mod proxies;
mod race;
mod revocation;
mod rollback;
mod secrecy;
mod starts;
mod strangers;
mod tampering;
mod usage;
mod walk;
