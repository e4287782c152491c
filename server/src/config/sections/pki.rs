//! `[pki]`: what whoever checks a certificate reads.

use serde::{Deserialize, Serialize};

/// `[pki]`: answers about the status of certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pki {
    /// How many minutes an OCSP answer holds, 5 to 10,080. One without nonce is signed anew when half of it is over.
    /// `SIGNALBEAM__PKI__OCSP_VALIDITY_MINUTES`, default `60`.
    pub ocsp_validity_minutes: u16,
    /// How many days the certificate holds that signs OCSP answers, 1 to 90; it is renewed when half of them are over.
    /// `SIGNALBEAM__PKI__OCSP_SIGNER_VALIDITY_DAYS`, default `7`.
    pub ocsp_signer_validity_days: u16,
}

impl Default for Pki {
    fn default() -> Self {
        Self { ocsp_validity_minutes: 60, ocsp_signer_validity_days: 7 }
    }
}
