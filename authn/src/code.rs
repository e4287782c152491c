//! Every error code that a caller can get, each with its one HTTP status. `docs/api/error-codes.md` is held against it.

use axum::http::StatusCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = ($wire:literal, $status:ident, $title:literal),)+) => {
        /// A stable error code of the HTTP API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)+
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As it is written in answers, logs and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $wire,)+ }
            }

            /// The status that it always comes with.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// What it means, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }
        }
    };
}

codes! {
    /// The request is malformed: `errors` says where.
    InvalidRequest = ("INVALID_REQUEST", BAD_REQUEST, "The request is malformed"),
    /// Neither a certificate nor an API key nor a bearer token was presented.
    AuthenticationRequired = ("AUTHENTICATION_REQUIRED", UNAUTHORIZED, "Authentication is required"),
    /// The certificate's last moment has passed.
    CertificateExpired = ("CERTIFICATE_EXPIRED", UNAUTHORIZED, "The certificate has expired"),
    /// The certificate's first moment has not come.
    CertificateNotYetValid = ("CERTIFICATE_NOT_YET_VALID", UNAUTHORIZED, "The certificate is not valid yet"),
    /// The certificate was not issued by our certificate authority, or not for clients.
    InvalidCertificateChain = ("INVALID_CERTIFICATE_CHAIN", UNAUTHORIZED, "The certificate was not issued by this authority"),
    /// Our authority signed the certificate, yet there is no record of it.
    CertificateNotFound = ("CERTIFICATE_NOT_FOUND", UNAUTHORIZED, "The certificate is unknown"),
    /// The certificate was revoked or superseded.
    CertificateRevoked = ("CERTIFICATE_REVOKED", UNAUTHORIZED, "The certificate has been revoked"),
    /// The device is pending, rejected, suspended or decommissioned.
    DeviceNotApproved = ("DEVICE_NOT_APPROVED", FORBIDDEN, "The device is not approved"),
    /// The API key is unknown, malformed, or its secret is wrong.
    InvalidApiKey = ("INVALID_API_KEY", UNAUTHORIZED, "The API key is not valid"),
    /// The API key's time is over.
    ApiKeyExpired = ("API_KEY_EXPIRED", UNAUTHORIZED, "The API key has expired"),
    /// The API key was revoked or superseded.
    ApiKeyRevoked = ("API_KEY_REVOKED", UNAUTHORIZED, "The API key has been revoked"),
    /// The claim secret is not the device's.
    InvalidClaimSecret = ("INVALID_CLAIM_SECRET", UNAUTHORIZED, "The claim secret is not valid"),
    /// The admin token is malformed, expired, not ours, or signed under another key.
    InvalidToken = ("INVALID_TOKEN", UNAUTHORIZED, "The admin token is not valid"),
    /// The registration token is unknown, its secret wrong, or it belongs to another tenant.
    InvalidRegistrationToken = ("INVALID_REGISTRATION_TOKEN", UNAUTHORIZED, "The registration token is not valid"),
    /// The caller is known and may not do this.
    Forbidden = ("FORBIDDEN", FORBIDDEN, "The caller may not do this"),
    /// There is no such thing, or it is another tenant's.
    NotFound = ("NOT_FOUND", NOT_FOUND, "There is no such thing"),
    /// The route exists for other methods.
    MethodNotAllowed = ("METHOD_NOT_ALLOWED", METHOD_NOT_ALLOWED, "The method is not allowed here"),
    /// The request took too long to arrive or to be answered.
    RequestTimeout = ("REQUEST_TIMEOUT", REQUEST_TIMEOUT, "The request took too long"),
    /// Another device registered with the token.
    RegistrationTokenUsed = ("REGISTRATION_TOKEN_USED", CONFLICT, "The registration token has been used"),
    /// The token's time is over.
    RegistrationTokenExpired = ("REGISTRATION_TOKEN_EXPIRED", CONFLICT, "The registration token has expired"),
    /// An admin took the token back.
    RegistrationTokenRevoked = ("REGISTRATION_TOKEN_REVOKED", CONFLICT, "The registration token has been revoked"),
    /// The state of the thing forbids what was asked for.
    InvalidState = ("INVALID_STATE", CONFLICT, "The present state forbids this"),
    /// A key of this device has authenticated, so its claim secret fetches no more keys.
    ApiKeyAlreadyClaimed = ("API_KEY_ALREADY_CLAIMED", CONFLICT, "The API key has been claimed"),
    /// The certificate is outside of its renewal window.
    CertificateNotRenewable = ("CERTIFICATE_NOT_RENEWABLE", CONFLICT, "The certificate cannot be renewed now"),
    /// The idempotency key was used with another body.
    IdempotencyKeyReused = ("IDEMPOTENCY_KEY_REUSED", CONFLICT, "The idempotency key was used with another request"),
    /// The command was carried out before, and its answer showed a secret once.
    AlreadyProcessed = ("ALREADY_PROCESSED", CONFLICT, "The request was processed before"),
    /// Others changed the same thing all the while.
    Conflict = ("CONFLICT", CONFLICT, "The thing is being changed by others"),
    /// The body is larger than allowed.
    BodyTooLarge = ("BODY_TOO_LARGE", PAYLOAD_TOO_LARGE, "The body is too large"),
    /// The body is not JSON.
    UnsupportedMediaType = ("UNSUPPORTED_MEDIA_TYPE", UNSUPPORTED_MEDIA_TYPE, "The media type is not supported"),
    /// The signing request is malformed, or its signature does not prove possession of the key.
    InvalidCsr = ("INVALID_CSR", UNPROCESSABLE_ENTITY, "The certificate signing request is not valid"),
    /// The public key is too weak or of a kind that is not issued for.
    WeakKey = ("WEAK_KEY", UNPROCESSABLE_ENTITY, "The public key is not acceptable"),
    /// The certificate cannot be imported.
    InvalidCertificate = ("INVALID_CERTIFICATE", UNPROCESSABLE_ENTITY, "The certificate cannot be imported"),
    /// A renewal by certificate needs a signing request.
    CsrRequired = ("CSR_REQUIRED", UNPROCESSABLE_ENTITY, "A certificate signing request is required"),
    /// Too many requests.
    RateLimited = ("RATE_LIMITED", TOO_MANY_REQUESTS, "Too many requests"),
    /// The credential is genuine, and the address is outside of the networks that its device or tenant is bound to.
    AddressNotAllowed = ("ADDRESS_NOT_ALLOWED", FORBIDDEN, "The address is not allowed"),
    /// The tenant has as many as it may have.
    QuotaExceeded = ("QUOTA_EXCEEDED", FORBIDDEN, "The tenant's quota is used up"),
    /// More requests are being answered than the server takes on at a time.
    Overloaded = ("OVERLOADED", SERVICE_UNAVAILABLE, "The server is busy"),
    /// A defect of ours.
    InternalError = ("INTERNAL_ERROR", INTERNAL_SERVER_ERROR, "Something went wrong here"),
    /// What is known of revocations may be out of date, so nobody is let in.
    AuthStateStale = ("AUTH_STATE_STALE", SERVICE_UNAVAILABLE, "The state of credentials is not known for certain"),
    /// The event log went back to an earlier state, and nobody has acknowledged it: revocations may be missing from it.
    LogRolledBack = ("LOG_ROLLED_BACK", SERVICE_UNAVAILABLE, "The event log went back to an earlier state"),
    /// The audit log cannot be written, so no device is let in.
    AuditUnavailable = ("AUDIT_UNAVAILABLE", SERVICE_UNAVAILABLE, "The audit log is unavailable"),
    /// The read model did not reach the wanted position in time.
    ProjectionBehind = ("PROJECTION_BEHIND", SERVICE_UNAVAILABLE, "The read model is behind"),
    /// The event store cannot be read or written.
    StoreUnavailable = ("STORE_UNAVAILABLE", SERVICE_UNAVAILABLE, "The event store is unavailable"),
    /// The OIDC issuer's keys cannot be fetched, so its tokens cannot be judged.
    IdentityProviderUnavailable = ("IDENTITY_PROVIDER_UNAVAILABLE", SERVICE_UNAVAILABLE, "The identity provider is unavailable"),
    /// The certificate authority cannot sign.
    SigningUnavailable = ("SIGNING_UNAVAILABLE", SERVICE_UNAVAILABLE, "The certificate authority is unavailable"),
    /// The profile that a device's certificates have is configured no longer.
    ProfileUnavailable = ("PROFILE_UNAVAILABLE", SERVICE_UNAVAILABLE, "The certificate profile is not configured"),
}
