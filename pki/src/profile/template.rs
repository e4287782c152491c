//! Profiles of devices' certificates: what each kind of device gets, whatever its request asks for.

use rcgen::{CertificateParams, KeyUsagePurpose, SanType};
use rustls_pki_types::DnsName;
use signalbeam_domain::{ProfileName, SerialNumber, ValidityBounds};
use time::Duration;

use super::extensions::{Extension, MAX_EXTENSIONS, MAX_USAGES, Usage};
use super::pattern::Pattern;
use super::subject::SubjectPattern;
use super::{ProfileError, PublishedUrls, end_entity};
use crate::csr::CsrError;
use crate::key_type::DeviceKeyType;
use crate::public_key::{DeviceKeyAlgorithm, DevicePublicKey};
use crate::spiffe::DeviceIdentity;
use crate::validity::Validity;
use crate::weak_keys::KeyWeakness;

/// The most names of a device that serves TLS itself.
const MAX_DNS_NAMES: usize = 8;
/// The longest validity, in days: as long as a root of ours lives.
const MAX_VALIDITY_DAYS: u16 = 3_650;
/// The longest backdating, in minutes: a day.
const MAX_BACKDATING_MINUTES: u16 = 1_440;

/// What a profile says, as it is written in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileSettings {
    /// Its name.
    pub name: ProfileName,
    /// The fewest days for which a certificate may be asked.
    pub min_validity_days: u16,
    /// The most days for which a certificate may be asked.
    pub max_validity_days: u16,
    /// For how many days a certificate holds where nobody asks for anything else.
    pub validity_days: u16,
    /// How many days before its end a certificate may be renewed.
    pub renewal_window_days: u16,
    /// How many minutes before the moment of issuance a certificate begins, for devices whose clocks are slow.
    pub backdating_minutes: u16,
    /// The types of key that are certified.
    pub key_types: Vec<DeviceKeyType>,
    /// The type of a key that is made here, where a request brings none.
    pub server_key_type: DeviceKeyType,
    /// `client_auth`, `server_auth`, or dotted object identifiers.
    pub extended_key_usages: Vec<String>,
    /// The subject, such as `CN=device-{deviceId}, O=SignalBeam`.
    pub subject: String,
    /// Names for devices that serve TLS themselves, such as `{deviceId}.devices.example.com`.
    pub dns_names: Vec<String>,
    /// Extensions of one's own, such as `1.3.6.1.4.1.99999.1=0403010203`.
    pub extensions: Vec<String>,
}

impl Default for ProfileSettings {
    /// The profile `device`: 90 of 1 to 397 days, renewed in the last 30; RSA or P-256; client authentication.
    fn default() -> Self {
        Self {
            name: ProfileName::device(),
            min_validity_days: 1,
            max_validity_days: 397,
            validity_days: 90,
            renewal_window_days: 30,
            backdating_minutes: 5,
            key_types: vec![
                DeviceKeyType::Rsa2048,
                DeviceKeyType::Rsa3072,
                DeviceKeyType::Rsa4096,
                DeviceKeyType::EcdsaP256,
            ],
            server_key_type: DeviceKeyType::Rsa2048,
            extended_key_usages: vec!["client_auth".to_owned()],
            subject: "CN=device-{deviceId}, O=SignalBeam".to_owned(),
            dns_names: Vec::new(),
            extensions: Vec::new(),
        }
    }
}

/// One thing in a profile that would make bad certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` of the profile `{profile}` is {value}; allowed is {allowed}")]
pub struct InvalidProfile {
    /// The profile.
    pub profile: ProfileName,
    /// The setting, as in [`ProfileSettings`].
    pub key: &'static str,
    /// What stands there.
    pub value: String,
    /// What may stand there.
    pub allowed: String,
}

/// A profile whose certificates are good: rendered once as a sample and read back before it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    name: ProfileName,
    validity: ValidityBounds,
    max_validity_days: u16,
    renewal_window_days: u16,
    backdating: Duration,
    key_types: Vec<DeviceKeyType>,
    server_key_type: DeviceKeyType,
    usages: Vec<Usage>,
    subject: SubjectPattern,
    dns_names: Vec<Pattern>,
    extensions: Vec<Extension>,
}

