//! An `OCSPResponse` (RFC 6960, section 4.2.1).

use time::OffsetDateTime;

use super::NONCE;
use super::der::{ENUMERATED, GENERALIZED_TIME, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, element};
use crate::crl::ReasonCode;

/// id-pkix-ocsp-basic, whole.
const BASIC: &[u8] = &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// `NULL`-typed choices with their implicit tags.
const GOOD: &[u8] = &[0x80, 0];
const UNKNOWN: &[u8] = &[0x82, 0];

const CONTEXT_0: u8 = 0xa0;
const CONTEXT_1: u8 = 0xa1;
const CONTEXT_2: u8 = 0xa2;

/// Why a request gets no signed answer (`OCSPResponseStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OcspFailure {
    /// It is no request, or breaks a bound.
    MalformedRequest,
    /// Something went wrong here.
    InternalError,
    /// Not now: the same request may be answered in a moment.
    TryLater,
    /// It is about certificates of authorities that this responder does not speak for (RFC 5019, section 2.2.3).
    Unauthorized,
}

impl OcspFailure {
    /// Every failure.
    pub const ALL: [Self; 4] = [Self::MalformedRequest, Self::InternalError, Self::TryLater, Self::Unauthorized];

    /// Its name, as metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed_request",
            Self::InternalError => "internal_error",
            Self::TryLater => "try_later",
            Self::Unauthorized => "unauthorized",
        }
    }

    /// The whole response, DER: it carries no signature.
    pub const fn der(self) -> &'static [u8] {
        match self {
            Self::MalformedRequest => &[SEQUENCE, 3, ENUMERATED, 1, 1],
            Self::InternalError => &[SEQUENCE, 3, ENUMERATED, 1, 2],
            Self::TryLater => &[SEQUENCE, 3, ENUMERATED, 1, 3],
            Self::Unauthorized => &[SEQUENCE, 3, ENUMERATED, 1, 6],
        }
    }
}

/// What is known of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateStatus {
    /// The authority issued it, or is about to, and it has not been revoked.
    Good,
    /// It was revoked.
    Revoked {
        /// When, to the second.
        at: OffsetDateTime,
        /// Why, where that is known.
        reason: Option<ReasonCode>,
    },
    /// The authority never issued it.
    Unknown,
}

impl CertificateStatus {
    /// Its name, as metrics and the audit have it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Revoked { .. } => "revoked",
            Self::Unknown => "unknown",
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Good => GOOD.to_vec(),
            Self::Unknown => UNKNOWN.to_vec(),
            Self::Revoked { at, reason } => {
                let reason = reason.map(|reason| element(CONTEXT_0, &[&[ENUMERATED, 1, reason.number()]]));
                element(CONTEXT_1, &[&generalized_time(*at), reason.as_deref().unwrap_or_default()])
            }
        }
    }
}

/// What is said of one certificate.
#[derive(Debug, Clone, Copy)]
pub struct SingleAnswer<'a> {
    /// The `CertID` of the request, whole.
    pub cert_id: &'a [u8],
    /// What is known of it.
    pub status: CertificateStatus,
    /// The moment at which that was known to be right.
    pub this_update: OffsetDateTime,
}

/// What is to be signed.
#[derive(Debug, Clone, Copy)]
pub struct OcspAnswer<'a> {
    /// When it is signed.
    pub produced_at: OffsetDateTime,
    /// By when there will be newer information, of every certificate in it.
    pub next_update: OffsetDateTime,
    /// Of each certificate that was asked about.
    pub certificates: &'a [SingleAnswer<'a>],
    /// The request's nonce.
    pub nonce: Option<&'a [u8]>,
}

impl OcspAnswer<'_> {
    /// `ResponseData`, of the responder whose key has this hash.
    pub(super) fn response_data(&self, responder_key_hash: &[u8]) -> Vec<u8> {
        let responder = element(CONTEXT_2, &[&element(OCTET_STRING, &[responder_key_hash])]);
        let next_update = element(CONTEXT_0, &[&generalized_time(self.next_update)]);
        let singles: Vec<Vec<u8>> = self
            .certificates
            .iter()
            .map(|single| {
                let this_update = generalized_time(single.this_update);
                element(SEQUENCE, &[single.cert_id, &single.status.encode(), &this_update, &next_update])
            })
            .collect();
        let singles: Vec<&[u8]> = singles.iter().map(Vec::as_slice).collect();
        let extensions = self.nonce.map(|nonce| {
            let value = element(OCTET_STRING, &[&element(OCTET_STRING, &[nonce])]);
            let extension = element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, &[NONCE]), &value]);
            element(CONTEXT_1, &[&element(SEQUENCE, &[&extension])])
        });
        let produced_at = generalized_time(self.produced_at);
        let extensions = extensions.as_deref().unwrap_or_default();
        element(SEQUENCE, &[&responder, &produced_at, &element(SEQUENCE, &singles), extensions])
    }
}

/// A successful `OCSPResponse` around a `BasicOCSPResponse`.
pub(super) fn successful(basic: &[u8]) -> Vec<u8> {
    let bytes = element(SEQUENCE, &[BASIC, &element(OCTET_STRING, &[basic])]);
    element(SEQUENCE, &[&[ENUMERATED, 1, 0], &element(CONTEXT_0, &[&bytes])])
}

/// `GeneralizedTime` in UTC without fractions (RFC 5280, section 4.1.2.5.2).
fn generalized_time(moment: OffsetDateTime) -> Vec<u8> {
    let moment = moment.to_offset(time::UtcOffset::UTC);
    let (date, time) = (moment.date(), moment.time());
    let text = format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}Z",
        date.year().clamp(0, 9_999),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    element(GENERALIZED_TIME, &[text.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_loses_its_fraction() {
        let moment = time::macros::datetime!(2026-01-31 23:59:59.999 +01:00);
        assert_eq!(&generalized_time(moment)[2..], b"20260131225959Z");
    }
}
