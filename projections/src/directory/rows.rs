//! The rows that events make, and the patches that later events put on them. Field names are column names.

use serde::{Serialize, Serializer};
use signalbeam_domain::api_key::{KeyOrigin, KeyRevocationCause};
use signalbeam_domain::authority::ServicePurpose;
use signalbeam_domain::certificate::{CertificateRevoked, RevocationReason};
use signalbeam_domain::device::{
    DecisionReason, DeviceDecommissioned, DeviceEvent, DeviceReinstated, DeviceRejected, DeviceSuspended,
};
use signalbeam_domain::registration_token::RegistrationTokenEvent;
use signalbeam_domain::{
    AdminTokenId, AllowedNetworks, ApiKeyId, AuthorityId, Days, Description, DeviceId, DeviceName, DeviceStatus,
    Digest, EventId, Fingerprint, Metadata, Position, Prefix, ProfileName, Reason, RegistrationTokenId, SerialNumber,
    Tags, TenantId, Timestamp, TokenIssuer,
};

use super::Moment;
use crate::standing::{CertificateOrigin, CertificateType, StandingName};

/// A value as the text of its JSON, so that SQLite keeps it as it is: metadata with its numbers, lists.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> Serialize for Json<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(&self.0).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

/// Defines a row with the statement that inserts many of it.
macro_rules! row {
    ($(#[$doc:meta])* $name:ident in $table:literal { $first:ident: $first_type:ty, $($column:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Serialize)]
        pub(super) struct $name {
            pub(super) $first: $first_type,
            $(pub(super) $column: $type,)+
        }

        impl $name {
            /// Inserts the rows of a JSON array.
            pub(super) const INSERT: &'static str = concat!(
                "INSERT INTO ", $table, " (", stringify!($first), $(", ", row!(@column $column),)+
                ") SELECT value ->> '", stringify!($first), "'", $(", value ->> '", stringify!($column), "'",)+
                " FROM jsonb_each($1)"
            );
        }
    };
    // `type` is a word of Rust's.
    (@column kind) => { "type" };
    (@column $column:ident) => { stringify!($column) };
}

row! {
    /// A device that registered or was imported.
    DeviceRow in "devices" {
        device_id: DeviceId,
        tenant_id: TenantId,
        name: DeviceName,
        status: DeviceStatus,
        metadata: Json<Metadata>,
        tags: Json<Tags>,
        registered_at: Timestamp,
        token_prefix: Option<Prefix>,
        claim_secret_sha256: Option<Digest>,
        approved_at: Option<Timestamp>,
        approved_by: Option<String>,
        status_changed_at: Timestamp,
        status_changed_by: String,
    }
}

row! {
    /// Admin tokens that were revoked.
    AdminTokenRow in "admin_token_revocations" {
        id: EventId,
        jti: Option<AdminTokenId>,
        issuer: Option<TokenIssuer>,
        expires_at: Option<Timestamp>,
        issued_before: Option<Timestamp>,
        reason: Option<Reason>,
        revoked_at: Timestamp,
        revoked_by: String,
    }
}

row! {
    /// A certificate of our own that was about to be signed.
    ServiceCertificateRow in "service_certificates" {
        serial_number: SerialNumber,
        purpose: ServicePurpose,
        subject: String,
        public_key_sha256: Digest,
        not_before: Timestamp,
        expires_at: Timestamp,
        authority_id: String,
        intended_at: Timestamp,
    }
}

row! {
    /// An API key that was issued.
    ApiKeyRow in "device_api_keys" {
        id: ApiKeyId,
        device_id: DeviceId,
        key_hash: String,
        key_prefix: Prefix,
        expires_at: Timestamp,
        created_at: Timestamp,
        created_by: String,
        tenant_id: TenantId,
        mac: Digest,
        mac_key_id: String,
        origin: KeyOrigin,
    }
}

