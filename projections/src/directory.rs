//! The projection `directory`: what a batch of events changes in the tables.
//!
//! A batch is folded in memory first: new rows, and for each row that exists one patch that says what became of it. That
//! makes a handful of statements of a batch, however many events it has.

mod rows;
mod sql;

use std::collections::BTreeMap;

use serde::Serialize;
use signalbeam_domain::admin_token::AdminTokenEvent;
use signalbeam_domain::api_key::{ApiKeyEvent, KeyIssued};
use signalbeam_domain::authority::{AuthorityCreated, AuthorityEvent};
use signalbeam_domain::certificate::{CertificateEvent, CertificateImported, CertificateIssued, RevocationReason};
use signalbeam_domain::device::{DeviceEvent, DeviceOrigin, DeviceRenamed, Registration};
use signalbeam_domain::registration_token::{RegistrationTokenEvent, TokenIssued};
use signalbeam_domain::{
    ApiKeyId, DeviceId, DeviceStatus, Envelope, Event, Position, Prefix, SecretVerifier, SerialNumber, Tags, Timestamp,
};
use signalbeam_event_store::Recorded;
use sqlx::SqliteConnection;

use self::rows::{
    AdminTokenRow, ApiKeyPatch, ApiKeyRow, AuthorityEnd, AuthorityRotation, CertificatePatch, CertificateRow,
    DevicePatch, DeviceRow, ServiceCertificateRow, TokenPatch, TokenRow,
};
use crate::progress::ProjectionFailure;
use crate::standing::{CertificateOrigin, CertificateType, issuer_der};

/// What a batch of events changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    devices: Vec<DeviceRow>,
    device_patches: BTreeMap<DeviceId, DevicePatch>,
    /// The tags of every device that got any, or other ones: those that it has in the end.
    device_tags: BTreeMap<DeviceId, Tags>,
    api_keys: Vec<ApiKeyRow>,
    api_key_patches: BTreeMap<ApiKeyId, ApiKeyPatch>,
    tokens: Vec<TokenRow>,
    token_patches: BTreeMap<Prefix, TokenPatch>,
    certificates: Vec<CertificateRow>,
    certificate_patches: BTreeMap<SerialNumber, CertificatePatch>,
    authority_rotations: Vec<AuthorityRotation>,
    service_certificates: Vec<ServiceCertificateRow>,
    authority_ends: Vec<AuthorityEnd>,
    admin_tokens: Vec<AdminTokenRow>,
}

impl Changes {
    /// Folds events, which stand in the order of the log.
    pub(crate) fn of(events: &[Recorded]) -> Result<Self, ProjectionFailure> {
        let mut changes = Self::default();
        for recorded in events {
            let event = recorded.event().map_err(|source| ProjectionFailure::unreadable(recorded, source))?;
            let moment = Moment::of(&recorded.envelope);
            match event {
                Event::DeviceEvent(event) => changes.device(event, &recorded.envelope, moment)?,
                Event::RegistrationTokenEvent(event) => changes.token(event, &recorded.envelope, moment)?,
                Event::ApiKeyEvent(event) => changes.api_key(event, moment),
                Event::CertificateEvent(event) => changes.certificate(event, &recorded.envelope, moment),
                Event::AuthorityEvent(event) => changes.authority(event, &recorded.envelope, moment),
                Event::AdminTokenEvent(event) => {
                    changes.admin_tokens.push(revocation(event, &recorded.envelope, moment));
                }
                // No table shows them; the log itself does.
                Event::EventLogEvent(_) | Event::AuditSegmentEvent(_) => {}
            }
        }
        Ok(changes)
    }

    /// Writes the rows: new ones first, then what became of those that exist.
    pub(crate) async fn write(self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        insert(connection, DeviceRow::INSERT, &self.devices).await?;
        insert(connection, ApiKeyRow::INSERT, &self.api_keys).await?;
        insert(connection, TokenRow::INSERT, &self.tokens).await?;
        insert(connection, CertificateRow::INSERT, &self.certificates).await?;
        insert(connection, ServiceCertificateRow::INSERT, &self.service_certificates).await?;
        insert(connection, AdminTokenRow::INSERT, &self.admin_tokens).await?;
        patch(connection, sql::PATCH_DEVICES, &self.device_patches).await?;
        patch(connection, sql::CLEAR_TAGS, &self.device_tags).await?;
        patch(connection, sql::INSERT_TAGS, &self.device_tags).await?;
        patch(connection, sql::PATCH_API_KEYS, &self.api_key_patches).await?;
        patch(connection, sql::PATCH_TOKENS, &self.token_patches).await?;
        patch(connection, sql::PATCH_CERTIFICATES, &self.certificate_patches).await?;
        insert(connection, sql::ROTATE_AUTHORITIES, &self.authority_rotations).await?;
        insert(connection, sql::END_AUTHORITIES, &self.authority_ends).await
    }

