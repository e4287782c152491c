//! From what the tables hold to the octets of a publication's two lists.

use std::sync::Arc;

use signalbeam_domain::authority::{CrlContents, CrlDocument, CrlKind, CrlPublished, DeltaEntry, ListedAs, Signature};
use signalbeam_domain::{Position, Timestamp};
use signalbeam_pki::{AuthorityError, CertificateAuthority, CrlEntry, ReasonCode, RevocationList, SignedCrl};
use signalbeam_projections::EndedCertificate;

/// What a publication says of itself, before it is signed.
#[derive(Debug, Clone)]
pub(super) struct Heading {
    pub(super) number: u64,
    pub(super) kind: CrlKind,
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
    pub(super) complete_to: Position,
    pub(super) freshest_crl_url: Option<String>,
}

impl Heading {
    pub(super) fn of(published: &CrlPublished) -> Self {
        Self {
            number: published.number,
            kind: published.kind,
            this_update: published.this_update,
            next_update: published.next_update,
            complete_to: published.complete_to,
            freshest_crl_url: published.freshest_crl_url.clone(),
        }
    }
}

/// The octets of both lists that are to be signed.
#[derive(Debug)]
pub(super) struct Octets {
    pub(super) complete: Vec<u8>,
    pub(super) delta: Vec<u8>,
    complete_entries: u64,
    delta_entries: u64,
}

/// The same heading, contents and endings always make the same octets.
pub(super) fn octets(
    authority: &CertificateAuthority,
    heading: &Heading,
    contents: &CrlContents,
    endings: &[EndedCertificate],
) -> Result<Octets, AuthorityError> {
    let complete = list(heading, None, endings.iter().filter_map(|ended| complete_entry(contents, ended)).collect());
    let base = Some(contents.base.number());
    let delta = list(heading, base, endings.iter().filter_map(|ended| delta_entry(contents, ended)).collect());
    Ok(Octets {
        complete: authority.crl_to_be_signed(&complete)?,
        delta: authority.crl_to_be_signed(&delta)?,
        complete_entries: complete.entries.len() as u64,
        delta_entries: delta.entries.len() as u64,
    })
}

/// The event that records two signed lists.
pub(super) fn event(
    heading: Heading,
    contents: &CrlContents,
    octets: &Octets,
    complete: &SignedCrl,
    delta: &SignedCrl,
) -> CrlPublished {
    let document = |entries, signed: &SignedCrl| CrlDocument {
        entries,
        sha256: signed.sha256,
        signature: Signature(signed.signature.clone()),
    };
    CrlPublished {
        number: heading.number,
        base_number: contents.base.number(),
        kind: heading.kind,
        this_update: heading.this_update,
        next_update: heading.next_update,
        complete_to: heading.complete_to,
        freshest_crl_url: heading.freshest_crl_url,
        complete: document(octets.complete_entries, complete),
        delta: document(octets.delta_entries, delta),
    }
}

/// The lists that an event records, made again; `None` where other octets come out than were signed.
pub(super) fn made_again(
    authority: &Arc<CertificateAuthority>,
    published: &CrlPublished,
    contents: &CrlContents,
    endings: &[EndedCertificate],
) -> Option<(SignedCrl, SignedCrl)> {
    let octets = octets(authority, &Heading::of(published), contents, endings).ok()?;
    let again = |octets: &[u8], document: &CrlDocument| {
        let signed = authority.signed_before(octets, document.signature.0.clone()).ok()?;
        (signed.sha256 == document.sha256).then_some(signed)
    };
    again(&octets.complete, &published.complete).zip(again(&octets.delta, &published.delta))
}

fn list(heading: &Heading, base_number: Option<u64>, entries: Vec<CrlEntry>) -> RevocationList {
    RevocationList {
        number: heading.number,
        base_number,
        this_update: heading.this_update.to_offset_date_time(),
        next_update: heading.next_update.to_offset_date_time(),
        // Not in deltas (RFC 5280, section 5.2.6).
        freshest_crl_url: heading.freshest_crl_url.clone().filter(|_| base_number.is_none()),
        entries,
    }
}

fn entry(ended: &EndedCertificate, reason: Option<ReasonCode>) -> CrlEntry {
    CrlEntry { serial_number: ended.serial_number, revoked_at: ended.ended_at.to_offset_date_time(), reason }
}

/// What was superseded and then revoked is listed as what it was when the list was made.
fn reason(listed: ListedAs, ended: &EndedCertificate) -> Option<ReasonCode> {
    match listed {
        ListedAs::Superseded => Some(ReasonCode::SUPERSEDED),
        ListedAs::Revoked => ReasonCode::of(ended.reason),
    }
}

fn complete_entry(contents: &CrlContents, ended: &EndedCertificate) -> Option<CrlEntry> {
    contents.complete.lists(&ended.ending).map(|listed| entry(ended, reason(listed, ended)))
}

fn delta_entry(contents: &CrlContents, ended: &EndedCertificate) -> Option<CrlEntry> {
    contents.delta_lists(&ended.ending).map(|change| match change {
        DeltaEntry::Listed(listed) => entry(ended, reason(listed, ended)),
        DeltaEntry::Removed => entry(ended, Some(ReasonCode::REMOVE_FROM_CRL)),
    })
}
