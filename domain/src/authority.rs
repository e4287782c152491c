//! A certificate authority: created once, activated, and one day retired in favour of another.

mod crl;

pub use self::crl::{
    CrlContents, CrlDocument, CrlExtent, CrlKind, CrlPublished, CrlSequence, DeltaEntry, Ending, ListedAs, Signature,
};

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Context};
use crate::certificate::RevocationReason;
use crate::credential::Digest;
use crate::event::{NoDetails, events};
use crate::ids::AuthorityId;
use crate::serial::{Fingerprint, SerialNumber};
use crate::timestamp::Timestamp;

/// An authority came into being.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityCreated {
    /// The authority.
    pub authority_id: AuthorityId,
    /// Its subject, as `CN=SignalBeam Root CA, O=SignalBeam, C=US`.
    pub subject: String,
    /// The serial number of its own certificate.
    pub serial_number: SerialNumber,
    /// The SHA-256 of its certificate's DER.
    pub fingerprint: Fingerprint,
    /// Its key type, such as `rsa-2048`.
    pub key_type: String,
    /// The first moment of its validity.
    pub not_before: Timestamp,
    /// The last moment of its validity.
    pub not_after: Timestamp,
    /// Its certificate.
    pub certificate_pem: String,
    /// The authority that signed its certificate; absent for a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_id: Option<AuthorityId>,
    /// Where among the installation's keys its own is; absent for the first authority's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_slot: Option<String>,
    /// The certificates that lead from it to its root, where those are of somebody else: its issuer's first, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuers_pem: Option<String>,
}

/// The authority signs from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AuthorityActivated(pub NoDetails);

/// Another authority signs in its place; it is still trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityRotated {
    /// The one that signs now.
    pub successor_id: AuthorityId,
}

/// The authority is no longer trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityRetired {
    /// What the lists of its issuer say of its certificate; another authority took its place where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<RevocationReason>,
}

/// What a certificate of our own is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServicePurpose {
    /// Signing OCSP answers.
    OcspSigner,
    /// The listener's TLS.
    TlsServer,
    /// Signing certificates, as an issuing authority under the one that signs this.
    IntermediateCa,
}

/// The authority is about to sign a certificate for our own use. Recorded before anything is signed, so that whatever the
/// authority signs is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceCertificateIntended {
    /// The certificate's serial number.
    pub serial_number: SerialNumber,
    /// What it is for.
    pub purpose: ServicePurpose,
    /// Its subject, as `CN=SignalBeam server, O=SignalBeam`.
    pub subject: String,
    /// The SHA-256 of its public key's DER.
    pub public_key_sha256: Digest,
    /// The first moment of its validity.
    pub not_before: Timestamp,
    /// The last moment of its validity.
    pub not_after: Timestamp,
}

events! {
    /// What can happen to a certificate authority.
    AuthorityEvent {
        /// It came into being.
        Created(AuthorityCreated) = ("certificate_authority.created", 1),
        /// It signs.
        Activated(AuthorityActivated) = ("certificate_authority.activated", 1),
        /// Another one signs.
        Rotated(AuthorityRotated) = ("certificate_authority.rotated", 1),
        /// It is trusted no longer.
        Retired(AuthorityRetired) = ("certificate_authority.retired", 1),
        /// It is about to sign a certificate for our own use.
        ServiceCertificateIntended(ServiceCertificateIntended) = ("certificate_authority.service_certificate_intended", 1),
        /// It published revocation lists.
        CrlPublished(CrlPublished) = ("certificate_authority.crl_published", 1),
    }
}

/// What can be asked of a certificate authority.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "commands are few and soon gone")]
pub enum AuthorityCommand {
    /// Record that it came into being.
    Create(AuthorityCreated),
    /// Let it sign.
    Activate,
    /// Let another one sign.
    Rotate {
        /// The other one.
        successor_id: AuthorityId,
    },
    /// End the trust in it.
    Retire {
        /// Why, in the words of revocation lists.
        reason_code: Option<RevocationReason>,
    },
    /// Record that it is about to sign a certificate for our own use.
    IntendServiceCertificate(ServiceCertificateIntended),
    /// Record revocation lists that were signed.
    PublishCrl(CrlPublished),
}

/// Where an authority stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityStatus {
    /// It exists and does not sign yet.
    Prepared,
    /// It signs.
    Active,
    /// It is trusted and another one signs.
    Rotated,
    /// It is trusted no longer.
    Retired,
}