    fn device(&mut self, event: DeviceEvent, envelope: &Envelope, moment: Moment) -> Result<(), ProjectionFailure> {
        let named = DeviceId::parse(envelope.stream.id()).map_err(|_| ProjectionFailure::nameless(envelope));
        let event = match event {
            DeviceEvent::Registered(registered) => {
                self.new_device(registered.into(), moment);
                return Ok(());
            }
            DeviceEvent::Imported(imported) => {
                self.new_device(imported.into(), moment);
                return Ok(());
            }
            event => event,
        };
        let device_id = named?;
        if let DeviceEvent::Renamed(DeviceRenamed { tags: Some(tags), .. }) = &event {
            self.device_tags.insert(device_id, tags.clone());
        }
        self.device_patches.entry(device_id).or_default().apply(event, moment);
        Ok(())
    }

    fn new_device(&mut self, registration: Registration, moment: Moment) {
        if !registration.tags.is_empty() {
            self.device_tags.insert(registration.device_id, registration.tags.clone());
        }
        self.devices.push(new_device(registration, moment));
    }

    fn token(
        &mut self,
        event: RegistrationTokenEvent,
        envelope: &Envelope,
        moment: Moment,
    ) -> Result<(), ProjectionFailure> {
        let named = Prefix::parse(envelope.stream.id()).map_err(|_| ProjectionFailure::nameless(envelope));
        if let RegistrationTokenEvent::Issued(issued) = event {
            self.tokens.push(new_token(issued, moment));
            return Ok(());
        }
        self.token_patches.entry(named?).or_default().apply(event, moment);
        Ok(())
    }

    fn api_key(&mut self, event: ApiKeyEvent, moment: Moment) {
        match event {
            ApiKeyEvent::Issued(issued) => self.api_keys.push(new_api_key(issued, moment)),
            ApiKeyEvent::FirstUsed(used) => {
                self.api_key_patches.entry(used.key_id).or_default().first_used_at.get_or_insert(moment.at);
            }
            ApiKeyEvent::Revoked(revoked) => {
                let patch = self.api_key_patches.entry(revoked.key_id).or_default();
                patch.revoked_at.get_or_insert(moment.at);
                patch.revocation_cause = Some(revoked.cause);
                patch.revocation_reason = revoked.reason;
            }
            ApiKeyEvent::ExpiryNoticed(noticed) => {
                self.api_key_patches.entry(noticed.key_id).or_default().noticed_days = Some(noticed.threshold_days);
            }
        }
    }

    fn certificate(&mut self, event: CertificateEvent, envelope: &Envelope, moment: Moment) {
        let patches = &mut self.certificate_patches;
        match event {
            // What was only intended is nobody's certificate.
            CertificateEvent::Intended(_) | CertificateEvent::Abandoned(_) => {}
            CertificateEvent::Issued(issued) => self.certificates.push(new_certificate(issued, envelope, moment)),
            CertificateEvent::Imported(imported) => {
                self.certificates.push(new_imported_certificate(imported, envelope, moment));
            }
            CertificateEvent::FirstUsed(used) => {
                patches.entry(used.serial_number).or_default().first_used_at.get_or_insert(moment.at);
            }
            CertificateEvent::Superseded(superseded) => {
                let patch = patches.entry(superseded.serial_number).or_default();
                patch.is_superseded(superseded.superseded_by, moment);
            }
            CertificateEvent::Revoked(revoked) => {
                patches.entry(revoked.serial_number).or_default().is_revoked(revoked, moment);
            }
            CertificateEvent::ExpiryNoticed(noticed) => {
                patches.entry(noticed.serial_number).or_default().noticed_days = Some(noticed.threshold_days);
            }
            CertificateEvent::RenewalRequested(requested) => {
                let patch = patches.entry(requested.serial_number).or_default();
                patch.renewal_window_start = Some(requested.window_start);
                patch.renewal_window_end = Some(requested.window_end);
            }
            CertificateEvent::ReuseSuspected(suspected) => {
                patches.entry(suspected.serial_number).or_default().reuse_suspected_at.get_or_insert(moment.at);
            }
        }
    }

