//! A registered device in conversation with its server: status, API key, and requests by the best credential it has.

use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tracing::warn;
use uuid::Uuid;

use crate::api::{self, ClaimedApiKey, RegistrationStatus};
use crate::cert_store::{CertStore, Installation};
use crate::certificate::KeyedCertificate;
use crate::credentials::{Credentials, CredentialsFile, DeviceStatus};
use crate::decision::{Age, certificate_age, claim_is_due};
use crate::failure::Failure;
use crate::locations::Locations;
use crate::secret::ApiKey;
use crate::transport::{Call, CallError, Client, Credential};
use crate::trust::{PinnedCa, Roots};

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
    roots: Roots,
    certs: CertStore,
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
        let file = CredentialsFile::open(&locations.credentials)?;
        let credentials = file.load()?.ok_or_else(not_registered)?;
        let device_id = credentials.device_id.ok_or(Failure::RegistrationUnfinished)?;
        let roots = match &credentials.ca_fingerprint {
            Some(fingerprint) => PinnedCa::stored(file.path(), fingerprint)?.roots().clone(),
            None => Roots::of_system()?,
        };
        let certs = locations.cert_store(Some(&credentials))?;
        Ok(Self { file, credentials, device_id, roots, certs })
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

    /// Puts a certificate in force and writes it into the credentials.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn install(&mut self, new: &Installation) -> Result<(), Failure> {
        self.credentials.certificate = Some(self.certs.install(new)?);
        self.file.save(&self.credentials)?;
        Ok(self.certs.forget_pending()?)
    }

    /// Asks the server where the device stands, by its claim secret, and claims the API key where there is one to claim.
    ///
    /// # Errors
    /// When the server cannot be asked or the answer not be stored.
    pub fn synchronise(&mut self, now: OffsetDateTime) -> Result<RegistrationStatus, Failure> {
        let call = api::registration_status(self.device_id);
        let answer: RegistrationStatus =
            self.client(None).send(&call, Credential::Bearer(&self.credentials.claim_secret))?;
        self.credentials.status = answer.status.clone();
        self.credentials.device_name.clone_from(&answer.device_name);
        // A crash between the switch of the certificate and the writing of the credentials left the former record.
        if let Ok(Some(installed)) = self.installed() {
            self.credentials.certificate = Some(self.certs.record(&installed));
        }
        self.file.save(&self.credentials)?;
        let stored = self.credentials.api_key.as_ref().and(self.credentials.api_key_expires_at);
        if answer.status == DeviceStatus::Approved && claim_is_due(now, stored, answer.api_key_expires_at) {
            match self.claim_api_key() {
                Err(Failure::Call(CallError::Refused(problem))) if problem.code == "API_KEY_ALREADY_CLAIMED" => {}
                other => drop(other?),
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

    /// Sends a request by the certificate; where there is none or it is refused, by the API key alone.
    ///
    /// # Errors
    /// When neither does. Where no API key is to be had, the error is the certificate's.
    pub fn send_as_device<T: DeserializeOwned>(
        &mut self,
        call: &Call,
        now: OffsetDateTime,
    ) -> Result<(T, Method), Failure> {
        let refusal = match self.usable_certificate(now) {
            None => None,
            Some(identity) => match self.client(Some(&identity)).send(call, Credential::None) {
                Ok(answer) => return Ok((answer, Method::Certificate)),
                Err(error) if error.refuses_certificate() => Some(error),
                Err(error) => return Err(error.into()),
            },
        };
        if let Some(refusal) = &refusal {
            warn!(reason = %refusal, "the certificate was refused; using the API key");
        }
        match (self.send_with_api_key(call, now), refusal) {
            (Ok(answer), _) => Ok((answer, Method::ApiKey)),
            (Err(Failure::NoApiKey | Failure::ApiKeyExpired(_)), Some(refusal)) => Err(refusal.into()),
            (Err(failure), _) => Err(failure),
        }
    }

    /// Sends a request by the API key alone. A key that is missing, over or refused is replaced by claiming, which succeeds
    /// after an administrator rotated it.
    ///
    /// # Errors
    /// When there is no key to be had or the server refuses.
    pub fn send_with_api_key<T: DeserializeOwned>(&mut self, call: &Call, now: OffsetDateTime) -> Result<T, Failure> {
        let key = self.usable_api_key(now)?;
        let client = self.client(None);
        match client.send(call, Credential::ApiKey(key.secret())) {
            Err(refusal) if refusal.problem().is_some_and(super::problem::Problem::refuses_api_key) => {
                let Ok(claimed) = self.claim_api_key() else { return Err(refusal.into()) };
                Ok(client.send(call, Credential::ApiKey(claimed.secret()))?)
            }
            other => Ok(other?),
        }
    }

    fn usable_api_key(&mut self, now: OffsetDateTime) -> Result<ApiKey, Failure> {
        let ended = self.credentials.api_key_expires_at.filter(|end| *end <= now);
        if let (Some(key), None) = (&self.credentials.api_key, ended) {
            return Ok(key.clone());
        }
        self.claim_api_key().map_err(|failure| match failure {
            Failure::Call(CallError::Refused(problem)) if problem.code == "API_KEY_ALREADY_CLAIMED" => {
                ended.map_or(Failure::NoApiKey, Failure::ApiKeyExpired)
            }
            other => other,
        })
    }

    /// Claims an API key and stores it before it is used.
    fn claim_api_key(&mut self) -> Result<ApiKey, Failure> {
        let call = api::claim_api_key(self.device_id);
        let claimed: ClaimedApiKey =
            self.client(None).send(&call, Credential::Bearer(&self.credentials.claim_secret))?;
        self.credentials.api_key = Some(claimed.api_key.clone());
        self.credentials.api_key_expires_at = Some(claimed.expires_at);
        self.file.save(&self.credentials)?;
        Ok(claimed.api_key)
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
