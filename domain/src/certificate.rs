//! A device's set of certificates: intended before signing, issued, superseded by the next one, or revoked. At most one
//! is active.

mod events;
mod renewal;

use std::net::IpAddr;

pub use self::events::{
    AbandonCause, CertificateAbandoned, CertificateEvent, CertificateExpiryNoticed, CertificateFirstUsed,
    CertificateIntended, CertificateIssued, CertificateRenewalRequested, CertificateReuseSuspected, CertificateRevoked,
    CertificateSuperseded, ReuseSign,
};
pub use self::renewal::{RenewalRules, RenewalWindow, Sighting, renewable_from};

use crate::aggregate::{Aggregate, Context};
use crate::serial::SerialNumber;
use crate::text::Reason;
use crate::timestamp::Timestamp;

/// What can be asked of a device's set of certificates.
#[derive(Debug, Clone)]
pub enum CertificateCommand {
    /// Record what is about to be signed. With `renewal_of` it is a renewal and must be in the window.
    Intend {
        /// What is about to be signed.
        intended: CertificateIntended,
        /// When the certificate that it renews may be.
        rules: RenewalRules,
    },
    /// Record what was signed. Every other active certificate is superseded by it.
    Issue(CertificateIssued),
    /// Record that an intended certificate will not be.
    Abandon(CertificateAbandoned),
    /// Record that a certificate authenticated.
    NoteFirstUse {
        /// Its serial number.
        serial_number: SerialNumber,
        /// The address that it was used from.
        used_from: Option<IpAddr>,
    },
    /// Revoke one.
    Revoke {
        /// Its serial number.
        serial_number: SerialNumber,
        /// Why.
        reason: Option<Reason>,
    },
    /// Revoke every active one.
    RevokeAll {
        /// Why.
        reason: Option<Reason>,
    },
    /// Record that a threshold was reached.
    NoticeExpiry(CertificateExpiryNoticed),
    /// Ask its device to renew one early.
    RequestRenewal(CertificateRenewalRequested),
    /// Record that a superseded one turned up.
    SuspectReuse {
        /// Its serial number.
        serial_number: SerialNumber,
        /// What was seen of it.
        seen: Sighting,
    },
}

/// Why a command on a device's certificates was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The set has no such certificate.
    #[error("there is no such certificate")]
    Unknown,
    /// The serial number is taken: draw again.
    #[error("the serial number is taken")]
    SerialTaken,
    /// The certificate has been revoked or superseded, or what was intended no longer stands.
    #[error("the certificate has been revoked")]
    Revoked,
    /// It cannot be renewed now.
    #[error("the certificate cannot be renewed now")]
    NotRenewable {
        /// When its window opens; `None` where it has ended or been replaced and no window will open again.
        renewable_from: Option<Timestamp>,
    },
    /// What was signed is not what was intended.
    #[error("the certificate is not the one that was intended")]
    NotAsIntended,
}

/// A device's set of certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificates {
    intents: Vec<CertificateIntended>,
    issued: Vec<Certificate>,
    abandoned: Vec<SerialNumber>,
}

/// One issued certificate of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// As it was issued.
    pub issued: CertificateIssued,
    /// What became of it.
    pub standing: Standing,
    /// Whether it has authenticated.
    pub is_used: bool,
    /// The smallest threshold that was told, in days before the end.
    pub noticed_days: Option<u16>,
    /// When its device was asked to renew it, where it was.
    pub renewal_requested: Option<RenewalWindow>,
    /// Whether it turned up after it had been superseded.
    pub is_reuse_suspected: bool,
}

/// What became of an issued certificate, its expiry aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may authenticate.
    Active,
    /// Another one took its place.
    Superseded {
        /// That one's serial number.
        by: SerialNumber,
    },
    /// It was revoked.
    Revoked,
}

impl Certificate {
    /// The first append succeeded and its answer was lost: recorded once is enough.
    fn repeated_issue(&self, issued: &CertificateIssued) -> Result<Vec<CertificateEvent>, CertificateError> {
        match self.standing {
            _ if self.issued != *issued => Err(CertificateError::NotAsIntended),
            Standing::Active => Ok(vec![]),
            Standing::Superseded { .. } | Standing::Revoked => Err(CertificateError::Revoked),
        }
    }

    /// Its serial number.
    pub fn serial_number(&self) -> SerialNumber {
        self.issued.intended.serial_number
    }
}

impl Certificates {
    /// Every certificate that was ever issued, in order.
    pub fn issued(&self) -> &[Certificate] {
        &self.issued
    }

    /// What was intended and neither issued nor abandoned.
    pub fn open_intents(&self) -> &[CertificateIntended] {
        &self.intents
    }

    /// One issued certificate.
    pub fn find(&self, serial_number: SerialNumber) -> Option<&Certificate> {
        self.issued.iter().find(|certificate| certificate.serial_number() == serial_number)
    }

    /// The active one, whether or not it has expired.
    pub fn active(&self) -> Option<&Certificate> {
        self.issued.iter().find(|certificate| certificate.standing == Standing::Active)
    }

    fn intend(
        &self,
        intended: CertificateIntended,
        rules: RenewalRules,
        now: Timestamp,
    ) -> Result<Vec<CertificateEvent>, CertificateError> {
        if self.is_taken(intended.serial_number) {
            return Err(CertificateError::SerialTaken);
        }
        if let Some(old) = intended.renewal_of {
            self.check_renewable(old, rules, now)?;
        }
        Ok(vec![intended.into()])
    }

    fn is_taken(&self, serial_number: SerialNumber) -> bool {
        self.find(serial_number).is_some()
            || self.abandoned.contains(&serial_number)
            || self.intents.iter().any(|intent| intent.serial_number == serial_number)
    }