    fn authority(&mut self, event: AuthorityEvent, envelope: &Envelope, moment: Moment) {
        match event {
            AuthorityEvent::Created(created) => {
                self.certificates.push(new_authority_certificate(created, envelope, moment));
            }
            AuthorityEvent::Retired(retired) => self.authority_ends.push(AuthorityEnd {
                authority_id: envelope.stream.id().to_owned(),
                revoked_at: moment.at,
                revoked_by: moment.by,
                ended_position: moment.position,
                revocation_reason_code: retired.reason_code.unwrap_or(RevocationReason::Superseded),
            }),
            AuthorityEvent::Rotated(_) => self
                .authority_rotations
                .push(AuthorityRotation { authority_id: envelope.stream.id().to_owned(), rotated_at: moment.at }),
            AuthorityEvent::ServiceCertificateIntended(intended) => {
                self.service_certificates.push(ServiceCertificateRow {
                    serial_number: intended.serial_number,
                    purpose: intended.purpose,
                    subject: intended.subject,
                    public_key_sha256: intended.public_key_sha256,
                    not_before: intended.not_before,
                    expires_at: intended.not_after,
                    authority_id: envelope.stream.id().to_owned(),
                    intended_at: moment.at,
                });
            }
            // Which of the trusted authorities signs is no matter of its certificate, nor are its lists.
            AuthorityEvent::Activated(_) | AuthorityEvent::CrlPublished(_) => {}
        }
    }
}

/// When something happened, where it stands in the log, and who did it, as `kind:id`.
#[derive(Debug)]
struct Moment {
    at: Timestamp,
    position: Position,
    by: String,
}

impl Moment {
    fn of(envelope: &Envelope) -> Self {
        let by = format!("{}:{}", envelope.actor.kind.as_str(), envelope.actor.id);
        Self { at: envelope.recorded_at, position: envelope.position, by }
    }
}

fn new_device(registration: Registration, moment: Moment) -> DeviceRow {
    let (status, token_prefix, claim_secret_sha256) = match registration.origin {
        DeviceOrigin::Registered { token_prefix, claim_secret_sha256 } => {
            (DeviceStatus::Pending, Some(token_prefix), Some(claim_secret_sha256))
        }
        DeviceOrigin::Imported => (DeviceStatus::Approved, None, None),
    };
    let is_approved = status == DeviceStatus::Approved;
    DeviceRow {
        device_id: registration.device_id,
        tenant_id: registration.tenant_id,
        name: registration.device_name,
        status,
        metadata: rows::Json(registration.metadata),
        tags: rows::Json(registration.tags),
        registered_at: moment.at,
        token_prefix,
        claim_secret_sha256,
        approved_at: is_approved.then_some(moment.at),
        approved_by: is_approved.then(|| moment.by.clone()),
        status_changed_at: moment.at,
        status_changed_by: moment.by,
    }
}

fn new_token(issued: TokenIssued, moment: Moment) -> TokenRow {
    let SecretVerifier { bcrypt, mac, mac_key_id } = issued.verifier;
    TokenRow {
        id: issued.token_id,
        tenant_id: issued.tenant_id,
        token_hash: bcrypt,
        token_prefix: issued.prefix,
        expires_at: issued.expires_at,
        created_at: moment.at,
        created_by: moment.by,
        description: issued.description,
        mac,
        mac_key_id,
    }
}

fn new_api_key(issued: KeyIssued, moment: Moment) -> ApiKeyRow {
    let SecretVerifier { bcrypt, mac, mac_key_id } = issued.verifier;
    ApiKeyRow {
        id: issued.key_id,
        device_id: issued.device_id,
        key_hash: bcrypt,
        key_prefix: issued.prefix,
        expires_at: issued.expires_at,
        created_at: moment.at,
        created_by: moment.by,
        tenant_id: issued.tenant_id,
        mac,
        mac_key_id,
        origin: issued.origin,
    }
}

