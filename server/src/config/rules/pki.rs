//! The rules of `[pki]`.

use super::{Broken, within};
use crate::config::sections::Pki;

pub(super) fn pki(pki: &Pki, found: &mut Vec<Broken>) {
    within("pki.ocsp_validity_minutes", pki.ocsp_validity_minutes, 5..=10_080, found);
    within("pki.ocsp_signer_validity_days", pki.ocsp_signer_validity_days, 1..=90, found);
    within("pki.crl_validity_hours", pki.crl_validity_hours, 2..=720, found);
    // Whatever keeps a list from being made has the other half of the time to end.
    let most = u64::from(pki.crl_validity_hours.clamp(2, 720) / 2);
    within("pki.crl_refresh_hours", pki.crl_refresh_hours, 1..=most, found);
    within("pki.crl_min_interval_seconds", pki.crl_min_interval_seconds, 1..=3_600, found);
}
