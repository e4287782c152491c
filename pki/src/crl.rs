//! Revocation lists (RFC 5280, section 5): version 2, complete or delta, of one authority.
//!
//! The octets that are signed follow from what the list says and nothing else, so that whoever knows the signature can
//! make the same list again.

mod der;

use signalbeam_domain::certificate::RevocationReason;
use signalbeam_domain::{Digest, SerialNumber};
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;

use self::der::{BIT_STRING, ENUMERATED, SEQUENCE, element, push, push_extension, push_time, push_unsigned};
use crate::authority::{AuthorityError, CertificateAuthority};
use crate::certificate::{self, sha256};
use crate::key_store::CaKeyType;
use crate::pem;
use crate::signing::holds;

/// What the octets of an entry come to, a little generously: serial number, time, reason.
const ENTRY_OCTETS: usize = 56;

/// `AlgorithmIdentifier` of sha256WithRSAEncryption (RFC 4055, section 5).
const SHA256_WITH_RSA: &[u8] = &[0x30, 13, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 0x05, 0];
/// `AlgorithmIdentifier` of ecdsa-with-SHA256 (RFC 5758, section 3.2).
const ECDSA_WITH_SHA256: &[u8] = &[0x30, 10, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// `AlgorithmIdentifier` of ecdsa-with-SHA384 (RFC 5758, section 3.2).
const ECDSA_WITH_SHA384: &[u8] = &[0x30, 10, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];

/// id-ce-cRLNumber (RFC 5280, section 5.2.3).
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 20];
/// id-ce-cRLReasons (RFC 5280, section 5.3.1).
const REASON_CODE: &[u8] = &[0x55, 0x1d, 21];
/// id-ce-deltaCRLIndicator (RFC 5280, section 5.2.4).
const DELTA_CRL_INDICATOR: &[u8] = &[0x55, 0x1d, 27];
/// id-ce-authorityKeyIdentifier (RFC 5280, section 5.2.1).
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 35];
/// id-ce-freshestCRL (RFC 5280, section 5.2.6).
const FRESHEST_CRL: &[u8] = &[0x55, 0x1d, 46];

/// Why a certificate is listed (RFC 5280, section 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasonCode(u8);

impl ReasonCode {
    /// Another certificate took its place.
    pub const SUPERSEDED: Self = Self(4);
    /// It is on the complete list no longer; only in deltas.
    pub const REMOVE_FROM_CRL: Self = Self(8);

    /// The code of a reason; none where nothing is said, which is left out (RFC 5280, section 5.3.1).
    pub fn of(reason: RevocationReason) -> Option<Self> {
        (reason != RevocationReason::Unspecified).then(|| Self(reason.code()))
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }
}

/// One certificate of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlEntry {
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// When it ended; a fraction of a second does not count.
    pub revoked_at: OffsetDateTime,
    /// Why; nothing is written where that was not said.
    pub reason: Option<ReasonCode>,
}

/// What a list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// Its number.
    pub number: u64,
    /// For a delta: the number of the complete list that it refers to.
    pub base_number: Option<u64>,
    /// When it was made; a fraction of a second does not count.
    pub this_update: OffsetDateTime,
    /// By when a newer one will be there.
    pub next_update: OffsetDateTime,
    /// Where deltas are found; only in complete lists.
    pub freshest_crl_url: Option<String>,
    /// The certificates, in the order in which they are written.
    pub entries: Vec<CrlEntry>,
}

/// A list that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCrl {
    /// The list, DER.
    pub der: Vec<u8>,
    /// The signature in it.
    pub signature: Vec<u8>,
    /// The SHA-256 of its DER.
    pub sha256: Digest,
}

impl SignedCrl {
    /// The list, PEM.
    pub fn pem(der: &[u8]) -> String {
        pem::encode("X509 CRL", der)
    }
}

impl CertificateAuthority {
    /// The octets of a list that are signed (`TBSCertList`): always the same ones for the same list.
    ///
    /// # Errors
    /// [`AuthorityError::Certificate`] where the authority's own certificate does not allow lists.
    pub fn crl_to_be_signed(&self, list: &RevocationList) -> Result<Vec<u8>, AuthorityError> {
        let key_identifier = list_key_identifier(self.certificate_der())?;
        let mut contents = Vec::with_capacity(list.entries.len() * ENTRY_OCTETS + 1_024);
        push_unsigned(&mut contents, &[1]);
        contents.extend_from_slice(self.crl_algorithm());
        contents.extend_from_slice(self.subject_der());
        push_time(&mut contents, list.this_update);
        push_time(&mut contents, list.next_update);
        // Absent where there is none (RFC 5280, section 5.1.2.6).
        if !list.entries.is_empty() {
            push(&mut contents, SEQUENCE, &entries(&list.entries));
        }
        let extensions = element(SEQUENCE, &extensions(list, key_identifier.as_deref()));
        push(&mut contents, 0xa0, &extensions);
        Ok(element(SEQUENCE, &contents))
    }

