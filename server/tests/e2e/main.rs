//! End to end: the real binaries `signalbeam`, `signalbeam-agent` and `signalbeam-simulator`, over real TLS, on real files, killed for real.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "certificates are made for the clock of the programs, which nobody sets")]

mod agent;
mod binaries;
mod client;
mod device;
mod key_stores;
mod keys;
mod proxy;
mod server;
mod waiting;
mod wire;

mod admin_tokens;
mod authentication_log;
mod backups;
mod certificates;
mod codes;
mod crls;
mod doctor;
mod est;
mod full_disk;
mod gone_back;
mod hostile_input;
mod importing;
mod kill;
mod lifecycle;
mod limits;
mod lost_replies;
mod ocsp;
mod oidc;
mod operations;
mod permissions;
mod profiles;
mod proxies;
mod race;
mod renewals;
mod retired_authorities;
mod revocation;
mod rollback;
mod rollover;
mod secrecy;
mod simulator;
mod starts;
mod strangers;
mod tampering;
mod usage;
mod walk;
