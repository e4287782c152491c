//! One certificate of an import.
//!
//! It is recorded under a name that is made from its fingerprint, once and for all devices and tenants: the store itself
//! keeps two of them from having the same certificate, whoever imports it at the same moment.

use signalbeam_authn::secrets::sha256;
use signalbeam_authn::{ErrorCode, Problem};
use signalbeam_domain::certificate::{
    CertificateCommand, CertificateError, CertificateEvent, CertificateImported, Certificates, Standing,
};
use signalbeam_domain::device::{Device, DeviceCommand, DeviceImported};
use signalbeam_domain::{
    Aggregate, AuthorityId, Context, DeviceId, DeviceName, Event, Position, SerialNumber, StreamId, TenantId,
    Timestamp, Version,
};
use signalbeam_event_store::execute::MAX_DECISIONS;
use signalbeam_event_store::{Appended, ExpectedVersion, Idempotency, StreamWrite, new_events};
use signalbeam_pki::{ForeignCertificate, ForeignCertificateError};
use uuid::Uuid;

use super::{ImportCertificate, ImportOutcome, ImportResult, Taken};
use crate::certificates::refused;
use crate::command::{Cause, contended, internal, store_unavailable};
use crate::state::CommandApi;

/// One request, with all that importing a certificate takes.
#[derive(Clone)]
pub(super) struct Import {
    pub(super) api: CommandApi,
    pub(super) cause: Cause,
    pub(super) tenant_id: TenantId,
    /// Where the log ended when the request came in.
    pub(super) begun: Position,
    pub(super) dry_run: bool,
}

impl Import {
    pub(super) async fn result(&self, asked: ImportCertificate) -> (ImportResult, Option<Position>) {
        match self.import(asked).await {
            Ok(taken) => {
                let result = ImportResult {
                    outcome: taken.outcome,
                    device_id: taken.device_id,
                    serial_number: Some(taken.serial_number),
                    fingerprint: Some(taken.fingerprint),
                    code: None,
                    detail: None,
                };
                (result, taken.position)
            }
            Err(problem) => {
                let result = ImportResult {
                    outcome: ImportOutcome::Failed,
                    device_id: None,
                    serial_number: None,
                    fingerprint: None,
                    code: Some(problem.code().as_str()),
                    detail: Some(problem.detail().to_owned()),
                };
                (result, None)
            }
        }
    }

    async fn import(&self, asked: ImportCertificate) -> Result<Taken, Problem> {
        let certificate = ForeignCertificate::parse(&asked.certificate).map_err(|error| unacceptable(&error))?;
        if let Some(known) = self.api.index.certificate(&certificate.fingerprint) {
            if !known.is_imported {
                return Err(ours());
            }
            let is_meant = asked.device_id.is_none_or(|id| id == known.device_id);
            let is_here = self.api.index.device(known.device_id).is_some_and(|d| d.tenant_id == self.tenant_id);
            if !is_meant || !is_here {
                return Err(elsewhere());
            }
            require_active(known.standing)?;
            return self.known(&certificate, known.device_id).await;
        }
        self.require_foreign_and_in_time(&certificate)?;
        match asked.device_id {
            Some(device_id) => self.for_device(&certificate, device_id).await,
            None => self.with_new_device(&certificate, asked).await,
        }
    }

    /// Imported before; by this very command, where it is named and this is a repetition.
    async fn known(&self, certificate: &ForeignCertificate, device_id: DeviceId) -> Result<Taken, Problem> {
        let recorded = self.api.store.command(&name(certificate).command_id).await;
        let recorded = recorded.map_err(|error| store_unavailable(&error))?;
        Ok(self.taken(certificate, device_id, recorded.map(|recorded| recorded.position).unwrap_or_default()))
    }

    fn require_foreign_and_in_time(&self, certificate: &ForeignCertificate) -> Result<(), Problem> {
        if self.api.authorities.current().verifier().verify(certificate.der()).is_ok() {
            return Err(ours());
        }
        let now = self.api.now().unix_seconds();
        if certificate.validity.not_after.unix_timestamp() < now {
            return Err(Problem::new(ErrorCode::InvalidCertificate, "it has expired"));
        }
        Ok(())
    }