    /// Signs a list with the authority's key.
    ///
    /// # Errors
    /// [`AuthorityError`] where the key store cannot sign, or its signature does not hold.
    pub async fn sign_crl(&self, to_be_signed: &[u8]) -> Result<SignedCrl, AuthorityError> {
        let signature = self.sign(to_be_signed).await?;
        Ok(self.assemble(to_be_signed, signature))
    }

    /// A list that was signed before, out of its octets and its signature.
    ///
    /// # Errors
    /// [`AuthorityError::BadSignature`] where the signature was made over other octets.
    pub fn signed_before(&self, to_be_signed: &[u8], signature: Vec<u8>) -> Result<SignedCrl, AuthorityError> {
        if holds(self.public_key(), to_be_signed, &signature) {
            Ok(self.assemble(to_be_signed, signature))
        } else {
            Err(AuthorityError::BadSignature)
        }
    }

    fn assemble(&self, to_be_signed: &[u8], signature: Vec<u8>) -> SignedCrl {
        let mut contents = Vec::with_capacity(to_be_signed.len() + signature.len() + 32);
        contents.extend_from_slice(to_be_signed);
        contents.extend_from_slice(self.crl_algorithm());
        push(&mut contents, BIT_STRING, &[&[0], signature.as_slice()].concat());
        let der = element(SEQUENCE, &contents);
        SignedCrl { sha256: Digest(sha256(&der)), der, signature }
    }

    fn crl_algorithm(&self) -> &'static [u8] {
        match self.public_key().key_type() {
            CaKeyType::Rsa2048 | CaKeyType::Rsa3072 | CaKeyType::Rsa4096 => SHA256_WITH_RSA,
            CaKeyType::EcdsaP256 => ECDSA_WITH_SHA256,
            CaKeyType::EcdsaP384 => ECDSA_WITH_SHA384,
        }
    }
}

/// The identifier of the key that signs lists, where the authority's certificate has one.
fn list_key_identifier(certificate: &[u8]) -> Result<Option<Vec<u8>>, AuthorityError> {
    let parsed = certificate::parse(certificate).ok_or(AuthorityError::Certificate("it cannot be read"))?;
    let may_sign = parsed.key_usage().ok().flatten().is_none_or(|usage| usage.value.crl_sign());
    if !may_sign {
        return Err(AuthorityError::Certificate("its keyUsage does not allow signing revocation lists"));
    }
    Ok(parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    }))
}

fn entries(listed: &[CrlEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(listed.len() * ENTRY_OCTETS);
    let mut entry = Vec::with_capacity(ENTRY_OCTETS);
    for certificate in listed {
        entry.clear();
        push_unsigned(&mut entry, certificate.serial_number.as_octets());
        push_time(&mut entry, certificate.revoked_at);
        if let Some(code) = certificate.reason.map(ReasonCode::number) {
            let mut extension = Vec::with_capacity(16);
            push_extension(&mut extension, REASON_CODE, false, &element(ENUMERATED, &[code]));
            push(&mut entry, SEQUENCE, &extension);
        }
        push(&mut out, SEQUENCE, &entry);
    }
    out
}

fn extensions(list: &RevocationList, key_identifier: Option<&[u8]>) -> Vec<u8> {
    let mut out = vec![];
    if let Some(identifier) = key_identifier {
        let value = element(SEQUENCE, &element(0x80, identifier));
        push_extension(&mut out, AUTHORITY_KEY_IDENTIFIER, false, &value);
    }
    let number = |number: u64| {
        let mut value = vec![];
        push_unsigned(&mut value, &number.to_be_bytes());
        value
    };
    push_extension(&mut out, CRL_NUMBER, false, &number(list.number));
    if let Some(base) = list.base_number {
        push_extension(&mut out, DELTA_CRL_INDICATOR, true, &number(base));
    }
    if let Some(url) = &list.freshest_crl_url {
        push_extension(&mut out, FRESHEST_CRL, false, &distribution_point(url));
    }
    out
}

/// `CRLDistributionPoints` with one point: `[0] { [0] { [6] uri } }`.
fn distribution_point(url: &str) -> Vec<u8> {
    let full_name = element(0xa0, &element(0x86, url.as_bytes()));
    element(SEQUENCE, &element(SEQUENCE, &element(0xa0, &full_name)))
}
