//! A registered device in conversation with its server: status, credentials, and requests by the best credential it has.

use std::cell::Cell;

use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::api::{self, RegistrationStatus};
use crate::cert_store::{CertStore, Installation};
use crate::certificate::KeyedCertificate;
use crate::credentials::{Credentials, CredentialsFile, DeviceStatus};
use crate::decision::{Age, CLOCK_WARNING, certificate_age, claim_is_due};
use crate::failure::Failure;
use crate::locations::Locations;
use crate::problem::Problem;
use crate::transport::{Call, CallError, Client, Credential};
use crate::trust::{PinnedCa, Roots};

mod anchors;
mod api_key;

/// It holds for certificates that another one superseded, too: the server's word for both is the same.
const REVOKED_ADVICE: &str = "Once an administrator agrees, run 'signalbeam-agent request-certificate'; one that was only \
     superseded is replaced by itself";

/// The credential that a request succeeded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The client certificate of the connection.
    Certificate,
    /// The API key.
    ApiKey,
}

impl Method {
    /// The word of the server's authentication log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "Certificate",
            Self::ApiKey => "ApiKey",
        }
    }
}

/// A device that has an id, with its credentials file held until this is dropped.
pub struct Session {
    file: CredentialsFile,
    credentials: Credentials,
    device_id: Uuid,
    pinned: Option<PinnedCa>,
    roots: Roots,
    certs: CertStore,
    server_time: Cell<Option<OffsetDateTime>>,
    certificate_ended: bool,
    revoked_serial: Option<String>,
}

impl Session {
    /// Reads the credentials and the trust that registration left.
    ///
    /// # Errors
    /// When the device is not registered, or a file is damaged.
    pub fn open(locations: &Locations) -> Result<Self, Failure> {
        let not_registered = || Failure::NotRegistered(locations.credentials.clone());
        if !locations.credentials.exists() {
            return Err(not_registered());
        }
        let file = CredentialsFile::open_on(locations.disk().clone(), &locations.credentials)?;
        let credentials = file.load()?.ok_or_else(not_registered)?;
        let device_id = credentials.device_id.ok_or(Failure::RegistrationUnfinished)?;
        let pinned = credentials
            .ca_fingerprint
            .as_ref()
            .map(|fingerprint| PinnedCa::stored(file.path(), fingerprint))
            .transpose()?;
        let roots = match &pinned {
            Some(pinned) => pinned.roots().clone(),
            None => Roots::of_system()?,
        };
        let certs = locations.cert_store(Some(&credentials))?;
        let server_time = Cell::default();
        Ok(Self {
            file,
            credentials,
            device_id,
            pinned,
            roots,
            certs,
            server_time,
            certificate_ended: false,
            revoked_serial: None,
        })
    }

    /// The device's id.
    pub fn device_id(&self) -> Uuid {
        self.device_id
    }

    /// What is known of the device.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The certificate directory.
    pub fn certs(&self) -> &CertStore {
        &self.certs
    }

    /// The installed certificate, if it is this device's. One that another identity left behind is none.
    ///
    /// # Errors
    /// When the files are damaged or do not belong together.
    pub fn installed(&self) -> Result<Option<Installation>, Failure> {
        let installed = self.certs.installed()?;
        Ok(installed.filter(|found| self.is_ours(&found.identity)))
    }

    /// Whether a certificate names this device.
    pub fn is_ours(&self, identity: &KeyedCertificate) -> bool {
        let subject = identity.info().subject.to_lowercase();
        subject.split(", ").any(|part| part == format!("cn=device-{}", self.device_id))
    }