    async fn for_device(&self, certificate: &ForeignCertificate, device_id: DeviceId) -> Result<Taken, Problem> {
        for _ in 0..MAX_DECISIONS {
            let device = self.api.device(device_id, Some(self.tenant_id)).await?;
            device.require_approved()?;
            let stream = StreamId::certificates(device_id);
            let (certificates, version) = self.api.load::<Certificates>(&stream).await?;
            let events = self.decide(&certificates, certificate, device_id)?;
            if self.dry_run {
                return Ok(would_be_taken(certificate, Some(device_id)));
            }
            let events = new_events(Some(self.tenant_id), events);
            let write = StreamWrite { stream, expected: ExpectedVersion::Exact(version), events };
            if let Some(appended) = self.append(certificate, vec![write, device.unchanged()]).await? {
                return self.recorded(certificate, &appended, Some(device_id)).await;
            }
        }
        Err(contended())
    }

    async fn with_new_device(
        &self,
        certificate: &ForeignCertificate,
        asked: ImportCertificate,
    ) -> Result<Taken, Problem> {
        let _slot = self.api.device_slot(self.tenant_id).await?;
        if self.dry_run {
            return Ok(would_be_taken(certificate, None));
        }
        let device_id = DeviceId::from_uuid(Uuid::now_v7());
        let imported = DeviceImported {
            device_id,
            tenant_id: self.tenant_id,
            device_name: asked.device_name.map_or_else(|| name_of_device(certificate), Ok)?,
            metadata: asked.metadata.unwrap_or_default(),
            tags: asked.tags.unwrap_or_default(),
        };
        let context = Context { now: self.api.now() };
        let device = Device::default().decide(DeviceCommand::Import(imported), &context);
        // The id has just been drawn, so nothing can have happened to the device.
        let device = device.map_err(|error| internal(&error))?;
        let certificates = self.decide(&Certificates::default(), certificate, device_id)?;
        let write = |stream, events| StreamWrite { stream, expected: ExpectedVersion::Exact(Version(0)), events };
        let writes = vec![
            write(StreamId::device(device_id), new_events(Some(self.tenant_id), device)),
            write(StreamId::certificates(device_id), new_events(Some(self.tenant_id), certificates)),
        ];
        let appended = self.append(certificate, writes).await?.ok_or_else(contended)?;
        self.recorded(certificate, &appended, None).await
    }

    fn decide(
        &self,
        certificates: &Certificates,
        certificate: &ForeignCertificate,
        device_id: DeviceId,
    ) -> Result<Vec<CertificateEvent>, Problem> {
        let imported = CertificateImported {
            serial_number: SerialNumber::of_imported(&certificate.fingerprint),
            device_id,
            tenant_id: self.tenant_id,
            fingerprint: certificate.fingerprint,
            foreign_serial_number: certificate.serial_number.clone(),
            issuer: certificate.issuer.clone(),
            authority_id: authority_of(certificate),
            subject: certificate.subject.clone(),
            not_before: Timestamp::from_offset_date_time(certificate.validity.not_before),
            not_after: Timestamp::from_offset_date_time(certificate.validity.not_after),
            public_key_sha256: certificate.public_key.sha256(),
            certificate_pem: certificate.pem(),
        };
        let context = Context { now: self.api.now() };
        certificates.decide(CertificateCommand::Import(imported), &context).map_err(|error| match error {
            CertificateError::Revoked => ended(),
            other => refused(&other),
        })
    }

    /// Records it under its name.
    async fn append(
        &self,
        certificate: &ForeignCertificate,
        writes: Vec<StreamWrite>,
    ) -> Result<Option<Appended>, Problem> {
        let cause = Cause { idempotency: Some(name(certificate)), ..self.cause.clone() };
        self.api.append(&cause, writes).await
    }

