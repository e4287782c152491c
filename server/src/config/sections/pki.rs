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
    /// How many minutes an OCSP answer holds, 5 to 10,080. One without nonce is signed anew when half of it is over.
    /// `SIGNALBEAM__PKI__OCSP_VALIDITY_MINUTES`, default `60`.
    pub ocsp_validity_minutes: u16,
    /// How many days the certificate holds that signs OCSP answers, 1 to 90; it is renewed when half of them are over.
    /// `SIGNALBEAM__PKI__OCSP_SIGNER_VALIDITY_DAYS`, default `7`.
    pub ocsp_signer_validity_days: u16,
}

impl Default for Pki {
    fn default() -> Self {
        Self {
            listen: None,
            crl_validity_hours: 24,
            crl_refresh_hours: 6,
            crl_min_interval_seconds: 5,
            ocsp_validity_minutes: 60,
            ocsp_signer_validity_days: 7,
        }
    }
}
