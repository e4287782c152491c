//! The profiles of certificates that a configuration comes to.

use signalbeam_domain::ProfileName;
use signalbeam_pki::{DeviceKeyType, InvalidProfile, Profile, ProfileSet, ProfileSettings};

use crate::config::{self, Config};

/// Every profile whose name is one; `device` is among them.
///
/// # Errors
/// Everything by which a profile would make bad certificates.
pub(crate) fn configured(config: &Config) -> Result<ProfileSet, Vec<InvalidProfile>> {
    let named = config.profiles.iter().filter_map(|(name, own)| Some((ProfileName::parse(name).ok()?, own.clone())));
    let device = (ProfileName::device(), config::Profile::default());
    let all: std::collections::BTreeMap<_, _> = std::iter::once(device).chain(named).collect();
    let (mut profiles, mut invalid) = (Vec::new(), Vec::new());
    for (name, own) in all {
        match profile(config, name, &own) {
            Ok(profile) => profiles.push(profile),
            Err(found) => invalid.extend(found),
        }
    }
    if invalid.is_empty() { Ok(ProfileSet::new(profiles)) } else { Err(invalid) }
}

fn profile(config: &Config, name: ProfileName, own: &config::Profile) -> Result<Profile, Vec<InvalidProfile>> {
    let built_in = ProfileSettings::default();
    let bounds = &config.certificates;
    let validity_days = own.validity_days.unwrap_or(bounds.default_validity_days);
    let key_types: Vec<_> =
        own.key_types.as_ref().map_or(built_in.key_types, |own| own.iter().copied().map(key_type).collect());
    let preferred = built_in.server_key_type;
    let server_key_type = match own.server_key_type {
        Some(own) => key_type(own),
        None if key_types.contains(&preferred) => preferred,
        None => key_types.first().copied().unwrap_or(preferred),
    };
    let settings = ProfileSettings {
        min_validity_days: own.min_validity_days.unwrap_or(bounds.min_validity_days),
        max_validity_days: own.max_validity_days.unwrap_or(bounds.max_validity_days),
        validity_days,
        renewal_window_days: own.renewal_window_days.unwrap_or_else(|| inherited_window(config, &name, validity_days)),
        backdating_minutes: own.backdating_minutes.unwrap_or(built_in.backdating_minutes),
        key_types,
        server_key_type,
        extended_key_usages: own.extended_key_usages.clone().unwrap_or(built_in.extended_key_usages),
        subject: own.subject.clone().unwrap_or(built_in.subject),
        dns_names: own.dns_names.clone().unwrap_or_default(),
        extensions: own.extensions.clone().unwrap_or_default(),
        name,
    };
    let made = Profile::new(&settings);
    match own.renewal_window_days {
        Some(window) if window >= validity_days => {
            let allowed = format!("less than validity_days ({validity_days})");
            let (profile, value) = (settings.name, window.to_string());
            let mut invalid = made.err().unwrap_or_default();
            invalid.push(InvalidProfile { profile, key: "renewal_window_days", value, allowed });
            Err(invalid)
        }
        _ => made,
    }
}

/// The window of a profile that names none. `device` keeps the configured one even where that is longer than its
/// certificates: that they can always be renewed is what somebody may want of short ones.
fn inherited_window(config: &Config, name: &ProfileName, validity_days: u16) -> u16 {
    let window = config.certificate_renewal.renewal_threshold_days;
    if *name == ProfileName::device() || window < validity_days { window } else { (validity_days / 3).max(1) }
}

fn key_type(configured: config::DeviceKeyType) -> DeviceKeyType {
    match configured {
        config::DeviceKeyType::Rsa2048 => DeviceKeyType::Rsa2048,
        config::DeviceKeyType::Rsa3072 => DeviceKeyType::Rsa3072,
        config::DeviceKeyType::Rsa4096 => DeviceKeyType::Rsa4096,
        config::DeviceKeyType::EcdsaP256 => DeviceKeyType::EcdsaP256,
        config::DeviceKeyType::EcdsaP384 => DeviceKeyType::EcdsaP384,
        config::DeviceKeyType::Ed25519 => DeviceKeyType::Ed25519,
    }
}
