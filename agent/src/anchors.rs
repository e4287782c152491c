//! The CA certificates that a device believes, and how further ones join them.
//!
//! Only certificates that came over a connection whose server was verified get here: a server that is believed already
//! says who is to be believed next. None is ever replaced by that; one that is over is left out.

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

/// More CAs than any server has at a time; a longer list is a fault.
const MOST_ANCHORS: usize = 16;

/// What is believed once a verified server has offered these: the first of the known, which was pinned, always; the others
/// while they last; then what is offered, is a CA, lasts and is new.
pub fn merge(
    known: &[CertificateDer<'static>],
    offered: &[CertificateDer<'static>],
    now: OffsetDateTime,
) -> Vec<CertificateDer<'static>> {
    let (pinned, others) = known.split_at(known.len().min(1));
    let mut merged = pinned.to_vec();
    for der in others.iter().chain(offered) {
        if merged.len() < MOST_ANCHORS && is_lasting_authority(der, now) && !merged.contains(der) {
            merged.push(der.clone());
        }
    }
    merged
}

fn is_lasting_authority(der: &CertificateDer<'_>, now: OffsetDateTime) -> bool {
    X509Certificate::from_der(der)
        .is_ok_and(|(_, found)| found.is_ca() && found.validity().not_after.to_datetime() > now)
}

/// A certificate in PEM.
pub fn to_pem(der: &CertificateDer<'_>) -> String {
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    // RFC 7468, section 2: lines of 64 characters.
    for (index, character) in STANDARD.encode(der).chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use time::Duration;
    use time::macros::datetime;

    use super::*;
    use crate::certificate::read_chain;

    const NOW: OffsetDateTime = datetime!(2025-06-01 00:00 UTC);

    fn certificate(is_ca: bool, days_left: i64) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.not_after = NOW + Duration::days(days_left);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn further_authorities_join_and_nothing_else_does() {
        let pinned = certificate(true, 10);
        let (new, leaf, over) = (certificate(true, 900), certificate(false, 900), certificate(true, -1));
        let merged = merge(std::slice::from_ref(&pinned), &[new.clone(), leaf, over, pinned.clone()], NOW);
        assert_eq!(merged, [pinned.clone(), new.clone()]);
        assert_eq!(merge(&merged, &[], NOW), merged, "what a server does not name any more is not forgotten");
        let later = NOW + Duration::days(901);
        assert_eq!(merge(&merged, &[], later), [pinned], "what is over goes, except the pinned one");
    }

    #[test]
    fn a_list_without_end_is_cut() {
        let many: Vec<_> = (0..20).map(|_| certificate(true, 900)).collect();
        assert_eq!(merge(&many[..1], &many[1..], NOW).len(), MOST_ANCHORS);
    }

    #[test]
    fn pem_is_read_back() {
        let der = certificate(true, 900);
        assert_eq!(read_chain(to_pem(&der).as_bytes()).unwrap(), [der]);
    }
}
