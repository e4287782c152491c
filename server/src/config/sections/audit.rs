//! `[audit]`: the log of authentication attempts.

use serde::{Deserialize, Serialize};

/// When an authentication attempt counts as recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// When it is on disk.
    #[default]
    Strict,
    /// A success when it is queued: a crash may lose the last 250 ms of them.
    Relaxed,
}

/// `[audit]`: the log of authentication attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Audit {
    /// When an attempt counts as recorded: `strict` or `relaxed`. `SIGNALBEAM__AUDIT__DURABILITY`, default `strict`.
    pub durability: Durability,
    /// For how many whole days (UTC) attempts are kept, 0 to 36,500; 0 keeps them for ever. A day is dropped after it was
    /// sealed. `SIGNALBEAM__AUDIT__RETENTION_DAYS`, default `0`.
    pub retention_days: u32,
    /// How many failed attempts of an address are recorded one by one in a minute, 1 to 10,000, and of all addresses
    /// together a hundred times as many; those beyond are counted, in a row for each address, prefix, method and code.
    /// `SIGNALBEAM__AUDIT__MAX_FAILURES_PER_ADDRESS_PER_MINUTE`, default `240`.
    pub max_failures_per_address_per_minute: u32,
    /// While the data directory's file system has fewer MiB free, failed attempts are only counted, in memory, until
    /// there is room or the server stops: the rest is for successes and for the event log. 0 to 16,777,216; 0 turns it off.
    /// `SIGNALBEAM__AUDIT__DISK_RESERVE_MIB`, default `64`.
    pub disk_reserve_mib: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            durability: Durability::Strict,
            retention_days: 0,
            max_failures_per_address_per_minute: 240,
            disk_reserve_mib: 64,
        }
    }
}
