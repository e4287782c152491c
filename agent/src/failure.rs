//! Why a command ended without success: message, exit code and next step.

use std::path::PathBuf;

use time::OffsetDateTime;

use crate::certificate::CertificateFault;
use crate::durable::DiskError;
use crate::exit::Exit;
use crate::output::{date, printable};
use crate::transport::CallError;
use crate::trust::TrustError;

/// The end of a command that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no credentials file.
    #[error("this device is not registered: there is no {}", .0.display())]
    NotRegistered(PathBuf),
    /// A registration was begun and its answer never arrived.
    #[error("the registration of this device was begun but not finished")]
    RegistrationUnfinished,
    /// `register` found an identity.
    #[error("this device is registered already as {device_id} ({status}), in {}", path.display())]
    AlreadyRegistered {
        /// The device's id.
        device_id: uuid::Uuid,
        /// Its last known status.
        status: String,
        /// The credentials file.
        path: PathBuf,
    },
    /// The credentials file cannot be understood; it is left as it is.
    #[error("{} is damaged ({reason}); it was left as it is", path.display())]
    CredentialsDamaged {
        /// The credentials file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// An argument, variable or configuration file is wrong.
    #[error("{0}")]
    Usage(String),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The server's identity is not established.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The server did not do what was asked.
    #[error("{}", printable(&.0.to_string()))]
    Call(#[from] CallError),
    /// The device waits for approval.
    #[error("this device waits for approval")]
    Pending,
    /// The device may not authenticate.
    #[error("this device is {status}{}", reason.as_deref().map(|reason| format!(": {}", printable(reason))).unwrap_or_default())]
    NotApproved {
        /// The registration status.
        status: String,
        /// The administrator's words.
        reason: Option<String>,
    },
    /// No API key is stored and none can be claimed.
    #[error("this device has no API key")]
    NoApiKey,
    /// The API key has ended.
    #[error("the API key expired on {}", date(*.0))]
    ApiKeyExpired(OffsetDateTime),
    /// No certificate is installed.
    #[error("no certificate is installed in {}", .0.display())]
    NoCertificate(PathBuf),
    /// A certificate, key or file of them does not do.
    #[error("{what}: {fault}")]
    Certificate {
        /// Which one.
        what: String,
        /// What is wrong with it.
        fault: CertificateFault,
    },
    /// The certificate may not be renewed yet.
    #[error("the certificate cannot be renewed before {}", date(*renewable_from))]
    NotRenewableYet {
        /// From when it can be.
        renewable_from: OffsetDateTime,
    },
    /// The system's random source, the JSON writer or a signal handler failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Failure {
    /// An error of the machine itself.
    pub fn system(what: &'static str, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::System { what, source: reason.into() }
    }

    /// The exit code of the command that ended so.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Trust(TrustError::Unusable { .. }) => Exit::Usage,
            Self::Pending => Exit::Pending,
            Self::NotApproved { .. } => Exit::NotApproved,
            Self::NotRegistered(_)
            | Self::RegistrationUnfinished
            | Self::NoApiKey
            | Self::ApiKeyExpired(_)
            | Self::NoCertificate(_) => Exit::CredentialMissing,
            Self::Call(CallError::Refused(problem)) => problem.exit(),
            Self::Call(_)
            | Self::AlreadyRegistered { .. }
            | Self::CredentialsDamaged { .. }
            | Self::Disk(_)
            | Self::Trust(_)
            | Self::Certificate { .. }
            | Self::NotRenewableYet { .. }
            | Self::System { .. } => Exit::Failed,
        }
    }

    /// The server's code, or one of ours in the same style.
    pub fn code(&self) -> &str {
        match self {
            Self::NotRegistered(_) => "NOT_REGISTERED",
            Self::RegistrationUnfinished => "REGISTRATION_UNFINISHED",
            Self::AlreadyRegistered { .. } => "ALREADY_REGISTERED",
            Self::CredentialsDamaged { .. } => "CREDENTIALS_DAMAGED",
            Self::Usage(_) => "USAGE",
            Self::Disk(_) => "DISK",
            Self::Trust(_) => "SERVER_NOT_TRUSTED",
            Self::Call(error) => error.code(),
            Self::Pending => "PENDING",
            Self::NotApproved { .. } => "DEVICE_NOT_APPROVED",
            Self::NoApiKey => "API_KEY_MISSING",
            Self::ApiKeyExpired(_) => "API_KEY_EXPIRED",
            Self::NoCertificate(_) => "CERTIFICATE_MISSING",
            Self::Certificate { .. } => "CERTIFICATE_UNUSABLE",
            Self::NotRenewableYet { .. } => "CERTIFICATE_NOT_RENEWABLE",
            Self::System { .. } => "SYSTEM",
        }
    }

    /// What to do next.
    pub fn advice(&self) -> &str {
        match self {
            Self::NotRegistered(_) => {
                "Run 'signalbeam-agent register' with a registration token from an administrator."
            }
            Self::RegistrationUnfinished => {
                "Repeat the 'signalbeam-agent register' command: with the same token it continues."
            }
            Self::AlreadyRegistered { .. } => {
                "Run 'signalbeam-agent status'; use --force to give this identity up for a new one."
            }
            Self::CredentialsDamaged { .. } => {
                "Restore the file from a backup, or move it away and register again with a new token."
            }
            Self::Usage(_) => "Run 'signalbeam-agent --help'.",
            Self::Disk(_) => {
                "Check the disk's space and the permissions; --credentials and --cert-dir choose other places."
            }
            Self::Trust(error) => error.advice(),
            Self::Call(error) => error.advice(),
            Self::Pending => {
                "Ask an administrator to approve it; 'signalbeam-agent status' shows when that has happened."
            }
            Self::NotApproved { status, .. } if *status == "Suspended" => {
                "Only an administrator can lift the suspension; the device then goes on with the identity it has."
            }
            Self::NotApproved { .. } => {
                "Ask an administrator; a rejected or decommissioned device must register again with a new token and --force."
            }
            Self::NoApiKey | Self::ApiKeyExpired(_) => {
                "Ask an administrator to rotate the device's API key, then run 'signalbeam-agent status' to fetch the new one."
            }
            Self::NoCertificate(_) => "Run 'signalbeam-agent request-certificate'.",
            Self::Certificate { .. } => {
                "Nothing was changed. Run 'signalbeam-agent request-certificate' for a new certificate."
            }
            Self::NotRenewableYet { .. } => {
                "Run the command again from then on, or 'signalbeam-agent request-certificate' for a new certificate now."
            }
            Self::System { .. } => "Run the command again; if it fails the same way, the machine needs attention.",
        }
    }
}