row! {
    /// A registration token that was issued.
    TokenRow in "device_registration_tokens" {
        id: RegistrationTokenId,
        tenant_id: TenantId,
        token_hash: String,
        token_prefix: Prefix,
        expires_at: Timestamp,
        created_at: Timestamp,
        created_by: String,
        description: Option<Description>,
        mac: Digest,
        mac_key_id: String,
    }
}

row! {
    /// A certificate that was issued, or an authority's own.
    CertificateRow in "device_certificates" {
        id: EventId,
        device_id: Option<DeviceId>,
        serial_number: SerialNumber,
        fingerprint: Fingerprint,
        subject: String,
        kind: CertificateType,
        issued_at: Timestamp,
        expires_at: Timestamp,
        tenant_id: Option<TenantId>,
        profile: Option<String>,
        public_key_sha256: Option<Digest>,
        renewal_of: Option<SerialNumber>,
        not_before: Timestamp,
        authority_id: AuthorityId,
        issuer_authority_id: Option<AuthorityId>,
        issued_by: String,
        origin: CertificateOrigin,
        foreign_serial_number: Option<String>,
        issuer: Option<String>,
        issuer_der: Option<String>,
        certificate_pem: String,
    }
}

/// What became of a device.
#[derive(Debug, Default, Serialize)]
pub(super) struct DevicePatch {
    name: Option<DeviceName>,
    metadata: Option<Json<Metadata>>,
    allowed_networks: Option<Json<AllowedNetworks>>,
    tags: Option<Json<Tags>>,
    approved_at: Option<Timestamp>,
    approved_by: Option<String>,
    api_key_validity_days: Option<Days>,
    certificate_profile: Option<ProfileName>,
    rejected_at: Option<Timestamp>,
    rejected_by: Option<String>,
    rejection_reason: Option<Reason>,
    status: Option<DeviceStatus>,
    status_changed_at: Option<Timestamp>,
    status_changed_by: Option<String>,
    /// Counts where `status` is there, also where it is none.
    status_reason: Option<Reason>,
}

impl DevicePatch {
    pub(super) fn apply(&mut self, event: DeviceEvent, moment: Moment) {
        match event {
            // These make the row; they patch none.
            DeviceEvent::Registered(_) | DeviceEvent::Imported(_) => {}
            DeviceEvent::Renamed(renamed) => {
                self.name = renamed.device_name.or(self.name.take());
                self.metadata = renamed.metadata.map(Json).or(self.metadata.take());
                self.tags = renamed.tags.map(Json).or(self.tags.take());
                self.certificate_profile = renamed.certificate_profile.or(self.certificate_profile.take());
            }
            DeviceEvent::NetworksRestricted(restricted) => self.allowed_networks = Some(Json(restricted.networks)),
            DeviceEvent::Approved(approved) => {
                self.api_key_validity_days = Some(approved.api_key_validity_days);
                self.certificate_profile = approved.certificate_profile.or(self.certificate_profile.take());
                self.approved_at = Some(moment.at);
                self.approved_by = Some(moment.by.clone());
                self.becomes(DeviceStatus::Approved, None, moment);
            }
            DeviceEvent::Rejected(DeviceRejected(DecisionReason { reason })) => {
                self.rejected_at = Some(moment.at);
                self.rejected_by = Some(moment.by.clone());
                self.rejection_reason.clone_from(&reason);
                self.becomes(DeviceStatus::Rejected, reason, moment);
            }
            DeviceEvent::Suspended(DeviceSuspended(decision)) => {
                self.becomes(DeviceStatus::Suspended, decision.reason, moment);
            }
            DeviceEvent::Reinstated(DeviceReinstated(decision)) => {
                self.becomes(DeviceStatus::Approved, decision.reason, moment);
            }
            DeviceEvent::Decommissioned(DeviceDecommissioned(decision)) => {
                self.becomes(DeviceStatus::Decommissioned, decision.reason, moment);
            }
        }
    }

    fn becomes(&mut self, status: DeviceStatus, reason: Option<Reason>, moment: Moment) {
        self.status = Some(status);
        self.status_changed_at = Some(moment.at);
        self.status_changed_by = Some(moment.by);
        self.status_reason = reason;
    }
}

