//! The server: configuration, the data directory, the TLS listener, and everything composed into one process.

pub mod backup;
pub mod cli;
pub mod config;
pub mod data_dir;
pub mod doctor;
pub mod http;
pub mod listener;
pub mod logging;
pub mod metrics;
pub mod oidc;
pub mod ops;
mod profiles;
pub mod restore;
pub mod rollback;
pub mod serve;
pub mod server_certificate;
pub mod supervise;
pub mod tls;
