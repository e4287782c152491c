//! Profiles that would make bad certificates.

use signalbeam_domain::{InvalidProfileName, ProfileName};
use signalbeam_pki::InvalidProfile;

use crate::config::Config;
use crate::profiles;

/// What is wrong with profiles, each key by its own name.
pub(super) fn broken(config: &Config) -> Vec<(String, String, String)> {
    let names = config.profiles.keys().filter(|name| ProfileName::parse(name).is_err());
    let names = names
        .map(|name| (format!("profiles.{name}"), format!("`{}`", name.escape_debug()), InvalidProfileName.to_string()));
    let invalid = profiles::configured(config).err().into_iter().flatten();
    let invalid = invalid.filter_map(|InvalidProfile { profile, key, value, allowed }| {
        Some((key_of(config, &profile, key)?, value, allowed))
    });
    names.chain(invalid).collect()
}

/// The key that a value is from. What a profile has from `[certificates]` and `[certificate_renewal]` is theirs: `None`
/// where their own rules say already what is wrong.
fn key_of(config: &Config, profile: &ProfileName, key: &str) -> Option<String> {
    let own = config.profiles.get(profile.as_str());
    let is_inherited = own.is_none_or(|own| match key {
        "max_validity_days" => own.max_validity_days.is_none(),
        "validity_days" => [own.min_validity_days, own.validity_days, own.max_validity_days] == [None; 3],
        "renewal_window_days" => own.renewal_window_days.is_none(),
        _ => false,
    });
    match key {
        "max_validity_days" if is_inherited && *profile == ProfileName::device() => {
            Some("certificates.max_validity_days".to_owned())
        }
        _ if is_inherited => None,
        _ => Some(format!("profiles.{profile}.{key}")),
    }
}