impl Profile {
    /// Takes what is configured.
    ///
    /// # Errors
    /// Everything by which it would make bad certificates.
    pub fn new(settings: &ProfileSettings) -> Result<Self, Vec<InvalidProfile>> {
        let mut complaints = Complaints { settings, found: Vec::new() };
        let validity = complaints.validity();
        complaints.keys();
        let usages = complaints.usages();
        let subject = complaints.read("subject", &settings.subject, SubjectPattern::parse(&settings.subject));
        let dns_names = complaints.dns_names(&usages);
        let extensions = complaints.extensions();
        let (Some(validity), Some(subject), true) = (validity, subject, complaints.found.is_empty()) else {
            return Err(complaints.found);
        };
        let profile = Self {
            name: settings.name.clone(),
            validity,
            max_validity_days: settings.max_validity_days,
            renewal_window_days: settings.renewal_window_days,
            backdating: Duration::minutes(settings.backdating_minutes.into()),
            key_types: settings.key_types.clone(),
            server_key_type: settings.server_key_type,
            usages,
            subject,
            dns_names,
            extensions,
        };
        profile.rehearse().map_err(|error| {
            let (key, value, allowed) = ("subject", settings.subject.clone(), error.to_string());
            vec![InvalidProfile { profile: settings.name.clone(), key, value, allowed }]
        })?;
        Ok(profile)
    }

    /// Its name.
    pub fn name(&self) -> &ProfileName {
        &self.name
    }

    /// For how long its certificates may be asked.
    pub fn validity(&self) -> ValidityBounds {
        self.validity
    }

    /// The most days for which a certificate may be asked.
    pub(super) fn max_validity_days(&self) -> u16 {
        self.max_validity_days
    }

    /// How many days before its end a certificate may be renewed.
    pub fn renewal_window_days(&self) -> u16 {
        self.renewal_window_days
    }

    /// How far back its certificates begin.
    pub fn backdating(&self) -> Duration {
        self.backdating
    }

    /// The types of key that it certifies.
    pub fn key_types(&self) -> &[DeviceKeyType] {
        &self.key_types
    }

    /// The type of a key that is made here.
    pub fn server_key_type(&self) -> DeviceKeyType {
        self.server_key_type
    }

    /// Whether its certificates are for TLS servers too.
    pub(super) fn is_for_servers(&self) -> bool {
        self.usages.contains(&Usage::ServerAuth)
    }

    /// Judges whether a key may be certified.
    ///
    /// # Errors
    /// [`CsrError::WeakKey`] where its type is none of the profile's.
    pub fn check_key(&self, key: &DevicePublicKey) -> Result<(), CsrError> {
        let key_type = key.key_type();
        if self.key_types.contains(&key_type) { Ok(()) } else { Err(KeyWeakness::NotInProfile(key_type).into()) }
    }

    /// A device's certificate: its tenant and id stand in the one URI, the rest is as the profile says.
    pub(crate) fn params(
        &self,
        serial: &SerialNumber,
        identity: &DeviceIdentity,
        key: DeviceKeyAlgorithm,
        validity: Validity,
        urls: &PublishedUrls,
    ) -> Result<CertificateParams, ProfileError> {
        let mut params = end_entity(self.subject.render(identity)?, serial, validity, urls)?;
        if key == DeviceKeyAlgorithm::Rsa {
            // RFC 8813, section 3: not for elliptic curve keys.
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        params.extended_key_usages = self.usages.iter().map(Usage::purpose).collect();
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
        for name in &self.dns_names {
            params.subject_alt_names.push(SanType::DnsName(name.render(identity).try_into()?));
        }
        params.custom_extensions.extend(self.extensions.iter().map(Extension::encode));
        Ok(params)
    }

    /// The names under which a device serves TLS.
    pub(super) fn dns_names(&self, identity: &DeviceIdentity) -> impl Iterator<Item = String> {
        self.dns_names.iter().map(|name| name.render(identity))
    }
}

impl Default for Profile {
    /// The profile `device`, as it is where nothing is configured.
    fn default() -> Self {
        let ProfileSettings { name, max_validity_days, renewal_window_days, key_types, server_key_type, .. } =
            ProfileSettings::default();
        Self {
            name,
            validity: ValidityBounds::CERTIFICATE,
            max_validity_days,
            renewal_window_days,
            backdating: Duration::minutes(5),
            key_types,
            server_key_type,
            usages: vec![Usage::ClientAuth],
            subject: SubjectPattern::device(),
            dns_names: Vec::new(),
            extensions: Vec::new(),
        }
    }
}

/// What is wrong with a profile, as far as it was looked at.
struct Complaints<'a> {
    settings: &'a ProfileSettings,
    found: Vec<InvalidProfile>,
}