/// Why a command on a certificate authority was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// It exists, with another certificate.
    #[error("the authority exists with another certificate")]
    OtherCertificate,
    /// There is no such authority.
    #[error("there is no such certificate authority")]
    Unknown,
    /// Its state forbids it.
    #[error("an authority that is {status:?} cannot be {action}")]
    InvalidState {
        /// Where it stands.
        status: AuthorityStatus,
        /// What was asked for, as a participle.
        action: &'static str,
    },
    /// It was to be replaced by itself.
    #[error("an authority cannot succeed itself")]
    OwnSuccessor,
    /// The revocation lists do not follow those before.
    #[error("the revocation lists do not follow those before")]
    CrlOutOfOrder,
}

/// A certificate authority.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authority(Option<(AuthorityCreated, AuthorityStatus)>, CrlSequence);

impl ServicePurpose {
    /// Every purpose.
    pub const ALL: [Self; 3] = [Self::OcspSigner, Self::TlsServer, Self::IntermediateCa];

    /// As it is written in events and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OcspSigner => "ocsp_signer",
            Self::TlsServer => "tls_server",
            Self::IntermediateCa => "intermediate_ca",
        }
    }

    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == text)
    }
}

impl Authority {
    /// As it was created, where it was.
    pub fn created(&self) -> Option<&AuthorityCreated> {
        self.0.as_ref().map(|(created, _)| created)
    }

    /// Where it stands, once created.
    pub fn status(&self) -> Option<AuthorityStatus> {
        self.0.as_ref().map(|(_, status)| *status)
    }

    /// Its revocation lists.
    pub fn crls(&self) -> &CrlSequence {
        &self.1
    }
}

impl Aggregate for Authority {
    type Command = AuthorityCommand;
    type Event = AuthorityEvent;
    type Error = AuthorityError;

    fn decide(&self, command: Self::Command, _context: &Context) -> Result<Vec<Self::Event>, Self::Error> {
        use AuthorityStatus::{Active, Prepared, Retired, Rotated};
        let (created, status) = match (&self.0, command) {
            (None, AuthorityCommand::Create(created)) => return Ok(vec![created.into()]),
            (None, _) => return Err(AuthorityError::Unknown),
            (Some((known, _)), AuthorityCommand::Create(created)) => {
                let is_same = known.fingerprint == created.fingerprint;
                return if is_same { Ok(vec![]) } else { Err(AuthorityError::OtherCertificate) };
            }
            (Some((created, status)), command) => ((created, command), *status),
        };
        let (created, command) = created;
        match (command, status) {
            (AuthorityCommand::Activate, Prepared) => Ok(vec![AuthorityActivated(NoDetails {}).into()]),
            (AuthorityCommand::Activate, Active) | (AuthorityCommand::Retire { .. }, Retired) => Ok(vec![]),
            (AuthorityCommand::Rotate { successor_id }, _) if successor_id == created.authority_id => {
                Err(AuthorityError::OwnSuccessor)
            }
            (AuthorityCommand::Rotate { successor_id }, Active) => Ok(vec![AuthorityRotated { successor_id }.into()]),
            // One that signs must be replaced first, or nothing could be issued.
            (AuthorityCommand::Retire { reason_code }, Prepared | Rotated) => {
                Ok(vec![AuthorityRetired { reason_code }.into()])
            }
            (AuthorityCommand::IntendServiceCertificate(intended), Prepared | Active | Rotated) => {
                Ok(vec![intended.into()])
            }
            (AuthorityCommand::IntendServiceCertificate(_), _) => {
                Err(AuthorityError::InvalidState { status, action: "asked for a certificate" })
            }
            (AuthorityCommand::PublishCrl(published), Prepared | Active | Rotated) => {
                if self.1.accepts(&published) {
                    Ok(vec![published.into()])
                } else {
                    Err(AuthorityError::CrlOutOfOrder)
                }
            }
            (AuthorityCommand::PublishCrl(_), Retired) => {
                Err(AuthorityError::InvalidState { status, action: "asked for revocation lists" })
            }
            (AuthorityCommand::Activate, _) => Err(AuthorityError::InvalidState { status, action: "activated" }),
            (AuthorityCommand::Rotate { .. }, _) => Err(AuthorityError::InvalidState { status, action: "rotated" }),
            (_, _) => Err(AuthorityError::InvalidState { status, action: "retired" }),
        }
    }

    fn evolve(mut self, event: &Self::Event) -> Self {
        let status = match event {
            AuthorityEvent::Created(created) => {
                return Self(Some((created.clone(), AuthorityStatus::Prepared)), self.1);
            }
            AuthorityEvent::CrlPublished(published) => {
                self.1.take(published);
                return self;
            }
            AuthorityEvent::Activated(_) => AuthorityStatus::Active,
            AuthorityEvent::Rotated(_) => AuthorityStatus::Rotated,
            AuthorityEvent::Retired(_) => AuthorityStatus::Retired,
            // Which certificates of our own there are is no matter of where the authority stands.
            AuthorityEvent::ServiceCertificateIntended(_) => return self,
        };
        Self(self.0.map(|(created, _)| (created, status)), self.1)
    }
}