    /// Puts a certificate in force and writes it into the credentials. The CAs that come with it are believed from now on.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn install(&mut self, new: Installation, now: OffsetDateTime) -> Result<(), Failure> {
        let new = self.with_known_anchors(new, now)?;
        self.credentials.certificate = Some(self.certs.install(&new)?);
        self.take_back_revoked();
        self.file.save(&self.credentials)?;
        self.certs.forget_pending()?;
        self.believe(&new.ca_pem, now)
    }

    /// Asks the server where the device stands, by its claim secret, and claims the API key where there is one to claim.
    /// What cannot be written down now is still answered.
    ///
    /// # Errors
    /// When the server cannot be asked or a claimed key not be stored.
    pub fn synchronise(&mut self, now: OffsetDateTime) -> Result<RegistrationStatus, Failure> {
        let call = api::registration_status(self.device_id);
        let mut answer: RegistrationStatus =
            self.send(None, &call, Credential::Bearer(&self.credentials.claim_secret))?;
        self.warn_of_clock(now);
        self.credentials.status = answer.status.clone();
        self.credentials.device_name.clone_from(&answer.device_name);
        // A crash between the switch of the certificate and the writing of the credentials left the former record.
        if let Ok(Some(installed)) = self.installed() {
            self.credentials.certificate = Some(self.certs.record(&installed));
        }
        if let Err(failure) = self.file.save(&self.credentials) {
            warn!(reason = %failure, "the device's status cannot be written down");
        }
        let current = self.credentials.api_key.as_ref().and(self.credentials.api_key_expires_at);
        let stored = self.credentials.next_api_key.as_ref().map(|next| next.expires_at).or(current);
        if answer.status == DeviceStatus::Approved && claim_is_due(now, stored, answer.api_key_expires_at) {
            match self.claim_api_key(now) {
                Err(Failure::Call(CallError::Refused(problem))) if problem.code == "API_KEY_ALREADY_CLAIMED" => {}
                // With a key at hand, one that cannot be fetched or stored now is no reason to stop.
                Err(failure) if stored.is_some_and(|end| end > now) => {
                    warn!(reason = %failure, "the API key that the server speaks of cannot be fetched now");
                }
                other => {
                    other?;
                    answer.api_key_expires_at = self.credentials.api_key_expires_at;
                }
            }
        }
        Ok(answer)
    }

    /// As [`Self::synchronise`], and fails unless the device is approved.
    ///
    /// # Errors
    /// Also when the device waits for approval or was turned down.
    pub fn require_approval(&mut self, now: OffsetDateTime) -> Result<(), Failure> {
        let answer = self.synchronise(now)?;
        match answer.status {
            DeviceStatus::Approved => Ok(()),
            DeviceStatus::Pending => Err(Failure::Pending),
            other => Err(Failure::NotApproved { status: other.as_str().to_owned(), reason: answer.rejection_reason }),
        }
    }

    /// Sends a request by the certificate; where there is none or it is refused, by the API key alone. A certificate that
    /// was refused as revoked is not shown again, unless there is no API key to be had.
    ///
    /// # Errors
    /// When neither does. Where no API key is to be had, the error is the certificate's.
    pub fn send_as_device<T: DeserializeOwned>(
        &mut self,
        call: &Call,
        now: OffsetDateTime,
    ) -> Result<(T, Method), Failure> {
        if self.revoked_serial.is_some() {
            match self.send_with_api_key(call, now) {
                Err(Failure::NoApiKey | Failure::ApiKeyExpired(_)) => {}
                other => return Ok((other?, Method::ApiKey)),
            }
        }
        let refusal = match self.usable_certificate(now) {
            None => None,
            Some(identity) => match self.send(Some(&identity), call, Credential::None) {
                Ok(answer) => {
                    self.confirm_certificate();
                    return Ok((answer, Method::Certificate));
                }
                Err(error) if error.refuses_certificate() => {
                    self.note_refusal(&error, &identity.info().serial_number);
                    Some(error)
                }
                Err(error) => return Err(error.into()),
            },
        };
        match (self.send_with_api_key(call, now), refusal) {
            (Ok(answer), _) => Ok((answer, Method::ApiKey)),
            (Err(Failure::NoApiKey | Failure::ApiKeyExpired(_)), Some(refusal)) => Err(refusal.into()),
            (Err(failure), _) => Err(failure),
        }
    }

    fn note_refusal(&mut self, refusal: &CallError, serial_number: &str) {
        let problem = refusal.problem();
        self.certificate_ended = problem.is_some_and(Problem::ends_certificate);
        if let Some(problem) = problem.filter(|problem| problem.code == "CERTIFICATE_REVOKED") {
            self.revoked_serial = Some(serial_number.to_owned());
            warn!(
                serial_number,
                correlation_id = problem.correlation_id,
                "the certificate was revoked; going on by the API key. {REVOKED_ADVICE}"
            );
        } else {
            warn!(reason = %refusal, "the certificate was refused; using the API key");
        }
    }

    /// The serial number of the installed certificate, where the server refused it as revoked.
    pub fn revoked_serial(&self) -> Option<&str> {
        self.revoked_serial.as_deref()
    }

    /// Takes the certificate with this serial number for revoked, if it is still the one that is installed.
    pub fn set_revoked_aside(&mut self, serial_number: Option<&str>) {
        let Ok(Some(installed)) = self.installed() else { return };
        let serial = &installed.identity.info().serial_number;
        if serial_number == Some(serial) {
            self.revoked_serial = Some(serial.clone());
            self.certificate_ended = true;
        }
    }

    /// The certificate may be shown again: it is another one, or the server does not call it revoked any more.
    pub fn take_back_revoked(&mut self) {
        self.revoked_serial = None;
        self.certificate_ended = false;
    }

    /// Asks for something public, without a credential.
    ///
    /// # Errors
    /// When the server cannot be asked or refuses.
    pub fn ask<T: DeserializeOwned>(&self, call: &Call) -> Result<T, CallError> {
        self.send(None, call, Credential::None)
    }

    /// Whether the server said, since this was opened, that it does not accept the installed certificate any more.
    pub fn certificate_has_ended(&self) -> bool {
        self.certificate_ended
    }

    /// The server's clock at its last answer.
    pub fn server_time(&self) -> Option<OffsetDateTime> {
        self.server_time.get()
    }

    /// The time as the server tells it, else by this machine's clock.
    fn time(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.server_time.get().unwrap_or(now)
    }

    /// What the former certificate was kept for is over. A disk that refuses keeps it a little longer.
    fn confirm_certificate(&self) {
        if let Err(error) = self.certs.confirm() {
            debug!(reason = %error, "the former certificate cannot be removed");
        }
    }

    fn warn_of_clock(&self, now: OffsetDateTime) {
        let Some(server_time) = self.server_time.get() else { return };
        if (server_time - now).abs() >= CLOCK_WARNING {
            warn!(clock = %now, server = %server_time, "this machine's clock is wrong, or the server's is: set it");
        }
    }

    fn send<T: DeserializeOwned>(
        &self,
        identity: Option<&KeyedCertificate>,
        call: &Call,
        credential: Credential<'_>,
    ) -> Result<T, CallError> {
        let client = self.client(identity);
        let answer = client.send(call, credential);
        self.server_time.set(client.server_time().or(self.server_time.get()));
        answer
    }

    /// The installed certificate, unless it is over or unusable; the API key then has to do.
    fn usable_certificate(&self, now: OffsetDateTime) -> Option<KeyedCertificate> {
        let identity = match self.installed() {
            Ok(found) => found?.identity,
            Err(failure) => {
                warn!(reason = %failure, "the certificate cannot be used; using the API key");
                return None;
            }
        };
        match certificate_age(now, identity.info()) {
            Age::Expired => {
                warn!(expired = %identity.info().not_after, "the certificate has expired; using the API key");
                None
            }
            Age::ClockBehind => {
                warn!(clock = %now, certificate_begins = %identity.info().not_before, "this machine's clock is behind");
                Some(identity)
            }
            Age::Valid => Some(identity),
        }
    }

    fn client(&self, identity: Option<&KeyedCertificate>) -> Client {
        Client::new(&self.credentials.cloud_url, &self.roots, identity)
    }
}