fn new_certificate(issued: CertificateIssued, envelope: &Envelope, moment: Moment) -> CertificateRow {
    let intended = issued.intended;
    CertificateRow {
        id: envelope.event_id,
        device_id: Some(intended.device_id),
        serial_number: intended.serial_number,
        fingerprint: issued.fingerprint,
        subject: issued.subject,
        kind: CertificateType::Device,
        issued_at: moment.at,
        expires_at: intended.not_after,
        tenant_id: Some(intended.tenant_id),
        profile: Some(intended.profile),
        public_key_sha256: Some(intended.public_key_sha256),
        renewal_of: intended.renewal_of,
        not_before: intended.not_before,
        authority_id: issued.authority_id,
        issuer_authority_id: None,
        issued_by: moment.by,
        origin: CertificateOrigin::Issued,
        foreign_serial_number: None,
        issuer: None,
        issuer_der: None,
        certificate_pem: issued.certificate_pem,
    }
}

fn new_imported_certificate(imported: CertificateImported, envelope: &Envelope, moment: Moment) -> CertificateRow {
    let issuer_der = issuer_der(&imported.certificate_pem);
    CertificateRow {
        id: envelope.event_id,
        device_id: Some(imported.device_id),
        serial_number: imported.serial_number,
        fingerprint: imported.fingerprint,
        subject: imported.subject,
        kind: CertificateType::Device,
        issued_at: moment.at,
        expires_at: imported.not_after,
        tenant_id: Some(imported.tenant_id),
        profile: None,
        public_key_sha256: Some(imported.public_key_sha256),
        renewal_of: None,
        not_before: imported.not_before,
        authority_id: imported.authority_id,
        issuer_authority_id: None,
        issued_by: moment.by,
        origin: CertificateOrigin::Imported,
        foreign_serial_number: Some(imported.foreign_serial_number),
        issuer: Some(imported.issuer),
        issuer_der: issuer_der.as_deref().map(hex),
        certificate_pem: imported.certificate_pem,
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(2 * octets.len()), |text, octet| text + &format!("{octet:02x}"))
}

fn new_authority_certificate(created: AuthorityCreated, envelope: &Envelope, moment: Moment) -> CertificateRow {
    CertificateRow {
        id: envelope.event_id,
        device_id: None,
        serial_number: created.serial_number,
        fingerprint: created.fingerprint,
        subject: created.subject,
        kind: CertificateType::of_authority(&created.certificate_pem),
        issued_at: moment.at,
        expires_at: created.not_after,
        tenant_id: None,
        profile: None,
        public_key_sha256: None,
        renewal_of: None,
        not_before: created.not_before,
        authority_id: created.authority_id,
        issuer_authority_id: created.issuer_id,
        issued_by: moment.by,
        origin: CertificateOrigin::Issued,
        foreign_serial_number: None,
        issuer: None,
        issuer_der: None,
        certificate_pem: created.certificate_pem,
    }
}

fn revocation(event: AdminTokenEvent, envelope: &Envelope, moment: Moment) -> AdminTokenRow {
    let (token, issued_before, reason) = match event {
        AdminTokenEvent::Revoked(token) => (Some((token.jti, token.issuer, token.expires_at)), None, token.reason),
        AdminTokenEvent::AllRevoked(all) => (None, Some(all.issued_before), all.reason),
    };
    let (jti, issuer, expires_at) = token.map_or((None, None, None), |(jti, issuer, at)| (Some(jti), Some(issuer), at));
    AdminTokenRow {
        id: envelope.event_id,
        jti,
        issuer,
        expires_at,
        issued_before,
        reason,
        revoked_at: moment.at,
        revoked_by: moment.by,
    }
}

async fn insert<T: Serialize>(
    connection: &mut SqliteConnection,
    statement: &'static str,
    rows: &[T],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() { Ok(()) } else { execute(connection, statement, &rows).await }
}

async fn patch<K: Serialize, P: Serialize>(
    connection: &mut SqliteConnection,
    statement: &'static str,
    patches: &BTreeMap<K, P>,
) -> Result<(), sqlx::Error> {
    if patches.is_empty() { Ok(()) } else { execute(connection, statement, patches).await }
}

/// Hands all rows to one statement, as one JSON text that it takes apart with `jsonb_each`.
async fn execute(
    connection: &mut SqliteConnection,
    statement: &'static str,
    rows: &impl Serialize,
) -> Result<(), sqlx::Error> {
    let json = serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(statement).bind(json).execute(connection).await?;
    Ok(())
}