impl Complaints<'_> {
    fn add(&mut self, key: &'static str, value: impl Into<String>, allowed: impl Into<String>) {
        let profile = self.settings.name.clone();
        self.found.push(InvalidProfile { profile, key, value: value.into(), allowed: allowed.into() });
    }

    fn read<T, E: Into<String>>(&mut self, key: &'static str, text: &str, read: Result<T, E>) -> Option<T> {
        read.map_err(|allowed| self.add(key, format!("`{}`", text.escape_debug()), allowed)).ok()
    }

    fn validity(&mut self) -> Option<ValidityBounds> {
        let ProfileSettings {
            min_validity_days: min,
            max_validity_days: max,
            validity_days,
            renewal_window_days: window,
            backdating_minutes,
            ..
        } = *self.settings;
        if max > MAX_VALIDITY_DAYS {
            self.add("max_validity_days", max.to_string(), format!("1 to {MAX_VALIDITY_DAYS}"));
        }
        if backdating_minutes > MAX_BACKDATING_MINUTES {
            let allowed = format!("0 to {MAX_BACKDATING_MINUTES}");
            self.add("backdating_minutes", backdating_minutes.to_string(), allowed);
        }
        if window == 0 {
            self.add("renewal_window_days", window.to_string(), "at least 1");
        }
        let bounds = ValidityBounds::new(min, max, validity_days);
        if bounds.is_err() {
            let allowed = format!("1 <= min_validity_days ({min}) <= validity_days <= max_validity_days ({max})");
            self.add("validity_days", validity_days.to_string(), allowed);
        }
        bounds.ok()
    }

    fn keys(&mut self) {
        let ProfileSettings { key_types, server_key_type, .. } = self.settings;
        let written = key_types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if key_types.is_empty() {
            self.add("key_types", "empty", "at least one type of key");
        } else if !key_types.contains(server_key_type) {
            self.add("server_key_type", server_key_type.to_string(), format!("one of key_types ({written})"));
        }
    }

    fn usages(&mut self) -> Vec<Usage> {
        let texts = &self.settings.extended_key_usages;
        let key = "extended_key_usages";
        let mut usages = Vec::new();
        for text in texts {
            match self.read(key, text, Usage::parse(text)) {
                Some(usage) if usages.contains(&usage) => self.add(key, format!("`{text}`"), "each usage once"),
                usage => usages.extend(usage),
            }
        }
        if texts.len() > MAX_USAGES {
            self.add(key, format!("{} usages", texts.len()), format!("at most {MAX_USAGES}"));
        }
        if !usages.contains(&Usage::ClientAuth) {
            self.add(key, "without client_auth", "client_auth and more: a device authenticates by its certificate");
        }
        usages
    }

    fn dns_names(&mut self, usages: &[Usage]) -> Vec<Pattern> {
        let texts = &self.settings.dns_names;
        let mut names = Vec::new();
        for text in texts {
            match self.read("dns_names", text, dns_name(text)) {
                Some(name) if names.contains(&name) => self.add("dns_names", format!("`{text}`"), "each name once"),
                name => names.extend(name),
            }
        }
        if texts.len() > MAX_DNS_NAMES {
            self.add("dns_names", format!("{} names", texts.len()), format!("at most {MAX_DNS_NAMES}"));
        }
        if texts.is_empty() && usages.contains(&Usage::ServerAuth) {
            self.add("dns_names", "empty", "at least one name where extended_key_usages has server_auth");
        }
        names
    }

    fn extensions(&mut self) -> Vec<Extension> {
        let texts = &self.settings.extensions;
        let mut extensions: Vec<Extension> = Vec::new();
        for text in texts {
            match self.read("extensions", text, Extension::parse(text)) {
                Some(extension) if extensions.iter().any(|other| other.id == extension.id) => {
                    self.add("extensions", format!("`{text}`"), "each object identifier once");
                }
                extension => extensions.extend(extension),
            }
        }
        if texts.len() > MAX_EXTENSIONS {
            self.add("extensions", format!("{} extensions", texts.len()), format!("at most {MAX_EXTENSIONS}"));
        }
        extensions
    }
}

/// A host name that is the device's own: no device may serve under the name of another, nor of anybody else.
fn dns_name(text: &str) -> Result<Pattern, &'static str> {
    let pattern = Pattern::parse(text)?;
    if !pattern.names_the_device() {
        return Err("names with {deviceId}, so that no device has another one's");
    }
    let name = pattern.render(&DeviceIdentity::sample());
    let is_lower_case = !name.bytes().any(|c| c.is_ascii_uppercase());
    if name.contains('*') || !is_lower_case || name.ends_with('.') || DnsName::try_from(name.as_str()).is_err() {
        return Err("host names in lower case (RFC 1123): labels of at most 63 characters, 253 in all, no wildcard");
    }
    Ok(pattern)
}
