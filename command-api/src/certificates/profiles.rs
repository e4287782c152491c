//! Which profile a certificate gets: the device's own, or the one that an admin names.

use std::sync::Arc;

use signalbeam_authn::{ErrorCode, Problem};
use signalbeam_domain::device::KnownDevice;
use signalbeam_domain::{Days, ProfileName};
use signalbeam_pki::{CsrError, DeviceKeyError, DevicePublicKey, PrivateKeyPem, Profile};

use crate::command::internal;
use crate::state::CommandApi;

/// When a client that was turned away for want of computing power may ask for a key again.
const KEY_RETRY_SECONDS: u64 = 5;

impl CommandApi {
    /// The profile that a request names.
    ///
    /// # Errors
    /// 400 `INVALID_REQUEST` at the pointer, naming those that there are.
    pub(crate) fn named_profile(&self, name: &str, pointer: &'static str) -> Result<Arc<Profile>, Problem> {
        let profiles = self.profiles.current();
        profiles.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = profiles.iter().map(|profile| format!("`{}`", profile.name())).collect();
            Problem::invalid(pointer, format!("there is no such profile; there are {}", known.join(", ")))
        })
    }

    /// The same for a profile that a device shall have from now on.
    ///
    /// # Errors
    /// As [`Self::named_profile`].
    pub(crate) fn chosen_profile(&self, name: Option<&str>) -> Result<Option<ProfileName>, Problem> {
        let profile = name.map(|name| self.named_profile(name, "/certificateProfile")).transpose()?;
        Ok(profile.map(|profile| profile.name().clone()))
    }

    /// The profile of a device's certificates.
    ///
    /// # Errors
    /// 503 `PROFILE_UNAVAILABLE` where it is configured no longer: a certificate by another one might lack what the device
    /// needs, or give it what it must not have.
    pub(crate) fn profile_of(&self, device: &KnownDevice) -> Result<Arc<Profile>, Problem> {
        let name = device.profile();
        self.profiles.current().get(name.as_str()).cloned().ok_or_else(|| {
            metrics::counter!("signalbeam_ca_errors_total").increment(1);
            let device_id = device.registered.device_id;
            tracing::error!(%device_id, profile = %name, "the device's certificate profile is not configured");
            let detail = format!("the device's certificate profile, `{name}`, is not configured on this server");
            Problem::new(ErrorCode::ProfileUnavailable, detail)
        })
    }

    /// How many days before its end a certificate of this profile may be renewed.
    pub(crate) fn renewal_window_days(&self, profile: &str) -> u16 {
        let profiles = self.profiles.current();
        profiles.get(profile).map_or(self.policy.renewal_window_days, |profile| profile.renewal_window_days())
    }
}

/// For how many days a certificate is asked.
///
/// # Errors
/// 400 `INVALID_REQUEST` where the profile does not allow it.
pub(crate) fn validity(profile: &Profile, days: Option<i64>) -> Result<Days, Problem> {
    profile.validity().judge(days).map_err(|error| Problem::invalid("/validityDays", error.to_string()))
}

/// Judges whether the profile certifies such a key.
///
/// # Errors
/// 422 `WEAK_KEY`, naming the types of key that it does.
pub(crate) fn require_key(profile: &Profile, key: &DevicePublicKey) -> Result<(), Problem> {
    profile.check_key(key).map_err(|error| match error {
        CsrError::InvalidCsr(_) => Problem::new(ErrorCode::InvalidCsr, error.to_string()),
        CsrError::WeakKey(weakness) => {
            let allowed: Vec<_> = profile.key_types().iter().map(|key_type| key_type.as_str()).collect();
            let detail = format!("{weakness}; `{}` has {}", profile.name(), allowed.join(", "));
            Problem::new(ErrorCode::WeakKey, detail)
        }
    })
}

/// A key pair of the profile's type, made here for a device without one.
///
/// # Errors
/// 503 `OVERLOADED` where too many keys are being made.
pub(crate) async fn make_key(api: &CommandApi, profile: &Profile) -> Result<(PrivateKeyPem, DevicePublicKey), Problem> {
    api.device_keys.generate(profile.server_key_type()).await.map_err(|error| match error {
        DeviceKeyError::Busy => {
            let detail = "too many keys are being made; try again, or send a signing request";
            Problem::new(ErrorCode::Overloaded, detail).retry_after(KEY_RETRY_SECONDS)
        }
        _ => internal(&error),
    })
}
