//! `[pki]`: what whoever checks a certificate reads.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// `[pki]`: revocation lists, and the plain listener for those who check certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pki {
    /// Where revocation lists and the authority's certificate are served over plain HTTP, and nothing else. `--pki-listen`,
    /// `SIGNALBEAM__PKI__LISTEN`, default none: off.
    pub listen: Option<SocketAddr>,
    /// How many hours a revocation list says that it holds, 2 to 720. `SIGNALBEAM__PKI__CRL_VALIDITY_HOURS`, default `24`.
    pub crl_validity_hours: u16,
    /// How many hours lie between two revocation lists although nothing happens, from 1 to half of their validity.
    /// `SIGNALBEAM__PKI__CRL_REFRESH_HOURS`, default `6`.
    pub crl_refresh_hours: u16,
    /// How many seconds lie between two revocation lists however much happens, 1 to 3,600.
    /// `SIGNALBEAM__PKI__CRL_MIN_INTERVAL_SECONDS`, default `5`.
    pub crl_min_interval_seconds: u16,
}

impl Default for Pki {
    fn default() -> Self {
        Self { listen: None, crl_validity_hours: 24, crl_refresh_hours: 6, crl_min_interval_seconds: 5 }
    }
}