    /// What is recorded under its name: by this append, or by a faster one, perhaps for another device.
    async fn recorded(
        &self,
        certificate: &ForeignCertificate,
        appended: &Appended,
        wanted: Option<DeviceId>,
    ) -> Result<Taken, Problem> {
        let imported = appended.events.iter().find_map(|recorded| match recorded.event() {
            Ok(Event::CertificateEvent(CertificateEvent::Imported(imported))) => Some(imported),
            _ => None,
        });
        let imported = imported.ok_or_else(|| internal(&CertificateError::Unknown))?;
        let device_id = imported.device_id;
        if imported.tenant_id != self.tenant_id || wanted.is_some_and(|wanted| wanted != device_id) {
            return Err(elsewhere());
        }
        if appended.is_repeat {
            let (certificates, _) = self.api.load::<Certificates>(&StreamId::certificates(device_id)).await?;
            let known =
                certificates.find(imported.serial_number).ok_or_else(|| internal(&CertificateError::Unknown))?;
            require_active(known.standing)?;
        } else {
            let serial_number = imported.serial_number;
            tracing::info!(%device_id, %serial_number, "certificate imported");
        }
        Ok(self.taken(certificate, device_id, appended.position))
    }

    fn taken(&self, certificate: &ForeignCertificate, device_id: DeviceId, position: Position) -> Taken {
        let is_new = position > self.begun;
        let outcome = if is_new { ImportOutcome::Imported } else { ImportOutcome::Unchanged };
        Taken { outcome, position: Some(position), ..would_be_taken(certificate, Some(device_id)) }
    }
}

fn would_be_taken(certificate: &ForeignCertificate, device_id: Option<DeviceId>) -> Taken {
    Taken {
        outcome: ImportOutcome::Imported,
        device_id,
        serial_number: SerialNumber::of_imported(&certificate.fingerprint),
        fingerprint: certificate.fingerprint,
        position: None,
    }
}

/// The one name under which a certificate can be imported, by whomever.
fn name(certificate: &ForeignCertificate) -> Idempotency {
    let fingerprint = certificate.fingerprint.to_string();
    let command_id = sha256(format!("certificate import\n{fingerprint}").as_bytes());
    Idempotency { command_id, body_sha256: sha256(fingerprint.as_bytes()) }
}

/// An id for the authority that issued it, made from that one's name (RFC 9562, section 5.8).
fn authority_of(certificate: &ForeignCertificate) -> AuthorityId {
    let mut octets = [0; 16];
    octets.copy_from_slice(&certificate.issuer_sha256[..16]);
    AuthorityId::from_uuid(uuid::Builder::from_custom_bytes(octets).into_uuid())
}

/// Its common name, where that can be a device's.
fn name_of_device(certificate: &ForeignCertificate) -> Result<DeviceName, Problem> {
    if let Some(common_name) = &certificate.common_name
        && let Ok(name) = DeviceName::parse(common_name)
    {
        return Ok(name);
    }
    let serial_number = SerialNumber::of_imported(&certificate.fingerprint);
    DeviceName::parse(&format!("imported {serial_number}")).map_err(|error| internal(&error))
}

fn require_active(standing: Standing) -> Result<(), Problem> {
    if standing == Standing::Active { Ok(()) } else { Err(ended()) }
}

fn ended() -> Problem {
    Problem::new(ErrorCode::InvalidState, "the certificate was revoked or superseded here, and stays so")
}

fn ours() -> Problem {
    Problem::new(ErrorCode::InvalidCertificate, "this installation issued it itself")
}

fn elsewhere() -> Problem {
    Problem::new(ErrorCode::InvalidCertificate, "it is imported for another device")
}

fn unacceptable(error: &ForeignCertificateError) -> Problem {
    let code = match error {
        ForeignCertificateError::WeakKey(_) => ErrorCode::WeakKey,
        ForeignCertificateError::PrivateKey | ForeignCertificateError::Unacceptable(_) => ErrorCode::InvalidCertificate,
    };
    Problem::new(code, error.to_string())
}
