//! The rules of `[pki]`.

use super::{Broken, within};
use crate::config::sections::Pki;

pub(super) fn pki(pki: &Pki, found: &mut Vec<Broken>) {
    within("pki.ocsp_validity_minutes", pki.ocsp_validity_minutes, 5..=10_080, found);
    within("pki.ocsp_signer_validity_days", pki.ocsp_signer_validity_days, 1..=90, found);
}
