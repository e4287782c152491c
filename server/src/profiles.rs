//! The profiles of certificates that a configuration comes to.

use signalbeam_pki::{InvalidProfile, Profile, ProfileSet, ProfileSettings};

use crate::config::Config;

/// Every profile; `device` is as `[certificates]` and `[certificate_renewal]` say.
///
/// # Errors
/// Everything by which a profile would make bad certificates.
pub(crate) fn configured(config: &Config) -> Result<ProfileSet, Vec<InvalidProfile>> {
    let validity = &config.certificates;
    let device = Profile::new(&ProfileSettings {
        min_validity_days: validity.min_validity_days,
        max_validity_days: validity.max_validity_days,
        validity_days: validity.default_validity_days,
        renewal_window_days: config.certificate_renewal.renewal_threshold_days,
        ..ProfileSettings::default()
    })?;
    Ok(ProfileSet::new([device]))
}
