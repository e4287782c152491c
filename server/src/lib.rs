//! The server: configuration, the data directory, the TLS listener, and everything composed into one process.

pub mod config;