    fn issue(&self, issued: CertificateIssued) -> Result<Vec<CertificateEvent>, CertificateError> {
        let serial_number = issued.intended.serial_number;
        if let Some(known) = self.find(serial_number) {
            return known.repeated_issue(&issued);
        }
        if self.abandoned.contains(&serial_number) {
            return Err(CertificateError::Revoked);
        }
        let intent = self.intents.iter().find(|intent| intent.serial_number == serial_number);
        let intent = intent.ok_or(CertificateError::Unknown)?;
        if *intent != issued.intended {
            return Err(CertificateError::NotAsIntended);
        }
        match intent.renewal_of.map(|old| self.find(old).map(|old| old.standing)) {
            None | Some(Some(Standing::Active)) => {}
            Some(Some(Standing::Superseded { .. })) => {
                return Err(CertificateError::NotRenewable { renewable_from: None });
            }
            // Whoever revoked it while its successor was being signed meant the device, not the serial.
            Some(Some(Standing::Revoked) | None) => return Err(CertificateError::Revoked),
        }
        let superseded = self.unrevoked().map(|old| {
            CertificateSuperseded { serial_number: old.serial_number(), superseded_by: serial_number }.into()
        });
        let mut events: Vec<CertificateEvent> = superseded.collect();
        events.push(issued.into());
        Ok(events)
    }

    fn unrevoked(&self) -> impl Iterator<Item = &Certificate> {
        self.issued.iter().filter(|certificate| certificate.standing == Standing::Active)
    }

    fn with_certificate(&mut self, serial_number: SerialNumber, change: impl FnOnce(&mut Certificate)) {
        if let Some(certificate) = self.issued.iter_mut().find(|c| c.serial_number() == serial_number) {
            change(certificate);
        }
    }
}

impl Aggregate for Certificates {
    type Command = CertificateCommand;
    type Event = CertificateEvent;
    type Error = CertificateError;

    fn decide(&self, command: Self::Command, context: &Context) -> Result<Vec<Self::Event>, Self::Error> {
        let known = |serial_number| self.find(serial_number).ok_or(CertificateError::Unknown);
        match command {
            CertificateCommand::Intend { intended, rules } => self.intend(intended, rules, context.now),
            CertificateCommand::Issue(issued) => self.issue(issued),
            CertificateCommand::Abandon(abandoned) => {
                let is_open = self.intents.iter().any(|intent| intent.serial_number == abandoned.serial_number);
                Ok(if is_open { vec![abandoned.into()] } else { vec![] })
            }
            CertificateCommand::NoteFirstUse { serial_number, used_from } => {
                let certificate = known(serial_number)?;
                match certificate.standing {
                    Standing::Active if certificate.is_used => Ok(vec![]),
                    Standing::Active => Ok(vec![CertificateFirstUsed { serial_number, used_from }.into()]),
                    Standing::Superseded { .. } | Standing::Revoked => Err(CertificateError::Revoked),
                }
            }
            CertificateCommand::Revoke { serial_number, reason } => Ok(match known(serial_number)?.standing {
                Standing::Revoked => vec![],
                Standing::Active | Standing::Superseded { .. } => {
                    vec![CertificateRevoked { serial_number, reason }.into()]
                }
            }),
            CertificateCommand::RevokeAll { reason } => Ok(self
                .unrevoked()
                .map(|c| CertificateRevoked { serial_number: c.serial_number(), reason: reason.clone() }.into())
                .collect()),
            CertificateCommand::NoticeExpiry(noticed) => {
                let certificate = known(noticed.serial_number)?;
                let is_told = certificate.noticed_days.is_some_and(|told| told <= noticed.threshold_days);
                let is_due = certificate.standing == Standing::Active && !is_told;
                Ok(if is_due { vec![noticed.into()] } else { vec![] })
            }
            CertificateCommand::RequestRenewal(requested) => self.request_renewal(requested, context.now),
            CertificateCommand::SuspectReuse { serial_number, seen } => self.suspect_reuse(serial_number, &seen),
        }
    }

    fn evolve(mut self, event: &Self::Event) -> Self {
        match event {
            CertificateEvent::Intended(intended) => self.intents.push(intended.clone()),
            CertificateEvent::Issued(issued) => {
                self.intents.retain(|intent| intent.serial_number != issued.intended.serial_number);
                let issued = issued.clone();
                self.issued.push(Certificate {
                    issued,
                    standing: Standing::Active,
                    is_used: false,
                    noticed_days: None,
                    renewal_requested: None,
                    is_reuse_suspected: false,
                });
            }
            CertificateEvent::Abandoned(abandoned) => {
                self.intents.retain(|intent| intent.serial_number != abandoned.serial_number);
                self.abandoned.push(abandoned.serial_number);
            }
            CertificateEvent::FirstUsed(used) => self.with_certificate(used.serial_number, |c| c.is_used = true),
            CertificateEvent::Superseded(superseded) => {
                let by = superseded.superseded_by;
                self.with_certificate(superseded.serial_number, |c| c.standing = Standing::Superseded { by });
            }
            CertificateEvent::Revoked(revoked) => {
                self.with_certificate(revoked.serial_number, |c| c.standing = Standing::Revoked);
            }
            CertificateEvent::ExpiryNoticed(noticed) => {
                self.with_certificate(noticed.serial_number, |c| c.noticed_days = Some(noticed.threshold_days));
            }
            CertificateEvent::RenewalRequested(requested) => {
                let window = RenewalWindow { start: requested.window_start, end: requested.window_end };
                self.with_certificate(requested.serial_number, |c| c.renewal_requested = Some(window));
            }
            CertificateEvent::ReuseSuspected(suspected) => {
                self.with_certificate(suspected.serial_number, |c| c.is_reuse_suspected = true);
            }
        }
        self
    }
}