/// What became of an API key.
#[derive(Debug, Default, Serialize)]
pub(super) struct ApiKeyPatch {
    pub(super) first_used_at: Option<Timestamp>,
    pub(super) revoked_at: Option<Timestamp>,
    pub(super) revocation_cause: Option<KeyRevocationCause>,
    pub(super) revocation_reason: Option<Reason>,
    pub(super) noticed_days: Option<u16>,
}

/// What became of a registration token.
#[derive(Debug, Default, Serialize)]
pub(super) struct TokenPatch {
    used_at: Option<Timestamp>,
    used_by_device_id: Option<DeviceId>,
    revoked_at: Option<Timestamp>,
    revoked_by: Option<String>,
    revocation_reason: Option<Reason>,
}

impl TokenPatch {
    pub(super) fn apply(&mut self, event: RegistrationTokenEvent, moment: Moment) {
        match event {
            // The issue makes the row; it patches none.
            RegistrationTokenEvent::Issued(_) => {}
            RegistrationTokenEvent::Consumed(consumed) => {
                self.used_at = Some(moment.at);
                self.used_by_device_id = Some(consumed.device_id);
            }
            RegistrationTokenEvent::Revoked(revoked) => {
                self.revoked_at = Some(moment.at);
                self.revoked_by = Some(moment.by);
                self.revocation_reason = revoked.reason;
            }
        }
    }
}

/// What became of a certificate.
#[derive(Debug, Default, Serialize)]
pub(super) struct CertificatePatch {
    superseded_by: Option<SerialNumber>,
    pub(super) first_used_at: Option<Timestamp>,
    pub(super) noticed_days: Option<u16>,
    pub(super) renewal_window_start: Option<Timestamp>,
    pub(super) renewal_window_end: Option<Timestamp>,
    pub(super) reuse_suspected_at: Option<Timestamp>,
    standing: Option<StandingName>,
    /// The first end counts: what was superseded and then revoked authenticated nothing in between.
    revoked_at: Option<Timestamp>,
    /// Counts where `standing` is there, also where it is none.
    revocation_reason: Option<Reason>,
    revocation_reason_code: Option<RevocationReason>,
    revoked_by: Option<String>,
    ended_position: Option<Position>,
    revocation_position: Option<Position>,
}

impl CertificatePatch {
    pub(super) fn is_superseded(&mut self, by: SerialNumber, moment: Moment) {
        self.superseded_by = Some(by);
        self.ends(StandingName::Superseded, None, RevocationReason::Superseded, moment);
    }

    pub(super) fn is_revoked(&mut self, revoked: CertificateRevoked, moment: Moment) {
        let code = revoked.reason_code.unwrap_or(RevocationReason::Unspecified);
        self.ends(StandingName::Revoked, revoked.reason, code, moment);
    }

    fn ends(&mut self, standing: StandingName, reason: Option<Reason>, code: RevocationReason, moment: Moment) {
        self.ended_position.get_or_insert(moment.position);
        if standing == StandingName::Revoked {
            self.revocation_position.get_or_insert(moment.position);
        }
        self.standing = Some(standing);
        self.revoked_at.get_or_insert(moment.at);
        self.revocation_reason = reason;
        self.revocation_reason_code = Some(code);
        self.revoked_by = Some(moment.by);
    }
}

/// Another authority signs in the place of one.
#[derive(Debug, Serialize)]
pub(super) struct AuthorityRotation {
    pub(super) authority_id: String,
    pub(super) rotated_at: Timestamp,
}

/// An authority is trusted no longer, and so is its certificate.
#[derive(Debug, Serialize)]
pub(super) struct AuthorityEnd {
    pub(super) authority_id: String,
    pub(super) revoked_at: Timestamp,
    pub(super) revoked_by: String,
    pub(super) ended_position: Position,
    pub(super) revocation_reason_code: RevocationReason,
}
