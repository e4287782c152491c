//! When a certificate is renewed, what a repeated renewal gets, and what it means when a replaced certificate turns up.

use std::net::IpAddr;

use super::{
    Certificate, CertificateError, CertificateEvent, CertificateRenewalRequested, CertificateReuseSuspected,
    Certificates, ReuseSign, Standing,
};
use crate::credential::Digest;
use crate::serial::SerialNumber;
use crate::timestamp::Timestamp;

/// By what rules a certificate is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewalRules {
    /// How many days before its end it may be renewed.
    pub window_days: u16,
    /// How many days after its end it may still be.
    pub grace_days: u16,
    /// Since when another authority signs than the one that signed it.
    pub authority_rotated_at: Option<Timestamp>,
}

impl RenewalRules {
    /// So many days before the end, and not after it.
    pub const fn window(days: u16) -> Self {
        Self { window_days: days, grace_days: 0, authority_rotated_at: None }
    }
}

/// A span of time in which a certificate should be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenewalWindow {
    /// Its first moment; from then on the certificate may be renewed.
    pub start: Timestamp,
    /// Its end. Who is late may still renew.
    pub end: Timestamp,
}

/// The moment from which a certificate may be renewed that ends then.
pub fn renewable_from(not_after: Timestamp, renewal_window_days: u16) -> Timestamp {
    not_after.plus_days(-i64::from(renewal_window_days))
}

impl Certificate {
    /// The moment from which it may be renewed: so long before its end, or once it was asked to be, or once another
    /// authority signs.
    pub fn renewable_from(&self, rules: RenewalRules) -> Timestamp {
        let before_its_end = renewable_from(self.issued.intended.not_after, rules.window_days);
        let early = [self.renewal_requested.map(|window| window.start), rules.authority_rotated_at];
        early.into_iter().flatten().fold(before_its_end, Timestamp::min)
    }

    /// The last second of the validity belongs to it as a whole (RFC 5280, section 4.1.2.5).
    fn is_past(&self, now: Timestamp, grace_days: u16) -> bool {
        let end = self.issued.intended.not_after.plus_days(i64::from(grace_days));
        now.unix_seconds() > end.unix_seconds()
    }
}

impl Certificates {
    /// The successor of a superseded certificate, where a caller who asks once more to renew it, with the same public
    /// key, must get that successor again: its answer was lost, and the successor is neither used nor revoked.
    pub fn repeated_renewal(&self, of: SerialNumber, public_key_sha256: Digest) -> Option<&Certificate> {
        let Standing::Superseded { by } = self.find(of)?.standing else { return None };
        let successor = self.find(by)?;
        let is_same_renewal = successor.issued.intended.renewal_of == Some(of)
            && successor.issued.intended.public_key_sha256 == public_key_sha256;
        (is_same_renewal && !successor.is_used && successor.standing == Standing::Active).then_some(successor)
    }

    /// Whether a certificate may be renewed at this moment: active, not past its end or the grace after it, and its window
    /// has opened.
    ///
    /// # Errors
    /// [`CertificateError`] says why not.
    pub fn check_renewable(
        &self,
        serial_number: SerialNumber,
        rules: RenewalRules,
        now: Timestamp,
    ) -> Result<(), CertificateError> {
        let certificate = self.find(serial_number).ok_or(CertificateError::Unknown)?;
        let from = certificate.renewable_from(rules);
        match certificate.standing {
            Standing::Revoked => Err(CertificateError::Revoked),
            Standing::Superseded { .. } => Err(CertificateError::NotRenewable { renewable_from: None }),
            Standing::Active if certificate.is_past(now, rules.grace_days) => {
                Err(CertificateError::NotRenewable { renewable_from: None })
            }
            Standing::Active if now < from => Err(CertificateError::NotRenewable { renewable_from: Some(from) }),
            Standing::Active => Ok(()),
        }
    }

    /// The first certificate in the place of a superseded one that has authenticated: its own successor, or the successor's.
    pub fn used_successor(&self, of: SerialNumber) -> Option<&Certificate> {
        let mut at = self.find(of)?;
        // A chain is no longer than the set, whatever a damaged log may say.
        for _ in 0..self.issued().len() {
            let Standing::Superseded { by } = at.standing else { return None };
            at = self.find(by)?;
            if at.is_used {
                return Some(at);
            }
        }
        None
    }

    /// The active certificate should be renewed in a window. Asked once is enough, unless the window is to open earlier; of
    /// what has ended nothing is left to be renewed.
    pub(super) fn request_renewal(
        &self,
        requested: CertificateRenewalRequested,
        now: Timestamp,
    ) -> Result<Vec<CertificateEvent>, CertificateError> {
        let certificate = self.find(requested.serial_number).ok_or(CertificateError::Unknown)?;
        let is_asked = certificate.renewal_requested.is_some_and(|known| known.start <= requested.window_start);
        let is_over = certificate.standing != Standing::Active || certificate.is_past(now, 0);
        Ok(if is_asked || is_over { vec![] } else { vec![requested.into()] })
    }

    /// The holder of a superseded certificate did what its device would not do. It is told once for each certificate.
    pub(super) fn suspect_reuse(
        &self,
        serial_number: SerialNumber,
        seen: &Sighting,
    ) -> Result<Vec<CertificateEvent>, CertificateError> {
        let certificate = self.find(serial_number).ok_or(CertificateError::Unknown)?;
        let Standing::Superseded { by } = certificate.standing else { return Ok(vec![]) };
        let successor = match seen.sign {
            ReuseSign::PresentedAfterSuccession => self.used_successor(serial_number).map(Certificate::serial_number),
            ReuseSign::AskedForAnotherKey => {
                let is_renewal = |by: &Certificate| by.issued.intended.renewal_of == Some(serial_number);
                self.find(by).filter(|by| is_renewal(by)).map(Certificate::serial_number)
            }
        };
        let Some(successor) = successor.filter(|_| !certificate.is_reuse_suspected) else { return Ok(vec![]) };
        let suspected = CertificateReuseSuspected { serial_number, successor, seen_from: seen.from, how: seen.sign };
        Ok(vec![suspected.into()])
    }
}

/// What was seen of a superseded certificate whose key somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// What its holder did.
    pub sign: ReuseSign,
    /// From which address, where that is known.
    pub from: Option<IpAddr>,
}
