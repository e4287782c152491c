//! What the configuration means to the parts of a server.

use std::time::Duration;

use signalbeam_authn::AuthenticationPolicy;
use signalbeam_command_api::authorities::Hierarchy;
use signalbeam_command_api::{CommandPolicy, OcspSettings};
use signalbeam_domain::{OutOfBounds, ValidityBounds};
use signalbeam_event_store::audit::AuditDurability;
use signalbeam_pki::profile::PublishedUrls;
use signalbeam_pki::{AuthoritySettings, CaKeyType, ProfileSet, PublishedUrl, TrustDomain};

use super::StartError;
use crate::config::{self, Config};
use crate::profiles;

pub(super) fn hierarchy(ca: &config::CertificateAuthority) -> Hierarchy {
    match ca.hierarchy {
        config::Hierarchy::Root => Hierarchy::Root,
        config::Hierarchy::Intermediate => Hierarchy::Intermediate,
    }
}

pub(super) fn durability(audit: &config::Audit) -> AuditDurability {
    match audit.durability {
        config::Durability::Strict => AuditDurability::Strict,
        config::Durability::Relaxed => AuditDurability::Relaxed,
    }
}

pub(super) fn authority_settings(ca: &config::CertificateAuthority) -> Result<AuthoritySettings, StartError> {
    let url = |key: &'static str, text: &Option<String>| {
        let parsed = text.as_deref().map(PublishedUrl::parse).transpose();
        parsed.map_err(|error| StartError::Setting { key, reason: error.to_string() })
    };
    url("ca.delta_crl_url", &ca.delta_crl_url)?;
    let trust_domain = TrustDomain::parse(&ca.trust_domain)
        .map_err(|error| StartError::Setting { key: "ca.trust_domain", reason: error.to_string() })?;
    Ok(AuthoritySettings {
        key_type: match ca.key_type {
            config::KeyType::Rsa2048 => CaKeyType::Rsa2048,
            config::KeyType::Rsa3072 => CaKeyType::Rsa3072,
            config::KeyType::Rsa4096 => CaKeyType::Rsa4096,
            config::KeyType::EcdsaP256 => CaKeyType::EcdsaP256,
            config::KeyType::EcdsaP384 => CaKeyType::EcdsaP384,
        },
        trust_domain,
        urls: PublishedUrls {
            crl: url("ca.crl_url", &ca.crl_url)?,
            ocsp: url("ca.ocsp_url", &ca.ocsp_url)?,
            issuer: url("ca.issuer_url", &ca.issuer_url)?,
        },
        ..AuthoritySettings::default()
    })
}

pub(super) fn ocsp_settings(pki: &config::Pki) -> OcspSettings {
    OcspSettings {
        validity: Duration::from_mins(u64::from(pki.ocsp_validity_minutes)),
        signer_validity_days: pki.ocsp_signer_validity_days,
    }
}

pub(super) fn authentication_policy(config: &Config) -> AuthenticationPolicy {
    AuthenticationPolicy {
        mtls_enabled: config.mtls.enabled,
        api_key_fallback: match config.authentication.api_key_fallback {
            config::ApiKeyFallback::Always => signalbeam_authn::ApiKeyFallback::Always,
            config::ApiKeyFallback::UnlessRevoked => signalbeam_authn::ApiKeyFallback::UnlessRevoked,
            config::ApiKeyFallback::Never => signalbeam_authn::ApiKeyFallback::Never,
        },
        renewal_grace_days: config.certificate_renewal.grace_after_expiry_days,
    }
}

pub(super) fn command_policy(config: &Config) -> Result<CommandPolicy, StartError> {
    Ok(CommandPolicy {
        registration_token_validity: bounds("registration_tokens.default_validity_days", &config.registration_tokens)?,
        api_key_validity: bounds("api_keys.default_validity_days", &config.api_keys)?,
        renewal_window_days: config.certificate_renewal.renewal_threshold_days,
        est_retry_after_seconds: config.est.retry_after_seconds,
    })
}

pub(super) fn profile_set(config: &Config) -> Result<ProfileSet, StartError> {
    profiles::configured(config)
        .map_err(|invalid| StartError::Profiles(invalid.iter().map(ToString::to_string).collect()))
}

fn bounds(key: &'static str, validity: &config::Validity) -> Result<ValidityBounds, StartError> {
    let config::Validity { min_validity_days, max_validity_days, default_validity_days } = *validity;
    ValidityBounds::new(min_validity_days, max_validity_days, default_validity_days)
        .map_err(|error: OutOfBounds| StartError::Setting { key, reason: error.to_string() })
}
